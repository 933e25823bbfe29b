"""A study in the storage: recorded at its first launch, resumed after, refused where its definition has changed."""

import difflib
import json
import platform
import socket
import subprocess
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage

from hpo import catalog
from hpo.canonical import changes, fingerprint, may_amend
from hpo.devices import machine
from hpo.errors import StudyChanged, StudyError
from hpo.run_dir import RunDir, write_json
from hpo.storage import backend_of, shown, study_lock
from hpo.study import StudyDefinition

# What a launch records of every study.
_RECORDED = {
    "definition": dict, "fingerprint": str, "source": str, "overrides": dict, "budget": int, "environment": dict,
}  # fmt: skip
_PACKAGES = ("hpo", "keras", "tensorflow", "jax", "optuna", "numpy", "sqlalchemy", "scikit-learn")


def create_or_resume(
    storage: BaseStorage, definition: StudyDefinition, run_dir: RunDir, *, amend: bool = False
) -> tuple[optuna.Study, bool]:
    """Record ``definition`` at its first launch, else check that it is the one recorded; sets the budget.

    Returns:
        The study, and whether it is new.

    Raises:
        StudyChanged: it was recorded with another definition, and ``amend`` is not set or the change is not safe.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=definition.name,
        direction=definition.search_direction,
        load_if_exists=True,
        sampler=definition.sampler,
        pruner=definition.explicit_pruner(),
    )
    # Two first launches at once both get here; one records.
    with study_lock(storage, study._study_id):
        stored = recorded(study).get("definition")
        if stored is None:
            if "definition" in study.user_attrs or study.get_trials(deepcopy=False):
                raise StudyError(
                    f"The storage holds a study {definition.name!r} that hpo did not launch. Choose another --name."
                )
            if [direction.name.lower() for direction in study.directions] != [definition.search_direction]:
                raise StudyError(
                    f"The storage holds an empty study {definition.name!r} of another direction than "
                    f"{definition.search_direction!r}. Choose another --name."
                )
            # First what nobody waits for: from the moment the definition is there, the study counts as recorded.
            study.set_user_attr("environment", environment())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # a name for the dashboard's axes, no more
                study.set_metric_names([definition.metric if definition.objective is None else "value"])
            _record(study, definition)
        else:
            _check_unchanged(definition, stored, amend=amend)
            _record(study, definition)
    write_json(run_dir.definition(definition.name), study.user_attrs["definition"])
    write_json(run_dir.environment(definition.name), study.user_attrs["environment"])
    return study, stored is None


def check_data(study: optuna.Study, sha256: str) -> None:
    """Check that these are the data that the study's trials are trained on; a launch has recorded which.

    Raises:
        StudyChanged: they are others: somebody altered a file of their own.
    """
    recorded = study.user_attrs.get("data_sha256", sha256)
    if recorded != sha256:
        raise StudyChanged(
            f"The data of study {study.study_name!r} have changed since its first launch, so that its trials cannot be "
            f"compared: their SHA-256 is {sha256[:12]}…, and was {recorded[:12]}…. Launch it under another name with "
            "--name."
        )


def load(storage: BaseStorage, name: str) -> optuna.Study:
    """The study ``name`` in the storage, to read.

    Raises:
        StudyError: there is none; the message gives the nearest names.
    """
    try:
        name.encode()
    except UnicodeError:
        raise StudyError(f"A study's name must be text, but got {name!r}. `hpo studies` lists the names.") from None
    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        known = names(storage)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"It holds: {', '.join(known) or 'none'}."
        url = shown(backend_of(storage).engine.url)
        raise StudyError(
            f"The storage {url} holds no study called {name!r}. {hint} `hpo launch --study {name}` starts one."
        ) from None


def names(storage: BaseStorage) -> list[str]:
    """The names of all studies in the storage, sorted."""
    return sorted(study.study_name for study in storage.get_all_studies())


def typed(attrs: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Those attributes that are of the type that ``kinds`` gives for their name.

    Any Optuna program may write to the storage, and use one of our names for something else.
    """
    return {name: attrs[name] for name, kind in kinds.items() if isinstance(attrs.get(name), kind)}


def recorded(study: optuna.Study) -> dict[str, Any]:
    """The attributes of a study that hpo launched; empty where another program made it."""
    attrs = study.user_attrs
    return attrs if typed(attrs, _RECORDED).keys() == _RECORDED.keys() else {}


def stored_definition(study: optuna.Study) -> StudyDefinition:
    """The definition of a stored study, its code found again through the recorded source.

    Raises:
        StudyChanged: the code here defines another study than the one recorded.
        StudyError: hpo did not launch it, or its source is not here.
    """
    attrs = recorded(study)
    if not attrs:
        raise StudyError(f"hpo did not launch the study {study.study_name!r}, so there is nothing to run it by.")
    definition = catalog.load(attrs["source"]).with_overrides(name=study.study_name, **attrs["overrides"])
    _check_unchanged(definition, attrs["definition"], amend=False)
    return definition


def resumed(storage: BaseStorage, definition: StudyDefinition) -> StudyDefinition:
    """``definition`` with what earlier launches of it set, such as ``--trials``, where this one sets nothing."""
    if definition.name not in names(storage):
        return definition
    earlier = recorded(load(storage, definition.name)).get("overrides", {})
    return definition.with_overrides(**{**earlier, **definition.overrides})


def budget_of(study: optuna.Study) -> int:
    """The study's budget: trials in all, as the storage says now (a later launch may raise it)."""
    trials: int = study.user_attrs["budget"]
    return trials


def timeout_of(study: optuna.Study) -> float | None:
    """Seconds after which a trial of the study has hung, as the storage says now; None for no limit."""
    timeout: float | None = study.user_attrs["definition"]["budget"]["trial_timeout"]
    return timeout


def delete(study: optuna.Study, run_dir: RunDir) -> None:
    """Undo the first launch of a study that cannot run; its workers' logs stay, to see why."""
    optuna.delete_study(study_name=study.study_name, storage=study._storage)
    run_dir.definition(study.study_name).unlink(missing_ok=True)
    run_dir.environment(study.study_name).unlink(missing_ok=True)


def environment() -> dict[str, Any]:
    """What a result may depend on besides the study: versions, commit, host."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": machine(),
        "host": socket.gethostname(),
        "commit": _commit(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that a result may depend on, those that are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            continue
    return found


def _record(study: optuna.Study, definition: StudyDefinition) -> None:
    study.set_user_attr("fingerprint", definition.fingerprint)
    study.set_user_attr("source", definition.source)
    study.set_user_attr("overrides", dict(definition.overrides))
    study.set_user_attr("budget", definition.trials)
    study.set_user_attr("max_retries", definition.budget.max_retries)
    study.set_user_attr("definition", definition.canonical())


def _check_unchanged(definition: StudyDefinition, stored: Mapping[str, Any], *, amend: bool) -> None:
    new = json.loads(json.dumps(definition.canonical()))
    if definition.fingerprint == fingerprint(stored):
        return
    difference = "; ".join(changes(stored, new))
    if not may_amend(stored, new):
        raise StudyChanged(
            f"Study {definition.name!r} has changed since its first launch, so that its trials cannot be compared: "
            f"{difference}. Launch it under another name with --name."
        )
    if not amend:
        raise StudyChanged(
            f"Study {definition.name!r} has changed since its first launch: {difference}. "
            "Launch it under another name with --name, or accept the change with --amend."
        )


def _commit() -> str | None:
    """The git commit of the folder the launch runs in, None outside of a checkout."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True, cwd=Path.cwd()
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
