"""What an epoch costs through hpo, beside the same epoch in plain Keras.

One process with a worker's environment, on the GPU or all cores, holds two stock CNNs with equal weights and trains
them in turns, an epoch each: one through `training.fit` (early stopping with the best weights kept, learning-rate
reduction, a record of each epoch, a look for NaN and for a signal each batch), one through `model.fit` with no callback
at all. Both take the same arrays, batch size (128) and validation images, and print nothing. Both have traced their
functions in an epoch before, which does not count. Seconds are those of the whole call, one epoch each; the ratio of
the processor's seconds is the steadier one beside busy neighbours.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from measurement import Runs, Section, answer, empty_home, images, in_process, in_turns, places

TARGET_RATIO = 1.05
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
    section.table(
        ["epoch of 54,000 images, 6,000 for validation", "seconds", "smallest–largest", "runs"],
        [
            [f"plain `model.fit`, {slot.precision}, {place}", *wall["plain"].cells()],
            ["`hpo.trial.training.fit`", *wall["hpo"].cells()],
            _ratio("ratio", ratio),
            _ratio("ratio of the processor's seconds", processor["hpo"].over(processor["plain"])),
        ],
    )
    section.write()


def _ratio(name: str, ratio: Runs) -> list[str]:
    return [name, f"{ratio.median:.3f}", f"{min(ratio.values):.3f}–{max(ratio.values):.3f}", str(len(ratio.values))]


def measure(data: str, precision: str) -> None:
    """Train both models in turns in this process; answers each epoch's seconds, on the wall and of the processor."""
    from hpo import Stopping, datasets
    from hpo.files.run_dir import RunDir
    from hpo.models import build_cnn
    from hpo.trial import training

    dataset = datasets.load(data, run_dir=RunDir.from_environment())
    settings = training.FitSettings(
        epochs=1, batch_size=128, metric="val_accuracy", direction="maximize", stopping=Stopping()
    )
    models: dict[str, Any] = {}
    for name in ("plain", "hpo"):
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
        training.fit(models["hpo"], dataset, settings, record=lambda value, epoch: None, interrupted=lambda: False)

    measures = {"plain": partial(_timed, plain), "hpo": partial(_timed, through_hpo)}
    in_turns(measures, turns=1)
    answer(in_turns(measures, turns=TURNS))


def _timed(train: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the wall and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    train()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    measure(**json.loads(sys.argv[1])) if sys.argv[1:] else main()
