"""Claiming trials: exactly as many as the budget has, each by one worker, whoever joins, dies or comes back."""

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import StudyAmended, StudyError
from hpo.search.sampling import begin, draws_in_turn, has_untried, kept, reseed, shared
from hpo.storage.database import retry_of, study_lock
from hpo.storage.leases import HeartbeatMonitor, give_back, give_back_lost
from hpo.storage.records import (
    ClaimRecord,
    Configuration,
    claim_of,
    configuration_of,
    result_of,
    token_of,
    was_given_back,
)
from hpo.storage.stored_study import budget_of, is_amended
from hpo.storage.trial_rows import take_waiting
from hpo.study.code_hash import digest
from hpo.study.found import FoundStudy
from hpo.study.seeds import derive_seed
from hpo.study.space import Params


@dataclass(frozen=True)
class Claim:
    """One trial that this process, and no other, runs.

    Args:
        trial: Optuna's trial; asking it for a value samples or gives what is fixed.
        configuration: what it runs.
    """

    trial: optuna.Trial
    configuration: Configuration

    @property
    def number(self) -> int:
        """The number of the trial within the study."""
        return self.trial.number

    @property
    def seed(self) -> int:
        """Of this trial's weights and batches; a configuration that runs again keeps it."""
        return self.configuration.seed


@dataclass(frozen=True)
class Wait:
    """Nothing to claim now, but a trial that runs elsewhere may yet come back."""


