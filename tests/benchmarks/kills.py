"""What a study costs whose workers are killed, one every 30 seconds.

`hpo launch` runs a fixed study with two workers on the CPU, twice: undisturbed, and while every 30 seconds SIGKILL ends
one of its workers, chosen at random among those that live, starting ones too. Its trials are stock CNNs with default
parameters, six epochs each on 18,000 of the images, with no pruning and no early stopping, so that both launches are
the same work. Seconds are those of the whole command, with its start.

A kill costs the epoch that was begun, the launcher's next look, the start of a process (Python, TensorFlow, the data),
and the first step of a model that is built again. "Lost by a kill" is all of that: the time from the last epoch that
the killed worker had reported to the first that its replacement trained, less one epoch; half of it is the study's,
because the other worker goes on. The events of the workers are what it is read from; those whose replacement found
nothing more to do do not count. "By what they lost" is the killed launch over itself without these seconds: beside busy
neighbours the steadier ratio. An epoch's seconds show whether the machine was equally fast in both launches.
Afterwards the checker of the fault tests holds the storage and the workers' events against each other.
"""

import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from measurement import REPOSITORY, Runs, Section, empty_home, images, in_turns, number

from hpo.files.run_dir import RunDir
from hpo.storage.leases import worker_name

Event = dict[str, Any]

TARGET_RATIO = 1.25
KILL_SECONDS = 30
WORKERS = 2
TRIALS = 16
EPOCHS = 6

STUDY = """
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from hpo import Budget, Search, Stopping, Train
from hpo.models import build_cnn

study = Search(
    name="kills", task=Train(data={data!r}, model=build_cnn, subset=18_000, stopping=Stopping(patience=None)),
    space={{"learning_rate": FloatDistribution(1e-4, 1e-3, log=True)}},
    budget=Budget(trials={trials}, max_epochs={epochs}, max_retries=1000), sampler=RandomSampler(),
)
"""


@dataclass(frozen=True)
class Launch:
    """What one launch gave.

    Args:
        seconds: of the whole command.
        kills: how many workers were killed.
        epochs: seconds of each, between two reports.
        lost: seconds of one worker that each kill cost.
        finding: the checker's.
    """

    seconds: float
    kills: int
    epochs: Runs
    lost: Runs
    finding: Any

    @property
    def by_losses(self) -> float:
        """How many times as long the launch took as it would have without what the kills lost."""
        return self.seconds / (self.seconds - sum(self.lost.values) / WORKERS)


def main() -> None:
    section = Section("kills", __doc__)
    with empty_home() as home:
        data, section.data = images(home)
        path = home / "kills.py"
        path.write_text(STUDY.format(data=data, trials=TRIALS, epochs=EPOCHS))
        launches = {
            name: done[0]
            for name, done in in_turns(
                {
                    "undisturbed": partial(_launch, path, "undisturbed", kill=False),
                    f"a kill every {KILL_SECONDS} s": partial(_launch, path, "killed", kill=True),
                },
                turns=1,
            ).items()
        }
    undisturbed, killed = launches.values()
    ratio = killed.seconds / undisturbed.seconds
    section.target(
        f"with a kill every {KILL_SECONDS} s at most {TARGET_RATIO} times its undisturbed time",
        f"{ratio:.2f} times, with {killed.kills} kills; by what they lost {killed.by_losses:.2f} times",
        met=ratio <= TARGET_RATIO,
    )
    violations = [violation for launch in launches.values() for violation in launch.finding.violations]
    section.target(
        "the budget is finished exactly, nothing is left running, and a kill repeats one epoch at most",
        "; ".join(violations[:3])
        or f"{killed.finding.finished} of {TRIALS} finished in {killed.finding.attempts} attempts, "
        f"{killed.finding.repeated} epochs repeated",
        met=not violations,
    )
    section.table(
        ["", "seconds", "trials", "kills", "an epoch, seconds", "lost by a kill, seconds", "smallest–largest"],
        [
            [
                name,
                number(launch.seconds),
                str(launch.finding.finished),
                str(launch.kills),
                number(launch.epochs.median),
                *(launch.lost.cells()[:2] if launch.lost.values else ["", ""]),
            ]
            for name, launch in launches.items()
        ],
    )
    section.write()


