"""Trials that fail one after another, which ends a launch; and what they have in common."""

from collections.abc import Iterator, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import TooManyFailures
from hpo.storage.records import result_of, was_given_back
from hpo.text import value_text


def ended(study: optuna.Study) -> set[int]:
    """The numbers of the trials that have ended."""
    return {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}


def stop_at_failures(study: optuna.Study, earlier: set[int], most: int) -> None:
    """Raise if the last ``most`` of the trials that have ended, those in ``earlier`` left out, all failed.

    Last by their numbers, which are in the order in which they began: clocks differ between machines, and jump.

    Raises:
        TooManyFailures: they did; the message has their reasons, what they have in common, and the latest.
    """
    trials = study.get_trials(deepcopy=False)
    results = [trial for trial in trials if trial.state.is_finished() and not was_given_back(trial)]
    last = [trial for trial in results if trial.number not in earlier][-most:]
    if len(last) < most or any(trial.state != TrialState.FAIL for trial in last):
        return
    reasons = {result_of(trial).stop_reason or "error" for trial in last}
    common = ", ".join(in_common(last, [trial for trial in results if trial.state != TrialState.FAIL]))
    raise TooManyFailures(
        f"The last {'trial' if most == 1 else f'{most} trials'} of {study.study_name!r} failed "
        f"({', '.join(sorted(reasons))}), the latest with: {result_of(last[-1]).failure or 'no message'}. "
        + (f"All of them have {common}, which no other trial has. " if common and most > 1 else "")
        + "Fix the study and launch it again."
    )


def in_common(failed: Sequence[FrozenTrial], others: Sequence[FrozenTrial]) -> Iterator[str]:
    """What all of ``failed`` have and none of ``others``: a value, or a range of numbers; as "name=value"."""
    for name in failed[0].params:
        if not others or not all(name in trial.params for trial in failed):
            continue
        values = [trial.params[name] for trial in failed]
        elsewhere = [trial.params[name] for trial in others if name in trial.params]
        if len(set(values)) == 1:
            if values[0] not in elsewhere:
                yield f"{name}={value_text(values[0])}"
        elif all(isinstance(value, int | float) for value in [*values, *elsewhere]):
            low, high = min(values), max(values)
            if elsewhere and (max(elsewhere) < low or min(elsewhere) > high):
                yield f"{name} from {value_text(low)} to {value_text(high)}"
