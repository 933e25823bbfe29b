"""The canonical form of a study, plain JSON values: its fingerprint, and what differs between two."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hpo.study.space import can_continue

# Of the budget: how much of a search is run, and how its processes are watched.
_LAUNCHING = {
    *("trials", "seconds", "total_epochs", "target", "patience"),
    *("trial_timeout", "max_retries", "checkpoint_bytes"),
}

# What an amended study may change: it alters how the search goes on, not what its past trials mean.
_SAFE_CHANGES = {"budget", "sampler", "pruner", "warm_starts", "hints"}


def fingerprint(canonical: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) of a canonical form, except for what may differ between two launches of one study."""
    return hashlib.sha256(json.dumps(_meaning(canonical), sort_keys=True).encode()).hexdigest()


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each value in which two canonical forms differ, except for what may differ between launches."""
    before, after = _leaves(_meaning(old)), _leaves(_meaning(new))
    return [
        f"{path}: {before.get(path, 'absent')} -> {after.get(path, 'absent')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def may_amend(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the trials of ``old`` stay comparable with those of ``new``, both canonical forms."""
    before, after = _meaning(old), _meaning(new)
    decisive = (before.keys() | after.keys()) - _SAFE_CHANGES - {"space"}
    return all(before.get(key) == after.get(key) for key in decisive) and can_continue(
        old.get("space", {}), new.get("space", {})
    )


def _meaning(canonical: Mapping[str, Any]) -> dict[str, Any]:
    """A canonical form without what may differ between two launches: texts for people, figures, trials in all."""
    meaning = {key: value for key, value in canonical.items() if key not in ("description", "remarks")}
    settings = enumerate(canonical.get("settings", ()))
    # By number, so that a difference shows the one setting and not all of them.
    meaning["settings"] = {str(index): setting["params"] for index, setting in settings}
    meaning["budget"] = {key: value for key, value in canonical["budget"].items() if key not in _LAUNCHING}
    return meaning


def _leaves(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, Mapping):
        return {k: v for key, item in value.items() for k, v in _leaves(item, f"{path}.{key}".lstrip(".")).items()}
    return {path: json.dumps(value)}