class Claims:
    """Claims the trials of one study for one worker.

    Args:
        token: of this process alone: the number in its name may come again, on another machine of the same name at
            once; None makes one.
    """

    def __init__(
        self, study: optuna.Study, found: FoundStudy, worker: str, device: str, token: str | None = None
    ) -> None:
        definition = found.definition
        self._study = shared(study, definition.sampler, definition.explicit_pruner(), definition.seed)
        self._found = found
        self._definition = definition
        self._worker = worker
        self._device = device
        self._monitor = HeartbeatMonitor()
        self._token = token or uuid.uuid4().hex

    def next(self) -> Claim | Wait | None:
        """Claim a trial; ``Wait`` while others run the rest of the study, None when all of it has ended.

        Raises:
            StudyError: the sampler fails.
            StudyAmended: another launch amended the study.
        """
        return retry_of(self._study._storage)(self._next)

    def _next(self) -> Claim | Wait | None:
        storage, study_id = self._study._storage, self._study._study_id
        with study_lock(storage, study_id):
            if is_amended(self._study, self._found):
                raise StudyAmended(
                    f"Study {self._study.study_name!r} was amended by another launch: this worker ends. "
                    "Start it again if the code here is the amended one."
                )
            trials = self._give_back_lost(self._study.get_trials(deepcopy=False))
            counted = [trial for trial in trials if _counts(trial)]
            taken = self._take(trials) if len(counted) < budget_of(self._study) else None
            if taken is None:
                return Wait() if any(trial.state == TrialState.RUNNING for trial in counted) else None
            if draws_in_turn(self._definition.sampler):
                return self._drawn(*taken)
        # Out of the lock: sampling takes milliseconds, and only this trial's seed decides it.
        return self._begun(*taken)

    def _drawn(self, trial_id: int, configuration: Configuration) -> Claim:
        """A claim whose parameters are all there, so that no other process draws the same."""
        begun = self._begun(trial_id, configuration)
        # If a draw fails, it fails once more when the trial asks for it, which is then a result.
        with contextlib.suppress(Exception):
            self._definition.space_of(begun.configuration.origin).suggest(begun.trial)
        return begun

    def _begun(self, trial_id: int, configuration: Configuration) -> Claim:
        """The claim of a trial that has been made."""
        reseed(self._study.sampler, derive_seed(self._definition.seed, "sampler", configuration.number))
        try:
            return Claim(begin(self._study, trial_id), configuration)
        except StudyError:
            give_back(self._study, trial_id, "interrupted")
            raise

    def _give_back_lost(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Give back what has lost its worker; the trials as they are then."""
        lost = give_back_lost(self._study, self._monitor)
        for trial in trials:
            # A claim of ours whose answer was lost with the connection: we are not running it.
            if trial.state == TrialState.RUNNING and token_of(trial) == self._token:
                give_back(self._study, trial._trial_id, "interrupted")
                lost = True
        return self._study.get_trials(deepcopy=False) if lost else trials

    def _take(self, trials: list[FrozenTrial]) -> tuple[int, Configuration] | None:
        """Make a trial that runs, or take one that waits; its id and its configuration; None if nothing is left."""
        storage = self._study._storage
        # Somebody enqueued these with Optuna or in the dashboard.
        for trial in trials if self._definition.is_sampled else ():
            if trial.state == TrialState.WAITING:
                configuration = self._new_configuration(trials)
                if take_waiting(storage, trial._trial_id, self._signed(configuration).as_attributes()):
                    return trial._trial_id, configuration
        chosen = self._choose(trials)
        if chosen is None:
            return None
        configuration, system_attrs = chosen
        # With its claim and its first beat in the same transaction: it never looks like another program's trial.
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            user_attrs=self._signed(configuration).as_attributes(),
            system_attrs=system_attrs,
        )
        return storage.create_new_trial(self._study._study_id, template_trial=template), configuration

    def _choose(self, trials: list[FrozenTrial]) -> tuple[Configuration, dict[str, Any]] | None:
        """What to run next: what was lost, what is planned, then anything that the sampler has not tried.

        Returns:
            The configuration and the trial's system attributes, or None if nothing is left.
        """
        for trial, lost in _lost_configurations(trials):
            died = result_of(trial).stop_reason == "lost_worker"
            fixed = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            again = dataclasses.replace(lost, attempt=lost.attempt + 1, deaths=lost.deaths + died)
            return again, {**kept(trial), **_fixed(fixed)}
        configuration = self._new_configuration(trials)
        started = [known.origin for known in map(configuration_of, trials) if known]
        for planned in self._definition.plan():
            if planned.origin not in started:
                return dataclasses.replace(configuration, origin=planned.origin), _fixed(planned.params)
        definition = self._definition
        is_sampled = definition.is_sampled and not self._study.is_stopped
        if is_sampled and has_untried(definition.sampler, definition.search_space, trials):
            return configuration, {}
        return None

    def _new_configuration(self, trials: Iterable[FrozenTrial]) -> Configuration:
        """A configuration that is claimed first.

        Numbered by ours alone: the trials of other programs, which take no lock, must not shift a seed.
        """
        number = max((known.number for known in map(configuration_of, trials) if known), default=-1) + 1
        return Configuration(number, uuid.uuid4().hex, derive_seed(self._definition.seed, "trial", number))

    def _signed(self, configuration: Configuration) -> ClaimRecord:
        code = digest(self._found.code)
        return ClaimRecord(configuration, self._worker, self._device, self._token, code, time.time())


def _fixed(params: Params) -> dict[str, Any]:
    """The system attribute by which Optuna gives a trial parameters instead of drawing them."""
    return {"fixed_params": params} if params else {}


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial takes one of the budget; what another program asked for does so when it has ended."""
    is_taken = trial.state.is_finished() or (trial.state == TrialState.RUNNING and claim_of(trial) is not None)
    return is_taken and not was_given_back(trial)


def _lost_configurations(trials: Iterable[FrozenTrial]) -> Iterator[tuple[FrozenTrial, Configuration]]:
    """The last trials of those configurations that nobody runs and that have no result, each with its configuration."""
    attempts: dict[int, list[tuple[FrozenTrial, Configuration]]] = {}
    for trial in trials:
        if known := configuration_of(trial):
            attempts.setdefault(known.number, []).append((trial, known))
    # All of them: a claim whose answer was lost may have been made twice, and one of the two given back.
    return (tried[-1] for tried in attempts.values() if all(was_given_back(trial) for trial, _known in tried))
