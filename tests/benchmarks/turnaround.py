"""How long a warm worker takes from one trial to the next.

From the end of a trial, the moment its result is written (`datetime_complete` in the storage, set just before the
commit), to the end of the first training step of the next one. In between the worker commits, lets go of the old
model, claims, samples twelve parameters, builds the stock CNN with its defaults, hands 54,000 images of 28x28 to
Keras, and TensorFlow traces, optimizes and runs the first step.

A real `workers.worker.Worker` runs ten such trials in a process with a worker's environment; the first, which warms the
process up, only starts the clock. The study's model builder calls the stock one, stamps the time, and hangs a clock
on the model's own train function, which sets Keras's `stop_training` after the first step: a trial is then one step
and one validation, and everything between two trials is as it is after a long one. Nothing of hpo is replaced.

"Build and trace" is the part that any Keras program pays for a new model. How long that takes differs from hour to hour
on a shared machine, so the same process then does it in plain Keras as well, without hpo: 0.36 s where the target of
0.5 s was set, so that 1.39 times of it is the same target on a machine of any speed. "Before the end" is what comes
before the clock starts: from the last validation to the told result (best weights restored, saved as an artifact,
records).
Memory is what the process has grown by between the third trial and the last, a trial.
"""

import gc
import json
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from measurement import Runs, Section, answer, empty_home, images, in_process, in_turns, number, places

from hpo.devices.slots import Slot

TARGET_SECONDS = 0.5
PLAIN_SECONDS = 0.36  # to build and trace the same model in plain Keras, where the target was set
TRIALS = 10
PARTS = {
    "commit, free, claim, sample": ("told", "build"),
    "build the model": ("build", "built"),
    "hand over the images": ("built", "step"),
    "trace and run the first step": ("step", "stepped"),
}


def main() -> None:
    section = Section("turnaround", __doc__)
    with empty_home() as home:
        data, section.data = images(home)
        settings = {"data": data}
        processes = in_turns(
            {place: partial(in_process, __file__, settings, slot) for place, slot in places().items()}, turns=2
        )
    rows = []
    for place, answers in processes.items():
        trials = [trial for trials, _plain, _memory in answers for trial in trials]
        whole = _between(trials, "told", "stepped")
        alone = Runs(tuple(trial["built"] - trial["build"] + trial["stepped"] - trial["step"] for trial in trials))
        section.target(
            f"at most {TARGET_SECONDS} s on {place}",
            f"{whole.median:.2f} s; build and trace alone {alone.median:.2f} s",
            met=whole.median <= TARGET_SECONDS,
        )
        plain = Runs(tuple(seconds for _trials, plain, _memory in answers for seconds in plain))
        ratio, most = whole.median / plain.median, TARGET_SECONDS / PLAIN_SECONDS
        section.target(
            f"at most {most:.2f} times what plain Keras takes to build and trace it, on {place}",
            f"{ratio:.2f} times its {plain.median:.2f} s",
            met=ratio <= most,
        )
        rows.append([f"**{place}: end of a trial to first step of the next**", *whole.cells()])
        rows += [[part, *_between(trials, *ends).cells()] for part, ends in PARTS.items()]
        rows.append(["build and trace", *alone.cells()])
        rows.append(["build and trace in plain Keras", *plain.cells()])
        rows.append(["before the end", *_between(trials, "validated", "told_next").cells()])
        growth = Runs(tuple(memory for _trials, _plain, memory in answers))
        rows.append(["memory, MB a trial", number(growth.median), growth.spread, str(len(growth.values))])
    section.table(["", "seconds", "smallest–largest", "trials"], rows)
    section.write()


def _between(trials: list[dict[str, float]], start: str, end: str) -> Runs:
    return Runs(tuple(trial[end] - trial[start] for trial in trials))


def measure(data: str) -> None:
    """Run the trials in this process; answers the times of each after the first, and the growth in MB a trial."""
    import psutil
    from optuna.distributions import FloatDistribution

    from hpo import Budget, Search, Train
    from hpo.files.run_dir import RunDir
    from hpo.storage import stored_study
    from hpo.storage.database import open_storage
    from hpo.storage.url import resolve_url
    from hpo.study.found import FoundStudy
    from hpo.workers.worker import Worker

    # A worker writes its log to a file; here to nowhere.
    logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
    stamps: list[dict[str, float]] = []
    memory: list[int] = []

    def build(_params: dict[str, Any], dataset: Any) -> Any:
        from hpo.models import build_cnn

        memory.append(psutil.Process().memory_info().rss)
        stamp = {"build": time.time()}
        model = build_cnn({}, dataset)
        stamp["built"] = time.time()
        stamps.append(stamp)
        _hang_clock(model, stamp)
        return model

    definition = Search(
        name="turnaround",
        task=Train(data=data, model=build),
        # As many as the stock study has; the model takes its defaults whatever they are.
        space={f"parameter-{index}": FloatDistribution(0, 1) for index in range(12)},
        budget=Budget(trials=TRIALS, max_epochs=1),
    )
    found = FoundStudy(definition)
    run_dir = RunDir.from_environment()
    for database in run_dir.home.glob("hpo.db*"):
        database.unlink()  # of the process before
    storage = open_storage(resolve_url(None, run_dir), write=True)
    study, _is_new = stored_study.create_or_resume(storage, found, run_dir)
    Worker(study, found, run_dir, Slot.from_environment()).run()
    told = [trial.datetime_complete.timestamp() for trial in study.get_trials() if trial.datetime_complete]
    if len(told) != TRIALS or len(stamps) != TRIALS:
        sys.exit(f"{len(told)} of {TRIALS} trials ended and {len(stamps)} were built: {study.get_trials()[-1]}")
    times = [
        {"told": told[index - 1], "told_next": told[index], **stamp} for index, stamp in enumerate(stamps) if index > 0
    ]
    dataset = definition.load_dataset(run_dir)
    plain = [_plain(dataset) for _ in range(TRIALS)][1:]
    answer((times, plain, (memory[-1] - memory[2]) / (len(memory) - 3) / 1e6))


def _plain(dataset: Any) -> float:
    """Seconds in which plain Keras builds and traces the same model, with its first step."""
    import keras

    from hpo.models import build_cnn

    keras.utils.clear_session(free_memory=False)
    stamp = {"build": time.time()}
    model = build_cnn({}, dataset)
    stamp["built"] = time.time()
    _hang_clock(model, stamp)
    model.fit(dataset.train.images, dataset.train.labels, batch_size=128, verbose=0)
    gc.collect()
    return stamp["built"] - stamp["build"] + stamp["stepped"] - stamp["step"]


def _hang_clock(model: Any, stamp: dict[str, float]) -> None:
    """Stamp the first training step and the end of validation; end the fit after that step."""
    make_train_function: Callable[..., None] = model.make_train_function
    evaluate: Callable[..., Any] = model.evaluate

    def make_stamped(force: bool = False) -> None:
        make_train_function(force)
        train = model.train_function

        def first_step(*arguments: Any) -> Any:
            stamp["step"] = time.time()
            logs = train(*arguments)
            stamp["stepped"] = time.time()
            model.stop_training = True
            return logs

        model.train_function = first_step

    def stamped_evaluate(*arguments: Any, **settings: Any) -> Any:
        logs = evaluate(*arguments, **settings)
        stamp["validated"] = time.time()
        return logs

    model.make_train_function, model.evaluate = make_stamped, stamped_evaluate


if __name__ == "__main__":
    measure(**json.loads(sys.argv[1])) if sys.argv[1:] else main()
