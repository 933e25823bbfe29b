"""Where the full numbers go."""

from pathlib import Path

import pytest
from faults.results import Results


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    """Collects what was counted; a run of the full numbers writes it."""
    is_full = pytestconfig.getoption("markexpr") == "faults_full"
    return Results(Path(__file__).with_name("RESULTS.md") if is_full else None)
