"""What leases, checkpoints and the event log cost a trial of 20 epochs of the stock CNN.

Two processes with a worker's environment, on the GPU or all cores, train the stock CNN with its defaults for 20 epochs
of 54,000 images in batches of 128, from equal weights, in turns, an epoch each; the other one waits. One is a real
`workers.worker.Worker` with a trial of a SQLite storage that holds 24 ended ones, as many as the stock search has: it
claims the trial, beats for its lease, reports each epoch, asks the stock pruner, logs events, keeps each epoch on disk
and tells the result. The other calls `hpo.trial.training.fit` with a record that does nothing, and keeps nothing.

Seconds are those of an epoch with its validation and all callbacks; the first of each, which traces, counts too. The
ratio of the processor's seconds is the steadier one beside busy neighbours. The steadiest is below: clocks hang on
the machinery's own functions in the worker, from the claim to the told result, and its seconds are set against those
of the worker's 20 epochs without them. Reports and the pruner, which any search has, are counted in. Beats run in a
thread beside the training and are counted as if it stood still meanwhile; those of the turns in which the worker waits
are not counted.
"""

import dataclasses
import json
import os
import select
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measurement import Runs, Section, answer, empty_home, file_system, images, in_process, number, places

from hpo.devices.slots import Slot

TARGET_RATIO = 1.03
EPOCHS = 20
ENDED = 24  # trials of the study before this one
PATIENCE_SECONDS = 300  # for the other's turn


def main() -> None:
    section = Section("machinery", __doc__)
    place, slot = list(places().items())[-1]
    with empty_home() as home:
        data, section.data = images(home)
        section.data += f"; files on {file_system(home)}"
        answers = _both(home, data, slot)
    wall, processor = (
        {kind: Runs(tuple(epoch[clock] for epoch in answers[kind]["epochs"])) for kind in answers} for clock in (0, 1)
    )
    ratio = wall["with"].over(wall["without"])
    spent = answers["with"]["spent"]
    together = sum(seconds for seconds, _calls in spent.values())
    trial = sum(wall["with"].values) - together
    section.target(
        f"an epoch with the machinery at most {TARGET_RATIO} times one without",
        f"{ratio.median:.3f} times",
        met=ratio.median <= TARGET_RATIO,
    )
    section.target(
        f"by the clocks on the machinery itself, the trial at most {TARGET_RATIO} times as long",
        f"{1 + together / trial:.4f} times",
        met=1 + together / trial <= TARGET_RATIO,
    )
    section.table(
        ["epoch of 54,000 images, 6,000 for validation", "seconds", "smallest–largest", "runs"],
        [
            [f"a worker's, {slot.precision}, {place}", *wall["with"].cells()],
            ["without the machinery", *wall["without"].cells()],
            _ratio("ratio", ratio),
            _ratio("ratio of the processor's seconds", processor["with"].over(processor["without"])),
        ],
    )
    section.table(
        ["in the worker's trial", "seconds", "calls", "milliseconds each", "% of the trial"],
        [
            *(
                [part, number(seconds), str(calls), number(1000 * seconds / calls), f"{100 * seconds / trial:.3f}"]
                for part, (seconds, calls) in spent.items()
            ),
            ["together", number(together), "", "", f"{100 * together / trial:.3f}"],
            [f"{EPOCHS} epochs without them", number(trial), "", "", "100"],
        ],
    )
    section.write()


def _ratio(name: str, ratio: Runs) -> list[str]:
    return [name, f"{ratio.median:.3f}", f"{min(ratio.values):.3f}–{max(ratio.values):.3f}", str(len(ratio.values))]


def _both(home: Path, data: str, slot: Slot) -> dict[str, Any]:
    """Start both processes, give the first turn when both are ready, and wait for their answers."""
    for name in ("ready", "with", "without"):
        os.mkfifo(home / name)
    settings = {"data": data, "folder": str(home)}
    with ThreadPoolExecutor() as pool:
        answers = {
            kind: pool.submit(in_process, __file__, {**settings, "kind": kind}, slot) for kind in ("with", "without")
        }
        ready = _Baton(home / "ready")
        for _ in answers:
            ready.wait()
        _Baton(home / "with").give()
        return {kind: future.result() for kind, future in answers.items()}


class _Baton:
    """A named pipe that one process gives and another waits for."""

    def __init__(self, path: Path) -> None:
        self._pipe = os.open(path, os.O_RDWR)  # so that nobody waits for the other's end to be opened

    def give(self) -> None:
        os.write(self._pipe, b".")

    def wait(self) -> None:
        if not select.select([self._pipe], [], [], PATIENCE_SECONDS)[0]:
            raise TimeoutError("the other process has not given the turn")
        os.read(self._pipe, 1)


class _Turns:
    """Lets a fit train only in its turns, and takes the time of each epoch: A B, B A, A B."""

    def __init__(self, folder: Path, kind: str) -> None:
        other = {"with": "without", "without": "with"}[kind]
        self._ready, self._mine, self._others = (_Baton(folder / name) for name in ("ready", kind, other))
        self._last = 1 if kind == "with" else 0  # of two epochs in a row, by its number modulo 2
        self._holds = False
        self._started = (0.0, 0.0)
        self.epochs: list[tuple[float, float]] = []  # seconds on the wall and of the processor
        self.waits = threading.Event()

    def hang(self, model: Any) -> None:
        """On the model's own fit, as its last callback."""
        import keras

        fit = model.fit
        callback = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self._begin(epoch), on_epoch_end=lambda epoch, logs: self._end(epoch)
        )
        model.fit = lambda *arguments, callbacks, **settings: fit(
            *arguments, callbacks=[*callbacks, callback], **settings
        )

    def _begin(self, epoch: int) -> None:
        if epoch == 0:
            self._ready.give()
        if not self._holds:
            self.waits.set()
            self._mine.wait()
            self.waits.clear()
            self._holds = True
        self._started = time.perf_counter(), time.process_time()

    def _end(self, epoch: int) -> None:
        wall, processor = self._started
        self.epochs.append((time.perf_counter() - wall, time.process_time() - processor))
        if (epoch + 1) % 2 == self._last or epoch + 1 == EPOCHS:
            self._others.give()
            self._holds = False


