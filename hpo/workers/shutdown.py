"""How long a process that is to end may take, in order: each limit lies before the next.

A worker that is asked to stop finishes its epoch. If that takes too long, it gives its trial back; if that takes too
long, it exits all the same. Only then does its launcher kill it: no worker is killed while it gives back its trial.
"""

FINISH_EPOCH_SECONDS = 8  # how long an interrupted epoch may take to its end
GIVE_UP_SECONDS = 9  # when a trial that has not ended is given back without waiting for it
EXIT_SECONDS = 1  # how long giving a trial back may take before the process exits anyway
KILL_SECONDS = 12  # when a launcher kills a worker that has not ended
