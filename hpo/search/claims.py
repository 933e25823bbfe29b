"""Claiming trials: exactly as many as the budget has, each by one worker, whoever joins, dies or comes back."""

import contextlib
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import StudyAmended, StudyError
from hpo.search.sampling import begin, draws_in_turn, has_untried, kept, reseed, shared
from hpo.storage.database import patience_of, study_lock
from hpo.storage.leases import Watch, claim_of, give_back, give_back_lost, was_given_back
from hpo.storage.stored_study import budget_of, is_amended
from hpo.storage.trial_rows import take_waiting
from hpo.study.found import FoundStudy
from hpo.study.seeds import derive_seed
from hpo.study.source_code import digest
from hpo.study.space import Params


@dataclass(frozen=True)
class Claim:
    """One trial that this process, and no other, runs.

    Args:
        trial: Optuna's trial; asking it for a value samples or gives what is fixed.
        seed: of this trial's weights and batches; a configuration that runs again keeps it.
        attempt: 1, or more where the configuration was lost with a worker before.
        configuration: counts from 0 within the study; attempts of one configuration share it.
        uuid: of the configuration: a study of the same name, made after this one was deleted, has others.
        origin: which of the study's planned trials it is, as in `hpo.study.settings.Planned`; empty if none.
    """

    trial: optuna.Trial
    seed: int
    attempt: int
    configuration: int
    uuid: str
    origin: Mapping[str, int]

    @property
    def number(self) -> int:
        return self.trial.number


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
        self._watch = Watch()
        self._token = token or uuid.uuid4().hex

    def next(self) -> Claim | Wait | None:
        """Claim a trial; ``Wait`` while others run the rest of the study, None when all of it has ended.

        Raises:
            StudyError: the sampler fails.
            StudyAmended: another launch amended the study.
        """
        return patience_of(self._study._storage)(self._next)

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

    def _drawn(self, trial_id: int, claim: dict[str, Any]) -> Claim:
        """A claim whose parameters are all there, so that no other process draws the same."""
        begun = self._begun(trial_id, claim)
        # If a draw fails, it fails once more when the trial asks for it, which is then a result.
        with contextlib.suppress(Exception):
            self._definition.space_of(begun.origin).suggest(begun.trial)
        return begun

    def _begun(self, trial_id: int, claim: dict[str, Any]) -> Claim:
        """The claim of a trial that has been made."""
        reseed(self._study.sampler, derive_seed(self._definition.seed, "sampler", claim["configuration"]))
        try:
            trial = begin(self._study, trial_id)
        except StudyError:
            give_back(self._study, trial_id, "interrupted")
            raise
        return Claim(
            trial=trial,
            seed=claim["seed"],
            attempt=claim["attempt"],
            configuration=claim["configuration"],
            uuid=claim["uuid"],
            origin=_origin(claim),
        )

    def _give_back_lost(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Give back what has lost its worker; the trials as they are then."""
        lost = give_back_lost(self._study, self._watch)
        for trial in trials:
            # A claim of ours whose answer was lost with the connection: we are not running it.
            if trial.state == TrialState.RUNNING and claim_of(trial).get("token") == self._token:
                give_back(self._study, trial._trial_id, "interrupted")
                lost = True
        return self._study.get_trials(deepcopy=False) if lost else trials

    def _take(self, trials: list[FrozenTrial]) -> tuple[int, dict[str, Any]] | None:
        """Make a trial that runs, or take one that waits; its id and its claim, or None if nothing is left to run."""
        storage = self._study._storage
        # Somebody enqueued these with Optuna or in the dashboard.
        for trial in trials if self._definition.is_sampled else ():
            if trial.state == TrialState.WAITING:
                claim = self._signed(self._new_configuration(map(claim_of, trials)))
                if take_waiting(storage, trial._trial_id, {"claim": claim}):
                    return trial._trial_id, claim
        chosen = self._choose(trials)
        if chosen is None:
            return None
        configuration, system_attrs = chosen
        claim = self._signed(configuration)
        # With its claim and its first beat in the same transaction: it never looks like another program's trial.
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING, user_attrs={"claim": claim}, system_attrs=system_attrs
        )
        return storage.create_new_trial(self._study._study_id, template_trial=template), claim

    def _choose(self, trials: list[FrozenTrial]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What to run next: what was lost, what is planned, then anything that the sampler has not tried.

        Returns:
            The configuration's record and the trial's system attributes, or None if nothing is left.
        """
        ours = [(trial, claim) for trial in trials if (claim := claim_of(trial))]
        for trial, claim in _lost_configurations(ours):
            died = trial.user_attrs.get("stop_reason") == "lost_worker"
            fixed = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            again = {**claim, "attempt": claim["attempt"] + 1, "deaths": claim["deaths"] + died}
            return again, {**kept(trial), **_fixed(fixed)}
        claims = [claim for _trial, claim in ours]
        configuration = self._new_configuration(claims)
        started = [_origin(claim) for claim in claims]
        for planned in self._definition.plan():
            if planned.origin not in started:
                return {**configuration, **planned.origin}, _fixed(planned.params)
        definition = self._definition
        is_sampled = definition.is_sampled and not self._study.is_stopped
        if is_sampled and has_untried(definition.sampler, definition.search_space, trials):
            return configuration, {}
        return None

    def _new_configuration(self, claims: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """The record of a configuration that is claimed first, by which later attempts refer to it.

        Numbered by ours alone: the trials of other programs, which take no lock, must not shift a seed.
        """
        number = max((claim["configuration"] for claim in claims if claim), default=-1) + 1
        seed = derive_seed(self._definition.seed, "trial", number)
        return {"configuration": number, "uuid": uuid.uuid4().hex, "seed": seed, "attempt": 1, "deaths": 0}

    def _signed(self, configuration: dict[str, Any]) -> dict[str, Any]:
        return {
            **configuration,
            "worker": self._worker,
            "device": self._device,
            "token": self._token,
            "code": digest(self._found.code),
            "started": time.time(),
        }


def _origin(claim: dict[str, Any]) -> dict[str, int]:
    """Which of the study's planned trials a claim is of; empty where it is of none."""
    return {name: claim[name] for name in ("warm_start", "setting", "repeat") if name in claim}


def _fixed(params: Params) -> dict[str, Any]:
    """The system attribute by which Optuna gives a trial parameters instead of drawing them."""
    return {"fixed_params": params} if params else {}


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial takes one of the budget; what another program asked for does so when it has ended."""
    is_taken = trial.state.is_finished() or (trial.state == TrialState.RUNNING and bool(claim_of(trial)))
    return is_taken and not was_given_back(trial)


def _lost_configurations(
    claimed: Iterable[tuple[FrozenTrial, dict[str, Any]]],
) -> Iterator[tuple[FrozenTrial, dict[str, Any]]]:
    """The last trials of those configurations that nobody runs and that have no result, each with its claim."""
    attempts: dict[int, list[tuple[FrozenTrial, dict[str, Any]]]] = {}
    for trial, claim in claimed:
        attempts.setdefault(claim["configuration"], []).append((trial, claim))
    # All of them: a claim whose answer was lost may have been made twice, and one of the two given back.
    return (tried[-1] for tried in attempts.values() if all(was_given_back(trial) for trial, _claim in tried))
