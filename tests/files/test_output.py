"""A place to write to is checked before the work that fills it."""

from pathlib import Path

import pytest

from hpo.errors import UsageError
from hpo.files.output import check_output


def _is_ours(path: Path) -> bool:
    return path.read_text() == "ours"


def test_a_free_place_is_taken_and_its_folder_made(tmp_path: Path) -> None:
    """Nothing else is left there."""
    check_output(tmp_path / "new" / "best.h5", _is_ours, force=False)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_is_replaced_if_it_is_ours_or_by_force(tmp_path: Path) -> None:
    """The check itself changes nothing."""
    path = tmp_path / "best.h5"
    path.write_text("ours")
    check_output(path, _is_ours, force=False)
    path.write_text("another's")
    with pytest.raises(UsageError, match=r"best\.h5 exists and is another file\. Name another, or replace .* --force"):
        check_output(path, _is_ours, force=False)
    check_output(path, _is_ours, force=True)
    assert path.read_text() == "another's"


def test_a_link_that_leads_nowhere_is_not_replaced(tmp_path: Path) -> None:
    """Its owner may have unmounted what it leads to."""
    (tmp_path / "best.h5").symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match="exists and is another file"):
        check_output(tmp_path / "best.h5", _is_ours, force=False)


@pytest.mark.parametrize("force", [True, False])
def test_a_folder_is_refused(tmp_path: Path, force: bool) -> None:
    """With a path that would do."""
    with pytest.raises(UsageError, match=f"{tmp_path} is a folder. Name a file in it: {tmp_path}/"):
        check_output(tmp_path, _is_ours, force=force)


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    """As is any other that cannot be written to."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file is not: (File exists|Not a directory)"):
        check_output(tmp_path / "file" / "best.h5", _is_ours, force=False)
