"""How long the command line takes to answer.

Wall seconds of the whole process, from its start to its end, of `hpo --help` and of `hpo status` for a study with
24 finished trials in a SQLite storage; `python -c pass` beside them is what any Python program takes. Each command also
runs once with `-X importtime`, which lists every module it imports: none may be of TensorFlow, Keras or JAX.
"""

import subprocess
import sys
import time
from pathlib import Path

from measurement import Runs, Section, empty_home, in_turns

from hpo.devices.slots import Slot
from hpo.files.run_dir import RunDir
from hpo.storage.url import resolve_url
from hpo.study import catalog
from hpo.workers.launch import launch

TARGET_SECONDS = 0.7
HEAVY = ("tensorflow", "keras", "jax")

STUDY = """
from optuna.distributions import FloatDistribution
from hpo import Budget, Search

def score(params, trial):
    return params["x"]

study = Search(name="small", task=score, direction="maximize",
                        space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=24))
"""


def main() -> None:
    section = Section("startup", __doc__)
    with empty_home() as home:
        _run_study(home)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "hpo --help": [sys.executable, "-m", "hpo", "--help"],
            "hpo status": [sys.executable, "-m", "hpo", "status", "--study", "small"],
        }
        seconds = in_turns({name: lambda c=command: _seconds(c) for name, command in commands.items()}, turns=7)
        imported = {name: _heavy_imports(command) for name, command in commands.items() if name.startswith("hpo")}
    runs = {name: Runs(tuple(values)) for name, values in seconds.items()}
    for name, modules in imported.items():
        median = runs[name].median
        section.target(
            f"`{name}` under {TARGET_SECONDS} s, and no TensorFlow, Keras or JAX",
            f"{median:.2f} s, {'none of them' if not modules else ', '.join(modules)} imported",
            met=median < TARGET_SECONDS and not modules,
        )
    section.table(
        ["command", "seconds", "smallest–largest", "runs"], [[f"`{name}`", *runs[name].cells()] for name in commands]
    )
    section.write()


def _run_study(home: Path) -> None:
    path = home / "small.py"
    path.write_text(STUDY)
    run_dir = RunDir(home)
    launch(catalog.load(str(path)), resolve_url(None, run_dir), run_dir, [Slot(threads=1)], show=lambda status: None)


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _heavy_imports(command: list[str]) -> list[str]:
    """Those of the modules that a command imported which it should do without."""
    traced = [command[0], "-X", "importtime", *command[1:]]
    lines = subprocess.run(traced, check=True, capture_output=True, text=True).stderr.splitlines()
    packages = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    return sorted(packages.intersection(HEAVY))


if __name__ == "__main__":
    main()
