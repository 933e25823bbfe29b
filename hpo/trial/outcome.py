"""How a trial ended."""

from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended and what is recorded of it."""

    state: TrialState
    value: float | None
    stop_reason: str
    records: dict[str, Any] = field(default_factory=dict)
