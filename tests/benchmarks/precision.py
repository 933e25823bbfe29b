"""Which precision and compiler train stock CNNs fastest here: the ground for the choices in `hpo.devices.slots`.

A process with a worker's environment for each number of threads holds all models and trains them in turns, an epoch of
2,048 images in batches of 128, without validation; the first epoch of each, which traces and compiles, does not
count. In each precision the three networks differ in size. XLA is Keras's `jit_compile`; `hpo` leaves it at "auto",
which is off on a CPU and on on a GPU.

Seconds are those of one epoch. A ratio above 1 says that the second of the two is faster.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from measurement import Runs, Section, answer, empty_home, images, in_process, in_turns, number, places

TURNS = 3  # in each process
PROCESSES = 2  # for each number of threads
IMAGES = 2_048
STOCK = "stock"
MODELS: dict[str, dict[str, Any]] = {
    STOCK: {},
    "small (16 filters, 1 block, dense 32)": {"filters": 16, "blocks": 1, "dense_units": 32},
    "large (48 filters, batch normalization, dense 512)": {"filters": 48, "batch_norm": True, "dense_units": 512},
}
PRECISIONS = ("float32", "mixed_bfloat16")


def main() -> None:
    section = Section("precision", __doc__)
    with empty_home() as home:
        data, section.data = images(home)
        measured = in_turns(
            {place: partial(in_process, __file__, {"data": data}, slot) for place, slot in places().items()},
            turns=PROCESSES,
        )
    precisions, compilers = [], []
    for place, slot in places().items():
        epochs = _joined(measured[place])
        rows = [_compared(epochs, model, *PRECISIONS) for model in MODELS]
        precisions += [[f"{place}, {model}", *row] for model, row in zip(MODELS, rows, strict=True)]
        other = next(precision for precision in PRECISIONS if precision != slot.precision)
        gain = epochs[_key(STOCK, other)].over(epochs[_key(STOCK, slot.precision)])
        section.target(
            f"on {place}, `hpo.devices.slots` chooses {slot.precision}, the faster one for the stock CNN",
            f"{number(gain.median)} times as fast as {other} ({gain.spread})",
            met=gain.median >= 1,
        )
        for precision in PRECISIONS:
            row = _compared(epochs, STOCK, precision, f"{precision} XLA")
            compilers.append([f"{place}, {precision}", *row])
        off, on = epochs[_key(STOCK, slot.precision)], epochs[_key(STOCK, f"{slot.precision} XLA")]
        gain, chosen = (off.over(on), "on") if slot.gpu is not None else (on.over(off), "off")
        section.target(
            f"on {place}, Keras's choice of XLA, {chosen}, is the faster one for the stock CNN",
            f"{number(gain.median)} times as fast as the other ({gain.spread})",
            met=gain.median >= 1,
        )
    columns = ["smallest–largest", "runs"]
    section.table(["precision", "float32", *columns, "mixed_bfloat16", *columns, "ratio"], precisions)
    section.table(["stock CNN", "XLA off", *columns, "XLA on", *columns, "ratio"], compilers)
    section.write()


def _key(model: str, variant: str) -> str:
    return f"{model}, {variant}"


def _joined(processes: list[dict[str, list[float]]]) -> dict[str, Runs]:
    return {key: Runs(tuple(value for process in processes for value in process[key])) for key in processes[0]}


def _compared(epochs: dict[str, Runs], model: str, first: str, second: str) -> list[str]:
    a, b = epochs[_key(model, first)], epochs[_key(model, second)]
    return [*a.cells(), *b.cells(), number(a.over(b).median)]


def measure(data: str) -> None:
    """Train all models in turns in this process; answers the seconds of each one's epochs."""
    from hpo import datasets
    from hpo.files.run_dir import RunDir
    from hpo.models import build_cnn
    from hpo.trial import training

    dataset = datasets.load(data, run_dir=RunDir.from_environment())
    images, labels = dataset.train.images[:IMAGES], dataset.train.labels[:IMAGES]

    def epoch(model: Any) -> float:
        started = time.perf_counter()
        model.fit(images, labels, batch_size=128, verbose=0)
        return time.perf_counter() - started

    measures: dict[str, Callable[[], float]] = {}
    for name, params in MODELS.items():
        for precision in PRECISIONS:
            for compiled in (False, True) if name == STOCK else (None,):
                training.start_fresh(0, precision)
                model = build_cnn(params, dataset)
                if compiled is not None:
                    model.jit_compile = compiled
                measures[_key(name, f"{precision} XLA" if compiled else precision)] = partial(epoch, model)
    in_turns(measures, turns=1)
    answer(in_turns(measures, turns=TURNS))


if __name__ == "__main__":
    measure(**json.loads(sys.argv[1])) if sys.argv[1:] else main()
