"""What the full fault tests counted, for RESULTS.md beside them; the run itself writes it."""

import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path

from faults.checker import Finding

from hpo.storage.leases import BEAT, LEASE

COMPARED = "SIGKILL of workers at random"  # of hpo's faults, the one that stock Optuna is put to as well

_TEXT = """# Faults

Written by `pytest -m faults_full -n 0 tests/faults`, whole or in parts: a run replaces the rows of what it tests.
After each row the checker of `tests/faults/checker.py` found no violation: each attempt claimed once, attempts of one
configuration never at once, as many configurations finished as the budget says, none failed, none left running, each
with one result after whatever pauses it had, no attempt that trained more than one epoch again where epochs are kept,
and each result in the storage as a worker reported it.
That 100 flipped or truncated checkpoints of 100 are found out is tested each time, in `tests/trial/test_checkpoint.py`.

| fault | storage | faults | configurations finished | pauses | attempts | epochs trained again | run |
|---|---|---|---|---|---|---|---|
{rows}

## Stock Optuna, the same kills and the same checker

Optuna {optuna} by its own means, as `tests/faults/stock_optuna.py` sets them up: `study.optimize` on `RDBStorage` with
a heartbeat, `RetryHeartbeatStaleTrialCallback()` and `MaxTrialsCallback(budget, states=(COMPLETE, PRUNED))`.

- The same: study file, objective, sampler, pruner, budget, number of workers, and the function that kills them; the
  heartbeat's interval and its grace period are hpo's beat and lease ({beat} s and {lease} s), and a writer waits for
  SQLite as long. hpo's workers do not import Keras for this objective, so that both start about as fast.
- Given to Optuna, which has no such thing: a process that replaces each worker that ended in any way but by itself with
  the budget met; a worker that looks at the budget before its first trial; and, after the end and another grace
  period, one more `fail_stale_trials`, so that a trial left unfinished is one that is never given up.
- Trials that failed do not count, as `MaxTrialsCallback` has it. A run that does not end by itself is ended, under its
  budget.
- Optuna's documentation does not recommend SQLite for parallel optimization.

"Broken" are the lines that the checker finds. "Off" are trials finished over or under the budget, "left" are trials
still RUNNING or WAITING, "twice" are trials claimed by two workers and attempts with two trials or two results, "at
once" are attempts that went on after the next one began, "results" are those lost or not as a worker reported them.
"Crashed" are workers that ended with an error of their own, which is no such line; of hpo's they are not counted.

| by | fault | storage | kills | budget | finished | off | left | twice | at once | results | broken | crashed | run |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
{comparison}
"""


class Results:
    """Collects a row a study; keeps the file up to date, where ``path`` is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._found: dict[tuple[str, str], list[tuple[int, Finding]]] = defaultdict(list)
        self._stock: dict[tuple[str, str], tuple[int, Finding, int]] = {}

    def add(self, fault: str, url: str, faults: int, finding: Finding) -> None:
        """Count what one study came to."""
        self._found[fault, url.partition(":")[0]].append((faults, finding))
        self._write()

    def compare(self, fault: str, url: str, faults: int, finding: Finding, crashed: int) -> None:
        """Set what stock Optuna came to beside the studies that were added for the same fault.

        Args:
            crashed: workers that ended with an error of their own.
        """
        self._stock[fault, url.partition(":")[0]] = faults, finding, crashed
        self._write()

    def _write(self) -> None:
        """Write the tables; rows of an earlier run stay where this one has none."""
        if self._path is None:
            return
        earlier = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        parts = earlier.partition("\n## ")
        values = {"optuna": version("optuna"), "beat": BEAT, "lease": LEASE}
        values |= {"rows": _merged(parts[0], self._rows(), 2), "comparison": _merged(parts[2], self._comparison(), 3)}
        self._path.write_text(_TEXT.format(**values), encoding="utf-8")

    def _rows(self) -> Iterator[str]:
        for (fault, storage), found in self._found.items():
            yield _row(
                fault,
                storage,
                sum(faults for faults, _finding in found),
                *(
                    sum(getattr(f, name) for _faults, f in found)
                    for name in ("finished", "pauses", "attempts", "repeated")
                ),
                _run(),
            )

    def _comparison(self) -> Iterator[str]:
        for (fault, storage), found in self._found.items():
            for faults, finding in found if fault == COMPARED else ():
                yield _row("hpo", fault, storage, faults, *_compared(finding), "–", _run())
        for (fault, storage), (faults, finding, crashed) in self._stock.items():
            yield _row("stock Optuna", fault, storage, faults, *_compared(finding), crashed, _run())


def _merged(earlier: str, rows: Iterable[str], keys: int) -> str:
    """The rows of the first table in ``earlier`` with ``rows`` in the place of those that share their first cells."""

    def key(row: str) -> list[str]:
        return row.split(" | ")[:keys]

    table = [line for line in earlier.splitlines() if line.startswith("| ")][1:]
    new = list(rows)
    kept = [row for row in table if key(row) not in [key(row) for row in new]]
    return "\n".join(sorted([*kept, *new], key=lambda row: key(row)[::-1] if keys == 3 else key(row)))


def _run() -> str:
    """When and on what the row was measured."""
    return f"{date.today()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


def _compared(finding: Finding) -> tuple[int | str, ...]:
    """From the budget to all violations, as in the second table."""
    counts = {rule: len(lines) for rule, lines in finding.broken.items()}
    return (
        finding.budget,
        finding.finished,
        f"{finding.finished - finding.budget:+,}" if counts["budget"] else "exact",
        counts["unfinished"],
        counts["claimed twice"] + counts["attempted twice"],
        counts["at once"],
        counts["results"],
        len(finding.violations),
    )


def _row(*cells: int | str) -> str:
    return " | ".join(["", *(cell if isinstance(cell, str) else f"{cell:,}" for cell in cells), ""]).strip()
