"""What a second worker brings on one machine.

`workers.launch.launch`, the function behind `hpo launch`, runs a fixed study in real worker processes: stock CNNs with
default parameters, two epochs each on 6,000 of the images (`--subset 6000`), no pruning and no early stopping, so that
every trial is the same work. In turns: one worker with one thread, two workers with one thread each, and one worker
with a thread for every core.

Trials an hour are those of the steady state: each worker's rate is taken between the ends of its trials
(`datetime_complete` in the storage), from the moment when every worker has ended its first to the moment when one of
them ended its last, and the rates are added. So the start of a process, which a search pays once, and a last trial that
runs alone do not count; beside them stand the seconds of the whole launch, where they do.
"""

import time
from collections import defaultdict
from pathlib import Path

from measurement import Runs, Section, empty_home, images, in_turns, number
from optuna import Study

from hpo.devices.slots import Slot, usable_cores
from hpo.files.run_dir import RunDir
from hpo.storage import stored_study
from hpo.storage.database import open_storage
from hpo.storage.url import resolve_url
from hpo.study import catalog
from hpo.workers.launch import launch

TARGET_RATIO = 1.2
TRIALS_A_WORKER = 6
TURNS = 2

STUDY = """
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from hpo import Budget, Search, Stopping, Train
from hpo.models import build_cnn

study = Search(
    name="fixed", task=Train(data={data!r}, model=build_cnn, stopping=Stopping(patience=None)),
    space={{"learning_rate": FloatDistribution(1e-4, 1e-3, log=True)}},
    budget=Budget(trials=1, max_epochs=2), sampler=RandomSampler(),
)
"""


def main() -> None:
    section = Section("two_workers", __doc__)
    crews = {
        "one worker, one thread": [Slot(threads=1)],
        "two workers, one thread each": [Slot(threads=1)] * 2,
        f"one worker, {usable_cores()} threads": [Slot(threads=usable_cores())],
    }
    with empty_home() as home:
        data, section.data = images(home)
        path = home / "fixed.py"
        path.write_text(STUDY.format(data=data))
        measured = in_turns({name: lambda s=slots: _launch(path, s) for name, slots in crews.items()}, turns=TURNS)
    rates = {name: Runs(tuple(rate for rate, _seconds in answers)) for name, answers in measured.items()}
    one, two = list(rates.values())[:2]
    ratio = two.over(one)
    section.target(
        f"at least {TARGET_RATIO} times the trials an hour of one worker with one thread",
        f"{ratio.median:.2f} times ({ratio.spread})",
        met=ratio.median >= TARGET_RATIO,
    )
    section.table(
        ["", "trials an hour", "smallest–largest", "runs", "times one worker", "seconds of the launch", "trials"],
        [
            [
                name,
                *rates[name].cells(),
                number(rates[name].over(one).median),
                number(Runs(tuple(seconds for _rate, seconds in answers)).median),
                str(_trials(crews[name])),
            ]
            for name, answers in measured.items()
        ],
    )
    section.write()


def _trials(slots: list[Slot]) -> int:
    return TRIALS_A_WORKER * len(slots)


def _launch(path: Path, slots: list[Slot]) -> tuple[float, float]:
    """Launch the study with a worker in each slot; its trials an hour, and the seconds of the launch."""
    run_dir = RunDir.from_environment()
    name = f"fixed-{time.monotonic_ns()}"
    definition = catalog.load(str(path)).with_overrides(name=name, trials=_trials(slots), subset=6_000)
    url = resolve_url(None, run_dir)
    started = time.perf_counter()
    launch(definition, url, run_dir, slots, show=lambda status: None)
    seconds = time.perf_counter() - started
    return _rate(stored_study.load(open_storage(url, write=False), name)) * 3600, seconds


def _rate(study: Study) -> float:
    """Trials a second in the steady state of all workers."""
    ended: dict[str, list[float]] = defaultdict(list)
    for trial in study.get_trials(deepcopy=False):
        if trial.datetime_complete is None or trial.value is None:
            raise SystemExit(f"A trial of the fixed study failed: {trial.user_attrs.get('failure', trial.state)}")
        ended[trial.user_attrs["claim"]["worker"]].append(trial.datetime_complete.timestamp())
    start = max(min(times) for times in ended.values())
    end = min(max(times) for times in ended.values())
    steady = [sorted(moment for moment in times if start <= moment <= end) for times in ended.values()]
    return sum((len(times) - 1) / (times[-1] - times[0]) for times in steady if len(times) > 1)


if __name__ == "__main__":
    main()
