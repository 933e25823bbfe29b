"""The canonical form of a study, plain JSON values: its fingerprint, and what differs between two."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hpo.space import can_continue

# What an amended study may change: it alters how the search goes on, not what its past trials mean.
_SAFE_CHANGES = {"description", "budget", "sampler", "pruner", "warm_starts"}


def fingerprint(canonical: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) of a canonical form, less what two launches of one study may differ in."""
    meaning = {key: value for key, value in canonical.items() if key != "description"}
    meaning["budget"] = {key: value for key, value in canonical["budget"].items() if key != "trials"}
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each value in which two canonical forms differ, trials and description left out."""
    lines = []
    for path in sorted(_leaves(old).keys() | _leaves(new).keys()):
        before, after = _leaves(old).get(path), _leaves(new).get(path)
        if before != after and path not in ("budget.trials", "description"):
            lines.append(
                f"{path}: {before if before is not None else 'absent'} -> {after if after is not None else 'absent'}"
            )
    return lines


def may_amend(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the trials of ``old`` stay comparable with those of ``new``, both canonical forms."""

    same = all(old.get(key) == new.get(key) for key in old.keys() | new.keys() if key not in _SAFE_CHANGES | {"space"})
    return same and can_continue(old["space"], new["space"])


def _leaves(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        return {k: v for key, item in value.items() for k, v in _leaves(item, f"{path}.{key}".lstrip(".")).items()}
    return {path: json.dumps(value)}