def _launch(path: Path, name: str, *, kill: bool) -> Launch:
    """Launch the study under ``name``, and kill its workers or leave them alone."""
    from faults.checker import check, read_events

    run_dir = RunDir.from_environment()
    log = path.with_name(f"{name}.log")
    started = time.monotonic()
    with log.open("wb") as stream:
        launcher = subprocess.Popen(
            [
                *(sys.executable, "-m", "hpo", "launch", "--study", str(path), "--name", name),
                *("--gpus", "none", "--workers", str(WORKERS)),
            ],
            cwd=REPOSITORY,
            stdout=stream,
            stderr=stream,
        )
    try:
        killed = _kill(launcher, started) if kill else {}
        launcher.wait()
    finally:
        launcher.terminate()  # where this process is interrupted
    if launcher.returncode != 0:
        sys.exit(f"The launch failed:\n{log.read_text()[-3000:]}")
    seconds = time.monotonic() - started
    events = read_events(run_dir, name)
    epochs = Runs(tuple(_epochs(_trained(events))))
    return Launch(
        seconds=seconds,
        kills=len(killed),
        epochs=epochs,
        lost=Runs(tuple(gap - epochs.median for gap in _gaps(events, killed))),
        finding=check(run_dir, f"sqlite:///{run_dir.database}", name, kills=len(killed)),
    )


def _kill(launcher: "subprocess.Popen[bytes]", started: float) -> dict[str, float]:
    """Kill a worker at each beat of the clock until the launch has ended; when each was killed."""
    from faults.launching import workers_of

    rng, killed, beats = random.Random(0), {}, 0
    while True:
        beats += 1
        try:
            launcher.wait(max(0.0, started + beats * KILL_SECONDS - time.monotonic()))
        except subprocess.TimeoutExpired:
            if workers := workers_of(launcher):
                worker = rng.choice(workers)
                worker.kill()
                killed[worker_name(worker.pid)] = time.monotonic()
                print(f"  killed {len(killed)}", flush=True)
        else:
            return killed


def _trained(events: list[Event]) -> list[Event]:
    """The reports of epochs that were trained: not of those that a checkpoint brought back."""
    begun = {event["trial"]: event["epoch"] for event in events if event["event"] == "resume"}
    return [e for e in events if e["event"] == "report" and e["epoch"] > begun.get(e["trial"], 0)]


def _epochs(trained: list[Event]) -> Iterator[float]:
    """Seconds of each epoch but the first of a trial."""
    reports: dict[int, list[float]] = defaultdict(list)
    for event in trained:
        reports[event["trial"]].append(event["monotonic"])
    for times in reports.values():
        yield from (after - before for before, after in pairwise(times))


def _gaps(events: list[Event], killed: Mapping[str, float]) -> Iterator[float]:
    """Seconds from the last epoch of each killed worker to the first of the one in its place."""
    first = {event["log"]: event["monotonic"] for event in reversed(events)}
    reports: dict[str, list[float]] = defaultdict(list)
    for event in _trained(events):
        reports[event["log"]].append(event["monotonic"])
    for worker, moment in killed.items():
        # One that was killed before its first epoch did nothing: its time is part of the gap of the one before.
        replacements = [times[0] for log, times in reports.items() if first[log] > moment]
        if worker in reports and replacements:
            yield min(replacements) - reports[worker][-1]


if __name__ == "__main__":
    # The checker of the fault tests stands beside the benchmarks.
    sys.path.append(str(REPOSITORY / "tests"))
    main()
