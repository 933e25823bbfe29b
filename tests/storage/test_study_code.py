"""The code of a stored study, found again by whoever works on it."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage

from hpo import Budget
from hpo.errors import StudyChanged, StudyError
from hpo.files.run_dir import RunDir
from hpo.storage import stored_study, study_code
from hpo.study import catalog


@pytest.fixture
def storage(sqlite: BaseStorage) -> BaseStorage:
    """An empty one in a SQLite file; the same questions are asked of PostgreSQL elsewhere."""
    return sqlite


@pytest.fixture
def launched(
    storage: BaseStorage, run_dir: RunDir, write_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> optuna.Study:
    """The study ``instant`` of ``./studies``, launched with other trials, epochs and name."""
    monkeypatch.chdir(write_study().parents[1])
    definition = catalog.load("instant").with_overrides(name="renamed", trials=8, max_epochs=2)
    return stored_study.create_or_resume(storage, definition, run_dir)[0]


def test_a_worker_finds_the_definition_again(launched: optuna.Study) -> None:
    """By the recorded source, with what the launch had set."""
    study = study_code.found_again(launched)
    assert study.name == study.definition.name == "renamed"
    assert study.definition.budget == Budget(trials=8, max_epochs=2)
    assert study.overrides == {"trials": 8, "max_epochs": 2}
    assert study.definition.fingerprint == launched.user_attrs["fingerprint"]
    assert study.definition.task({"x": 0.25}, None) == 0.25  # type: ignore[operator]


def test_a_worker_with_other_code_refuses_to_join(launched: optuna.Study, write_study: Callable[..., Path]) -> None:
    """A copy on another machine may be older."""
    path = write_study()
    path.write_text(path.read_text().replace("FloatDistribution(0, 1)", "FloatDistribution(0, 5)"))
    with pytest.raises(StudyChanged, match=r"'renamed' has changed.*space\.x\.attributes\.high: 1\.0 -> 5\.0"):
        study_code.found_again(launched)


def test_a_worker_without_the_code_says_so(launched: optuna.Study, write_study: Callable[..., Path]) -> None:
    """Rather than to run something else under that name."""
    write_study().unlink()
    with pytest.raises(StudyError, match=r"launched from a file in \./studies that defines 'instant', which is not"):
        study_code.found_again(launched)


def test_another_file_of_the_same_name_leads_nobody_astray(
    launched: optuna.Study, write_study: Callable[..., Path]
) -> None:
    """The launch was on another machine, and the file stands in another folder here."""
    launched.set_user_attr("source", "/elsewhere/instant.py:instant")
    path = write_study()
    (path.parents[1] / "instant.py").write_text(path.read_text().replace('name="instant"', 'name="unlike"'))
    assert study_code.found_again(launched).file == "studies/instant.py"
