"""What the full fault tests counted, for RESULTS.md beside them; the run itself writes it."""

import os
import platform
from collections import defaultdict
from datetime import date
from pathlib import Path

from faults.checker import Finding

_TEXT = """# Faults

Written by `pytest -m faults_full -n 0 tests/faults` on {day}, {cpus} CPUs, Python {python}.
After each row the checker of `tests/faults/checker.py` found no violation: each attempt claimed once, attempts of one
configuration never at once, as many trials finished as the budget says, none left running, and each result in the
storage as a worker reported it.

| fault | storage | faults | trials finished | attempts | epochs trained again |
|---|---|---|---|---|---|
{rows}
"""


class Results:
    """Collects a row a study; writes the file at the end, where ``path`` is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[tuple[str, str], list[tuple[int, Finding]]] = defaultdict(list)

    def add(self, fault: str, url: str, faults: int, finding: Finding) -> None:
        """Count what one study came to."""
        self._rows[fault, url.partition(":")[0]].append((faults, finding))

    def write(self) -> None:
        """Write the table."""
        if self._path is None or not self._rows:
            return
        rows = []
        for (fault, storage), found in self._rows.items():
            sums = (
                sum(faults for faults, _finding in found),
                *(sum(getattr(f, name) for _faults, f in found) for name in ("finished", "attempts", "repeated")),
            )
            rows.append(" | ".join(["", fault, storage, *(f"{count:,}" for count in sums), ""]).strip())
        values = {"day": date.today(), "cpus": os.cpu_count(), "python": platform.python_version()}
        self._path.write_text(_TEXT.format(rows="\n".join(rows), **values))
