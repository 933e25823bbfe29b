"""What runs next: claims, each of one trial for one worker; Optuna's samplers and pruners as many processes use them.

Knows the storage. Does not know how a trial runs.
"""
