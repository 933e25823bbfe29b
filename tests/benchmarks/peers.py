"""hpo beside a plain Optuna script, Keras Tuner and Ray Tune: trials per hour, the best value, and what a kill costs.

All search the same space of the same small CNN on scikit-learn's digits (tests/benchmarks/peer/problem.py), with as
many trials of as many epochs each, two at a time on two cores with one thread each, and each with its default sampler
for that (Ray Tune with Optuna's: its own default is random). Each is set up as its documentation has it; none prunes.
Time is from the command to the end of its last process, imports included.

Then each runs once more and is killed: when half of the epochs are trained, all its processes get SIGKILL at once, and
the same command is given again. Counted are the trials that the tool has recorded as finished at the end, those that it
has recorded as anything else, and the epochs that were trained beyond those that the trials need.

Needs the extra: pip install -e ".[test,peers]". Usage: ``python tests/benchmarks/peers.py [TRIALS [TURNS]]``.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from measurement import REPOSITORY, RESULTS, Runs, Section, in_turns, number

PEER = Path(__file__).parent / "peer"
EPOCHS = 6  # as in problem.py, which imports Keras
_THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True)
class Tool:
    """One tool: its processes, each a command and what its environment has beside, and what it has recorded."""

    processes: Callable[[int], list[tuple[list[str], dict[str, str]]]]
    recorded: Callable[[Path], tuple[int, int]]


def _hpo(trials: int) -> list[tuple[list[str], dict[str, str]]]:
    options = ["--workers", "2", "--gpus", "none", "--no-export-check", "--trials", str(trials)]
    return [(["-m", "hpo", "launch", "--study", "with_hpo.py", *options], {})]


def _optuna(trials: int) -> list[tuple[list[str], dict[str, str]]]:
    return [(["with_optuna.py", str(trials)], {})] * 2


def _keras_tuner(trials: int) -> list[tuple[list[str], dict[str, str]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        oracle = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free.getsockname()[1])}
    names = ("chief", "tuner0", "tuner1")
    return [(["with_keras_tuner.py", str(trials)], {**oracle, "KERASTUNER_TUNER_ID": name}) for name in names]


def _ray_tune(trials: int) -> list[tuple[list[str], dict[str, str]]]:
    return [(["with_ray_tune.py", str(trials)], {"RAY_DEDUP_LOGS": "0"})]


def _in_storage(path: str, study: str) -> Callable[[Path], tuple[int, int]]:
    def recorded(folder: Path) -> tuple[int, int]:
        import optuna

        trials = optuna.load_study(storage=f"sqlite:///{folder / path}", study_name=study).trials
        kept = [trial for trial in trials if not trial.user_attrs.get("given_back")]
        finished = sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in kept)
        return finished, len(kept) - finished

    return recorded


def _of_keras_tuner(folder: Path) -> tuple[int, int]:
    found = [json.loads(path.read_text())["status"] for path in folder.glob("keras-tuner/peers/trial_*/trial.json")]
    return found.count("COMPLETED"), len(found) - found.count("COMPLETED")


def _of_ray_tune(folder: Path) -> tuple[int, int]:
    found = list(folder.glob("ray/peers/*/result.json"))
    finished = sum("val_accuracy" in path.read_text() for path in found)
    return finished, len(found) - finished


TOOLS = {
    "hpo": Tool(_hpo, _in_storage("runs/hpo.db", "peers")),
    "plain Optuna": Tool(_optuna, _in_storage("optuna.db", "peers")),
    "Keras Tuner": Tool(_keras_tuner, _of_keras_tuner),
    "Ray Tune": Tool(_ray_tune, _of_ray_tune),
}


@dataclass(frozen=True)
class Run:
    """What one search came to."""

    seconds: float
    best: float
    finished: int
    unfinished: int
    repeated: int  # epochs


def _search(tool: Tool, trials: int, *, kill: bool = False) -> Run:
    folder = Path(tempfile.mkdtemp(prefix="peers-"))
    for path in PEER.glob("*.py"):
        shutil.copy(path, folder)
    log = folder / "epochs.log"
    log.touch()
    started = time.monotonic()
    processes = _start(tool, trials, folder, log)
    if kill:
        _wait(lambda: len(log.read_text().splitlines()) >= trials * EPOCHS // 2 or not any(map(_runs, processes)))
        _kill(processes)
        processes = _start(tool, trials, folder, log)
    _wait(lambda: not any(map(_runs, processes)))
    seconds = time.monotonic() - started
    _kill(processes)
    epochs = log.read_text().splitlines()
    finished, unfinished = tool.recorded(folder)
    best = max(float(line.split()[1]) for line in epochs)
    shutil.rmtree(folder, ignore_errors=True)
    return Run(seconds, best, finished, unfinished, len(epochs) - trials * EPOCHS)


def _start(tool: Tool, trials: int, folder: Path, log: Path) -> list["subprocess.Popen[bytes]"]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HPO_")},
        **dict.fromkeys(_THREADS, "1"),
        "PEERS_LOG": str(log),
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
    }
    with (folder / "output.log").open("ab") as output:
        return [
            subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env={**environment, **more},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            for command, more in tool.processes(trials)
        ]


def _runs(process: "subprocess.Popen[bytes]") -> bool:
    return process.poll() is None


def _wait(ended: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 3600
    while not ended():
        if time.monotonic() > deadline:
            sys.exit("A search did not end within an hour.")
        time.sleep(0.2)


def _kill(processes: list["subprocess.Popen[bytes]"]) -> None:
    """Kill all processes of a search, at once, with what they have started."""
    found: list[psutil.Process] = []
    for process in processes:
        try:
            parent = psutil.Process(process.pid)
            found += [*parent.children(recursive=True), parent]
        except psutil.NoSuchProcess:
            continue
    for each in found:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    for process in processes:
        process.wait()


def main() -> None:
    """Run all tools in turns, then each once more with a kill, and write the section."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    section = Section("peers", __doc__ or "")
    runs = in_turns({name: lambda tool=tool: _search(tool, trials) for name, tool in TOOLS.items()}, turns=turns)
    killed = {name: _search(tool, trials, kill=True) for name, tool in TOOLS.items()}
    rows = []
    ours = Runs(tuple(trials * 3600 / run.seconds for run in runs["hpo"]))
    for name in TOOLS:
        hourly = Runs(tuple(trials * 3600 / run.seconds for run in runs[name]))
        best = Runs(tuple(run.best for run in runs[name]))
        kill = killed[name]
        rows.append(
            [
                name,
                number(hourly.median),
                hourly.spread,
                number(ours.over(hourly).median),
                f"{best.median:.4f}",
                f"{kill.finished} of {trials}",
                str(kill.unfinished),
                str(kill.repeated),
            ]
        )
    section.table(
        ["tool", "trials per hour", "from–to", "hpo is faster by", "best value", "after a kill: finished",
         "left unfinished", "epochs trained again"],
        rows,
    )  # fmt: skip
    section.write()
    write_readme()


def write_readme() -> None:
    """Put the table of the results file into the README."""
    section = RESULTS.read_text().partition("## peers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|.*\|$", section, flags=re.MULTILINE)
    path = REPOSITORY / "README.md"
    table = "\n".join(rows) + "\n"
    text, count = re.subn(r"(?<=<!-- peers -->\n).*?(?=<!-- end -->)", table, path.read_text(), flags=re.DOTALL)
    assert count == 1, "README.md has no place for the table"
    path.write_text(text)


if __name__ == "__main__":
    main()
