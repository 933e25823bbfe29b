"""The code of a stored study, found again on this machine."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from hpo.errors import StudyError, UnknownStudy
from hpo.storage.stored_study import check_unchanged, recorded
from hpo.study import catalog
from hpo.study.found import FoundStudy


def found_again(study: optuna.Study, file: str | None = None, known: FoundStudy | None = None) -> FoundStudy:
    """A stored study, its code found again in ``file``, else through the recorded source.

    Args:
        known: the study, if this process has it already.

    Raises:
        StudyChanged: the code here defines another study than the one recorded.
        StudyError: hpo did not launch it, or its source is not here.
    """
    found = known or found_here(study, file)
    check_unchanged(found, recorded(study), amend=False)
    return found


def found_here(study: optuna.Study, file: str | None = None) -> FoundStudy:
    """As `found_again`, but as the code here has it, which may be another than was recorded."""
    attrs = recorded(study)
    if not attrs:
        raise StudyError(f"hpo did not launch the study {study.study_name!r}, so there is nothing to run it by.")
    return _find(study.study_name, attrs, file).with_overrides(name=study.study_name, **attrs["overrides"])


def _find(name: str, attrs: Mapping[str, Any], file: str | None) -> FoundStudy:
    """The definition in ``file``; without one in the recorded source, or where it may lie on this machine."""
    if not attrs["source"] and file is None:
        raise StudyError(
            f"Study {name!r} was launched from Python: only the process that made it, and the workers of that process, "
            "have its code. To join, continue or export it from elsewhere, write it into a file and launch that."
        )
    path, _, original = attrs["source"].rpartition(".py:")
    if file is not None:
        return catalog.load(f"{file}:{original}" if file.endswith(".py") else file)
    places = [attrs["source"]]
    if path:  # of the machine that launched it last
        base = Path(path).name
        places += [f"{base}.py:{original}", f"studies/{base}.py:{original}", original]
    found = []
    for place in places:
        with contextlib.suppress(UnknownStudy):
            found.append(catalog.load(place))
            if found[-1].code == attrs["code"]:
                return found[-1]
    if found:
        return found[0]
    where = f"the file {path}.py" if path else f"a file in ./studies that defines {original!r}"
    raise UnknownStudy(
        f"Study {name!r} was launched from {where}, which is not here. Copy it to this machine and name it: "
        "`hpo worker` and `hpo export` take --file FILE.py, `hpo launch` takes --study FILE.py."
    )
