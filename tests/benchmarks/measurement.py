"""What the benchmarks share: medians of interleaved runs, the machine they ran on, the data, the results file."""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil

from hpo import datasets
from hpo.devices.slots import Slot, machine, usable_cores, visible_gpus
from hpo.errors import DatasetError
from hpo.files.run_dir import RunDir
from hpo.storage.environment import versions

Result = TypeVar("Result")

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
RESULTS = HERE / "RESULTS.md"
# The order in which they run and stand in the results.
SECTIONS = ("startup", "turnaround", "epoch", "machinery", "two_workers", "kills", "precision", "claims", "peers")

_HEAD = """# Benchmarks

Written by `python tests/benchmarks/run.py`, every figure by the script that its section names; do not edit.
A figure is the median of its runs, with the smallest and the largest; things compared ran in turns (A B B A), and a
ratio is the median of the ratios within each turn. A section keeps the state of its own last run, given at its end.
"""


@dataclass(frozen=True)
class Runs:
    """What several runs of one thing gave, all in one unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        return f"{number(min(self.values))}–{number(max(self.values))}"

    def over(self, other: "Runs") -> "Runs":
        """This by the other, turn by turn: what ran side by side met the same noise."""
        return Runs(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def cells(self) -> list[str]:
        """For a table: median, smallest to largest, how many."""
        return [number(self.median), self.spread, str(len(self.values))]


def in_turns(measures: Mapping[str, Callable[[], Result]], *, turns: int, of: str = "") -> dict[str, list[Result]]:
    """Call each measure once a turn, in an order that turns round: A B, B A, A B; says so, and of what."""
    results: dict[str, list[Result]] = {name: [] for name in measures}
    for turn in range(turns):
        for name in list(measures)[:: -1 if turn % 2 else 1]:
            results[name].append(measures[name]())
            print(f"  {of}turn {turn + 1} of {turns}: {name}", flush=True)
    return results


@dataclass
class Section:
    """One benchmark's part of the results file.

    Args:
        name: of the script.
        about: what it measures and how; the script's docstring.
    """

    name: str
    about: str
    data: str = ""
    _body: list[str] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _load: float = field(default_factory=lambda: os.getloadavg()[0])

    def target(self, text: str, shown: str, *, met: bool) -> None:
        """A target and whether it was met, as computed by the caller from what was measured."""
        self._body.append(f"Target: {text}. **{'Met' if met else 'Not met'}: {shown}.**")
        print(f"{self.name}: {self._body[-1]}", flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the first column is text, the others are figures."""
        lines = [columns, ["---"] + ["--:"] * (len(columns) - 1), *rows]
        self._body.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        print(self._body[-1], flush=True)

    def write(self) -> None:
        """Put this section into the results file in place of its last one; the other sections stay."""
        sections = _read()
        sections[self.name] = "\n\n".join([f"## {self.name}", self.about.strip(), *self._body, self._circumstances()])
        ordered = [sections[name] for name in SECTIONS if name in sections]
        temporary = RESULTS.with_suffix(".part")
        temporary.write_text("\n\n".join([_HEAD.strip(), *ordered]) + "\n", encoding="utf-8")
        temporary.replace(RESULTS)

    def _circumstances(self) -> str:
        lines = [
            f"`python tests/benchmarks/{self.name}.py`, {datetime.now().astimezone().isoformat(timespec='seconds')}, "
            f"{time.monotonic() - self._started:.0f} s, commit {_commit()}",
            f"{machine()}, load {self._load:.1f} before" + (f"; data: {self.data}" if self.data else ""),
            ", ".join([f"Python {platform.python_version()}"] + [f"{k} {v}" for k, v in versions().items()]),
        ]
        return "Run: " + "  \n".join(lines)


def file_system(path: Path) -> str:
    """The kind of file system that ``path`` is on: what a commit costs depends on it."""
    mounts = [part for part in psutil.disk_partitions(all=True) if path.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


@contextmanager
def empty_home() -> Iterator[Path]:
    """A temporary ``HPO_HOME``, set in this process and so for those it starts; other settings of hpo are unset."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="hpo-benchmark-") as folder:
        for name in [name for name in os.environ if name.startswith("HPO_") and name != "HPO_DATA_DIR"]:
            del os.environ[name]
        os.environ["HPO_HOME"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.clear()
            os.environ.update(before)


def images(home: Path) -> tuple[str, str]:
    """A data set to measure with, as a study names it, and what the results call it: Fashion-MNIST if it can be had."""
    os.chdir(REPOSITORY)  # data sets are looked for beside the checkout too
    try:
        datasets.load("fashion-mnist", run_dir=RunDir(home))
    except DatasetError:
        path, random = home / "random.npz", np.random.default_rng(0)
        arrays = {
            f"{kind}_{part}": random.integers(0, top, (count, *shape), dtype=np.uint8)
            for part, count in (("train", 60_000), ("test", 10_000))
            for kind, top, shape in (("x", 256, (28, 28)), ("y", 10, ()))
        }
        np.savez(path, **arrays)
        return str(path), "random arrays of Fashion-MNIST's shape"
    return "fashion-mnist", "Fashion-MNIST"


def places() -> dict[str, Slot]:
    """Where a worker may run on this machine: one core, all of them, and a GPU if there is one; best last."""
    cores = usable_cores()
    found = {"1 thread": Slot(threads=1)}
    if cores > 1:
        found[f"{cores} threads"] = Slot(threads=cores)
    if gpus := visible_gpus():
        found["a GPU"] = Slot(threads=cores, gpu=gpus[0])
    return found


def in_process(script: str, settings: Mapping[str, Any], slot: Slot) -> Any:
    """What the ``answer`` of another process of ``script`` was; it gets ``settings`` and a worker's environment."""
    done = subprocess.run(
        [sys.executable, script, json.dumps(settings)],
        env={**os.environ, **slot.environment()},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{script} failed in its own process:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def answer(value: Any) -> None:
    """Hand ``value`` to the process that called ``in_process``."""
    print(json.dumps(value), flush=True)


def _read() -> dict[str, str]:
    """The sections of the results file by name."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else ""
    parts = re.split(r"^## (\w+)$", text, flags=re.MULTILINE)[1:]
    return {name: f"## {name}{body}".strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def _commit() -> str:
    """The checkout's commit, and whether the program differs from it."""

    def git(*arguments: str) -> str:
        answer = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        return answer.stdout.strip()

    changed = git("status", "--porcelain", "--", "hpo", "studies", "tests/benchmarks/*.py")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")
