"""What an epoch costs through hpo, beside the same epoch in plain Keras.

One process with a worker's environment, on the GPU or all cores, holds three stock CNNs with equal weights and trains
them in turns, an epoch each: one through `hpo.training.fit` (early stopping with the best weights kept, learning-rate
reduction, a record of each epoch, a look for NaN and for a signal each batch), one as a worker does it, with a
checkpoint and an event besides and another thread that beats for a lease, and one through `model.fit` with no callback
at all. All take the same arrays, batch size (128) and validation images, and print nothing. All have traced their
functions in an epoch before, which does not count. Seconds are those of the whole call, one epoch each; the ratio of
the processor's seconds is the steadier one beside busy neighbours.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from measurement import Runs, Section, answer, empty_home, images, in_process, in_turns, places

TARGET_RATIO = 1.05
TARGET_KEPT = 1.03  # of the epoch, and so of a trial of any number of them
TURNS = 8


def main() -> None:
    section = Section("epoch", __doc__)
    place, slot = list(places().items())[-1]
    with empty_home() as home:
        data, section.data = images(home)
        seconds = in_process(__file__, {"data": data, "precision": slot.precision}, slot)
    wall, processor = (
        {name: Runs(tuple(pair[kind] for pair in pairs)) for name, pairs in seconds.items()} for kind in (0, 1)
    )
    ratio = wall["hpo"].over(wall["plain"])
    section.target(
        f"at most {TARGET_RATIO} times a plain epoch", f"{ratio.median:.3f} times", met=ratio.median <= TARGET_RATIO
    )
    kept = wall["kept"].over(wall["hpo"])
    section.target(
        f"checkpoints, events and leases at most {TARGET_KEPT} times an epoch without",
        f"{kept.median:.3f} times",
        met=kept.median <= TARGET_KEPT,
    )
    section.table(
        ["epoch of 54,000 images, 6,000 for validation", "seconds", "smallest–largest", "runs"],
        [
            [f"plain `model.fit`, {slot.precision}, {place}", *wall["plain"].cells()],
            ["`hpo.training.fit`", *wall["hpo"].cells()],
            ["the same with checkpoints, events and a lease", *wall["kept"].cells()],
            _ratio("`hpo.training.fit` over plain", ratio),
            _ratio("the same in the processor's seconds", processor["hpo"].over(processor["plain"])),
            _ratio("with checkpoints, events and a lease over without", kept),
            _ratio("the same in the processor's seconds", processor["kept"].over(processor["hpo"])),
        ],
    )
    section.write()


def _ratio(name: str, ratio: Runs) -> list[str]:
    return [name, f"{ratio.median:.3f}", f"{min(ratio.values):.3f}–{max(ratio.values):.3f}", str(len(ratio.values))]


def measure(data: str, precision: str) -> None:
    """Train the models in turns in this process; answers each epoch's seconds, on the wall and of the processor."""
    from optuna.distributions import FloatDistribution

    from hpo import Budget, Stopping, StudyDefinition, datasets, stored_study, training
    from hpo.checkpoint import Checkpoints
    from hpo.claims import Lease
    from hpo.events import EventLog
    from hpo.models import build_cnn
    from hpo.run_dir import RunDir
    from hpo.storage import open_storage, resolve_url

    run_dir = RunDir.from_environment()
    dataset = datasets.load(data, run_dir=run_dir)
    settings = training.FitSettings(
        epochs=1, batch_size=128, metric="val_accuracy", direction="maximize", stopping=Stopping()
    )
    models: dict[str, Any] = {}
    for name in ("plain", "hpo", "kept"):
        training.start_fresh(0, precision)
        models[name] = build_cnn({}, dataset)

    def plain() -> None:
        models["plain"].fit(
            dataset.train.images,
            dataset.train.labels,
            batch_size=settings.batch_size,
            validation_data=(dataset.validation.images, dataset.validation.labels),
            verbose=0,
        )

    def through_hpo() -> None:
        training.fit(models["hpo"], dataset, settings, record=lambda value, epoch: False, interrupted=lambda: False)

    definition = StudyDefinition(
        name="epoch", objective=lambda params, trial: 0.0, space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=1)
    )
    storage = open_storage(resolve_url(None, run_dir), write=True)
    study, _is_new = stored_study.create_or_resume(storage, definition, run_dir)
    trial = study.ask()
    events = EventLog(run_dir.events("epoch") / "worker.jsonl")

    def as_a_worker() -> None:
        def record(value: float, epoch: int) -> bool:
            events.write("report", trial=0, epoch=epoch, value=value)
            return False

        with Lease(storage, trial._trial_id):
            training.fit(
                models["kept"],
                dataset,
                settings,
                record=record,
                interrupted=lambda: False,
                checkpoints=Checkpoints(run_dir.trial("epoch", 0), attempt=1),
            )
        shutil.rmtree(run_dir.trial("epoch", 0))  # else the next would go on after its last epoch

    measures = {
        "plain": partial(_timed, plain),
        "hpo": partial(_timed, through_hpo),
        "kept": partial(_timed, as_a_worker),
    }
    in_turns(measures, turns=1)
    answer(in_turns(measures, turns=TURNS))


def _timed(train: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the wall and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    train()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    measure(**json.loads(sys.argv[1])) if sys.argv[1:] else main()
