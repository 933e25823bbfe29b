"""A study in the storage: recorded at its first launch, resumed later, refused if its definition has changed."""

import contextlib
import difflib
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo.errors import HpoError, StudyChanged, StudyError
from hpo.files.run_dir import RunDir
from hpo.files.writing import write_json
from hpo.storage.command import command, unsaid
from hpo.storage.database import backend_of, study_lock
from hpo.storage.environment import environment
from hpo.storage.url import shown
from hpo.study.budget import CHECKPOINT_BYTES, SIZES, UNLIMITED
from hpo.study.code_hash import differences
from hpo.study.fingerprint import changes, may_amend
from hpo.study.found import FoundStudy, Study

UNCHECKED = "off"  # a launch said that its models need not be exportable

# What a launch records of every study.
_RECORDED = {
    "definition": dict, "fingerprint": str, "code": dict, "source": str, "overrides": dict, "budget": int,
    "environment": dict,
}  # fmt: skip
_COMPARED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)


def create_or_resume(
    storage: BaseStorage, found: FoundStudy, run_dir: RunDir, *, amend: bool = False
) -> tuple[optuna.Study, bool]:
    """Record a study at its first launch, else check that it is the one recorded; sets the budget.

    Returns:
        The study, and whether it is new.

    Raises:
        StudyChanged: it was recorded with another definition, other code or more trials, and ``amend`` is not set or
            the change is not safe.
    """
    definition = found.definition
    study = optuna.create_study(
        storage=storage,
        study_name=definition.name,
        direction=definition.search_direction,
        load_if_exists=True,
        sampler=definition.explicit_sampler(),
        pruner=definition.explicit_pruner(),
    )
    # Two first launches at once both get here; one records.
    with study_lock(storage, study._study_id):
        attrs = recorded(study)
        if not attrs:
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
                study.set_metric_names([definition.metric])
            _record(study, found)
        else:
            if not study.get_trials(deepcopy=False, states=_COMPARED):
                # There is nothing to compare with: code that failed, or was never run, is mended.
                attrs = {**attrs, "code": found.code}
            check_unchanged(found, attrs, amend=amend)
            if definition.trials < attrs["budget"] < UNLIMITED and not amend:
                raise _lowered(study, definition, attrs["budget"])
            _record(study, found)
    write_json(run_dir.definition(definition.name), study.user_attrs["definition"])
    write_json(run_dir.environment(definition.name), study.user_attrs["environment"])
    return study, not attrs


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
    except (UnicodeError, AttributeError):  # a name of another type comes from Python
        raise StudyError(f"A study's name must be text, but got {name!r}. `hpo studies` lists the names.") from None
    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        known = names(storage)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"It holds: {', '.join(known) or 'none'}."
        url = backend_of(storage).engine.url
        raise StudyError(
            f"The storage {shown(url)} holds no study called {name!r}. {hint} "
            f"`{command(url, 'launch', '--study', name)}`{unsaid(url)} starts one."
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
    """The attributes of a study that hpo launched; empty if another program made it."""
    attrs = study.user_attrs
    return attrs if typed(attrs, _RECORDED).keys() == _RECORDED.keys() else {}


def is_amended(study: optuna.Study, found: FoundStudy) -> bool:
    """Whether the storage has another definition or other code of the study now; ask under the study's lock."""
    attrs = study.user_attrs
    return bool(attrs["fingerprint"] != found.definition.fingerprint or attrs["code"] != found.code)


def resumed(storage: BaseStorage, found: FoundStudy) -> FoundStudy:
    """``found`` with what earlier launches of it set, such as ``--trials``, if this one does not set it."""
    if found.name not in names(storage):
        return found
    earlier = recorded(load(storage, found.name)).get("overrides", {})
    if found.overrides.keys() & SIZES:
        earlier = {name: value for name, value in earlier.items() if name not in SIZES}
    return found.with_overrides(**{**earlier, **found.overrides})


@contextlib.contextmanager
def noticing_deletion(storage: BaseStorage, name: str) -> Iterator[None]:
    """Say that the study ``name`` was deleted instead of raising the KeyError by which Optuna says it.

    Raises:
        HpoError: it is not there any more.
    """
    try:
        yield
    except KeyError as error:
        if name in names(storage):
            raise
        raise HpoError(f"The study {name!r} was deleted while it ran.") from error


def export_check_of(study: optuna.Study) -> object:
    """The code whose models have been seen to be exportable, or UNCHECKED; anything else if it is to be seen yet."""
    return study.user_attrs.get("export_check")


def set_export_check(study: optuna.Study, passed: Mapping[str, str] | str | None) -> None:
    """Record which code has passed, UNCHECKED if none has to, or None to look again."""
    study.set_user_attr("export_check", passed)


def budget_of(study: optuna.Study) -> int:
    """The study's budget: trials in all, as the storage says now (a later launch may raise it)."""
    trials: int = study.user_attrs["budget"]
    return trials


def limits_of(study: optuna.Study) -> dict[str, float]:
    """The limits that the study's budget has now, by their names in `hpo.Budget`."""
    budget = recorded(study).get("definition", {}).get("budget", {})
    return {name: budget[name] for name in (*SIZES, "target", "patience") if budget.get(name) is not None}


def checkpoint_bytes_of(study: optuna.Study) -> int:
    """How much of each machine's disk the checkpoints of paused configurations may take."""
    budget = recorded(study).get("definition", {}).get("budget", {})
    limit: int = budget.get("checkpoint_bytes", CHECKPOINT_BYTES)
    return limit


def ended_by(study: optuna.Study) -> str | None:
    """The limit that has ended the study, or "space"; None if it goes on, or was given a larger budget since."""
    attrs = study.user_attrs
    ended = attrs.get("ended_by")
    if not isinstance(ended, dict) or not recorded(study):
        return None
    if [ended.get("fingerprint"), ended.get("limits")] != [attrs["fingerprint"], limits_of(study)]:
        return None
    limit: str | None = ended.get("by")
    return limit


def set_ended(study: optuna.Study, limit: str | None) -> None:
    """Record what has ended the study as it is now; None if it is to go on."""
    attrs = study.user_attrs
    ended = {"by": limit, "fingerprint": attrs["fingerprint"], "limits": limits_of(study)}
    study.set_user_attr("ended_by", None if limit is None else ended)


def timeout_of(study: optuna.Study) -> float | None:
    """Seconds after which a trial of the study has hung, as the storage says now; None for no limit."""
    timeout: float | None = study.user_attrs["definition"]["budget"]["trial_timeout"]
    return timeout


def delete(study: optuna.Study, run_dir: RunDir) -> None:
    """Undo the first launch of a study that cannot run; its workers' logs stay, to see why."""
    optuna.delete_study(study_name=study.study_name, storage=study._storage)
    run_dir.definition(study.study_name).unlink(missing_ok=True)
    run_dir.environment(study.study_name).unlink(missing_ok=True)


def _record(study: optuna.Study, found: FoundStudy) -> None:
    definition = found.definition
    study.set_user_attr("fingerprint", definition.fingerprint)
    study.set_user_attr("code", dict(found.code))
    study.set_user_attr("source", found.source)
    study.set_user_attr("overrides", dict(found.overrides))
    study.set_user_attr("budget", definition.trials)
    study.set_user_attr("max_retries", definition.budget.max_retries)
    study.set_user_attr("definition", definition.as_json())


def check_unchanged(found: FoundStudy, attrs: Mapping[str, Any], *, amend: bool) -> None:
    """Check that a study means what was recorded, and has the code that was.

    Args:
        attrs: what `recorded` gives.
        amend: whether a safe change is accepted.

    Raises:
        StudyChanged: the message shows the difference and the ways out.
    """
    stored, new = attrs["definition"], json.loads(json.dumps(found.definition.as_json()))
    lines = changes(stored, new) + differences(attrs["code"], found.code, found.file)
    if not lines:
        return
    difference = "; ".join(lines)
    if not may_amend(stored, new):
        raise StudyChanged(
            f"Study {found.name!r} has changed since its first launch, so that its trials cannot be compared: "
            f"{difference}. Launch it under another name with --name."
        )
    if not amend:
        raise StudyChanged(
            f"Study {found.name!r} has changed since its first launch: {difference}. "
            "Launch it under another name with --name, or accept the change by launching it with --amend."
        )


def _lowered(study: optuna.Study, definition: Study, budget: int) -> StudyChanged:
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return StudyChanged(
        f"Study {study.study_name!r} has a budget of {budget} trials, and {definition.trials} is less; "
        f"{len(running)} run now. Continue with --trials {budget}, or lower the budget for everyone who "
        "works on the study with --amend: running trials end, and no more are begun."
    )