class _Clocks:
    """Adds up the seconds spent in functions, but for those begun while this process waits for its turn."""

    def __init__(self, waits: threading.Event) -> None:
        self._waits = waits
        self.spent: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))

    def hang(self, part: str, owner: Any, name: str) -> None:
        """On the method ``name`` of a class or an object."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **settings: Any) -> Any:
            counts, started = not self._waits.is_set(), time.perf_counter()
            try:
                return method(*arguments, **settings)
            finally:
                seconds, calls = self.spent[part]
                if counts:
                    self.spent[part] = seconds + time.perf_counter() - started, calls + 1

        setattr(owner, name, timed)


def measure(data: str, folder: str, kind: str) -> None:
    """Train the model in this process, in its turns; answers the seconds of its epochs, and of the machinery."""
    turns = _Turns(Path(folder), kind)
    spent = _trial(data, turns) if kind == "with" else _plain(data, turns)
    if len(turns.epochs) != EPOCHS:
        sys.exit(f"{len(turns.epochs)} of {EPOCHS} epochs were trained.")
    answer({"epochs": turns.epochs, "spent": spent})


def _trial(data: str, turns: _Turns) -> dict[str, tuple[float, int]]:
    """Run a worker for the study's last trial; the seconds and calls of each part of the machinery."""
    import optuna
    from optuna.distributions import FloatDistribution

    from hpo import Budget, Stopping
    from hpo.files.run_dir import RunDir
    from hpo.models import build_cnn
    from hpo.storage import stored_study
    from hpo.storage.database import backend_of, open_storage
    from hpo.storage.url import resolve_url
    from hpo.study import catalog
    from hpo.study.found import FoundStudy
    from hpo.trial.callbacks import EpochKeeper
    from hpo.trial.checkpoint import Checkpoints
    from hpo.trial.events import EventLog
    from hpo.trial.runner import TrialRunner
    from hpo.workers.worker import Worker

    def build(_params: dict[str, Any], dataset: Any) -> Any:
        model = build_cnn({}, dataset)
        turns.hang(model)
        return model

    stock = catalog.load("fmnist-cnn").written
    definition = dataclasses.replace(
        stock,
        name="machinery",
        task=dataclasses.replace(stock.task, data=data, model=build, stopping=Stopping(patience=None)),
        # The model takes its defaults whatever these are.
        space={f"parameter-{index}": FloatDistribution(0, 1) for index in range(12)},
        warm_starts=(),
        budget=Budget(trials=ENDED + 1, max_epochs=EPOCHS),
    )
    found = FoundStudy(definition)
    run_dir = RunDir.from_environment()
    storage = open_storage(resolve_url(None, run_dir), write=True)
    study, _is_new = stored_study.create_or_resume(storage, found, run_dir)
    study.sampler, study.pruner = definition.sampler, definition.explicit_pruner()
    for _ in range(ENDED):
        values = {epoch: 0.9 for epoch in range(1, EPOCHS + 1)}
        study.add_trial(optuna.trial.create_trial(value=0.9, intermediate_values=values))
    clocks = _Clocks(turns.waits)
    # Not before: the keeper's own call of `save` is within its own seconds.
    clocks.hang("checkpoints: collect and write", EpochKeeper, "on_epoch_end")
    clocks.hang("checkpoints: look for one at the beginning", Checkpoints, "latest")
    clocks.hang("checkpoints: remove at the end", TrialRunner, "forget")
    clocks.hang("events", EventLog, "write")
    clocks.hang("beats of the lease", backend_of(storage), "record_heartbeat")
    clocks.hang("reports", optuna.Trial, "report")
    clocks.hang("the pruner", optuna.Trial, "should_prune")
    Worker(study, found, run_dir, Slot.from_environment()).run()
    return dict(clocks.spent)


def _plain(data: str, turns: _Turns) -> dict[str, tuple[float, int]]:
    """Fit the same model with no machinery."""
    from hpo import Stopping, datasets
    from hpo.files.run_dir import RunDir
    from hpo.models import build_cnn
    from hpo.study.seeds import derive_seed
    from hpo.trial import training

    dataset = datasets.load(data, run_dir=RunDir.from_environment())
    training.start_fresh(derive_seed(0, "trial", ENDED), Slot.from_environment().precision)
    model = build_cnn({}, dataset)
    turns.hang(model)
    settings = training.FitSettings(
        epochs=EPOCHS,
        batch_size=128,
        metric="val_accuracy",
        direction="maximize",
        stopping=Stopping(patience=None),
    )
    training.fit(model, dataset, settings, record=lambda value, epoch: None, interrupted=lambda: False)
    return {}


if __name__ == "__main__":
    measure(**json.loads(sys.argv[1])) if sys.argv[1:] else main()
