"""Studies that end with their test, and where the full numbers go."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.launching import Begin, Faults
from faults.results import Results


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    """Collects what was counted; a run of the full numbers writes it."""
    is_full = pytestconfig.getoption("markexpr") == "faults_full"
    return Results(Path(__file__).with_name("RESULTS.md") if is_full else None)


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Make a study to launch, as ``Faults`` does."""
    begun: list[Faults] = []

    def make(folder: Path, url: str, *text: str, **values: object) -> Faults:
        begun.append(Faults(folder, url, *text, **values))
        return begun[-1]

    yield make
    for faults in begun:
        faults.end()
