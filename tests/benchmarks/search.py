"""Search methods on problems whose learning curves are known: how much each finds for how many epochs.

The code that decides is the real one; only training is replaced, and the clock is simulated. A problem's regret is 0 at
the best of 1,000 random configurations trained to their end, and 1 at their median. Printed are, for each method, the
mean regret after parts of the budget, the area under it, the mean rank by area, and the time that a decision takes.

A file of problems defines ``problems()``, an iterable of objects with ``name``, ``space`` (Optuna distributions by
name), ``max_epochs``, ``curve(params) -> list of values, one per epoch (higher is better)`` and, if epochs differ in
length, ``seconds(params) -> seconds per epoch``. Without one, those of tests/benchmarks/simulated/problems.py are used.

Two of the methods need the extra: pip install -e ".[test,peers]"; they are left out without it.
Usage: ``python tests/benchmarks/search.py [--problems FILE.py] [--methods hpo,random] [--seeds 3] [--epochs 1000]
[--workers 1 8] [--processes 2] [--output FILE.md]``.
"""

import argparse
import importlib.util
import itertools
import multiprocessing
import os
import platform
import sys
import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulated.methods import METHODS, PEERS
from simulated.simulation import Problem, regrets, scale, simulate

INTRODUCTION = """# The search, beside others

Written by `python tests/benchmarks/search.py`, which says how: the code that decides is the real one, training is
replaced by known curves. Regret is 0 at the best of 1,000 random configurations trained to their end, and 1 at their
median. Given are means over problems and seeds, after parts of the epochs, and over all of them ("area").
"""
_PROBLEMS = Path(__file__).parent / "simulated" / "problems.py"
_PARTS = (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Found:
    """One run of a method on a problem: the regret after each epoch, the milliseconds of its median decision."""

    problem: str
    method: str
    regret: NDArray[np.float64]
    decision: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=Path, default=_PROBLEMS)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, help="A Markdown file to write, such as tests/benchmarks/SEARCH.md.")
    given = parser.parse_args()
    methods = [name for name in given.methods.split(",") if importlib.util.find_spec(PEERS.get(name, "numpy"))]
    if unknown := set(methods) - METHODS.keys():
        sys.exit(f"There is no method {', '.join(sorted(unknown))}. There are: {', '.join(METHODS)}.")
    names = list(_problems(given.problems))
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # of processes that start afresh: a core each
    lines = [INTRODUCTION, f"{date.today()}, {os.cpu_count()} CPUs, Python {platform.python_version()}."]
    with ProcessPoolExecutor(given.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for workers in given.workers:
            runs = itertools.product(names, methods, range(given.seeds))
            found = list(pool.map(_run, [(given.problems, given.epochs, workers, *run) for run in runs]))
            lines += ["", f"## {workers} worker{'s' * (workers > 1)}, {len(names)} problems of {given.problems.name}, "
                      f"{given.seeds} seeds, {given.epochs} epochs", "", *table(found, methods)]  # fmt: skip
            print("\n".join(lines[-len(methods) - 4 :]), flush=True)
    if given.output:
        given.output.write_text("\n".join(lines) + "\n")


def table(found: Iterable[Found], methods: list[str]) -> list[str]:
    """The lines of a Markdown table, a method in each."""
    runs: dict[str, dict[str, list[Found]]] = {method: {} for method in methods}
    for run in found:
        runs[run.method].setdefault(run.problem, []).append(run)
    curves = {
        method: {problem: np.mean([run.regret for run in same], axis=0) for problem, same in problems.items()}
        for method, problems in runs.items()
    }
    areas = {method: {problem: curve.mean() for problem, curve in each.items()} for method, each in curves.items()}
    lines = [
        "| method | 10 % | 25 % | 50 % | 100 % | area | rank | worse than random on | ms per decision |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method in methods:
        mean = np.mean(list(curves[method].values()), axis=0)
        parts = [f"{mean[max(0, int(len(mean) * part) - 1)]:.3f}" for part in _PARTS]
        rank = np.mean([1 + sum(areas[o][p] < area for o in methods) for p, area in areas[method].items()])
        worse = [p for p, area in areas[method].items() if "random" in areas and area > areas["random"][p]]
        decision = np.median([run.decision for same in runs[method].values() for run in same])
        lines.append(
            f"| {method} | {' | '.join(parts)} | {mean.mean():.3f} | {rank:.1f} | {', '.join(worse) or '–'} | "
            f"{decision:.1f} |"
        )
    return lines


def _run(settings: tuple[Path, int, int, str, str, int]) -> Found:
    file, epochs, workers, name, method, seed = settings
    problem = _problems(file)[name]
    run = simulate(
        problem,
        METHODS[method](problem, zlib.crc32(f"{name} {seed}".encode()), epochs),
        epochs=epochs,
        workers=workers,
    )
    return Found(name, method, regrets(run, epochs, _scale(file, name)), float(np.median(run.decisions)))


@cache
def _problems(file: Path) -> dict[str, Problem]:
    """The problems that a file defines, by name."""
    spec = importlib.util.spec_from_file_location("problems_of_file", file)
    if spec is None or spec.loader is None or not file.is_file():
        sys.exit(f"There is no file {file} with problems.")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {problem.name: problem for problem in module.problems()}


@cache
def _scale(file: Path, name: str) -> tuple[float, float]:
    return scale(_problems(file)[name])


if __name__ == "__main__":
    main()
