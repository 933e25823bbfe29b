"""Claiming trials: exactly as many as the budget has, each by one worker, whoever joins, dies or comes back."""

import contextlib
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import StudyAmended, StudyError
from hpo.search.curves import Attempt, Configurations, Curves
from hpo.search.freeze_thaw import Begin, Continue, FreezeThaw
from hpo.search.limits import Spent, spent_of
from hpo.search.proposals import key_of
from hpo.search.pruning import Judge, StopReason, judged_by_pruner
from hpo.search.sampling import begin, draws_in_turn, has_untried, kept, reseed, shared
from hpo.storage.database import retry_of, study_lock
from hpo.storage.leases import HeartbeatMonitor, give_back, give_back_lost
from hpo.storage.records import ClaimRecord, Configuration, result_of, token_of
from hpo.storage.stored_study import budget_of, is_amended, limits_of, set_ended
from hpo.storage.trial_rows import take_waiting
from hpo.study.code_hash import digest
from hpo.study.found import FoundStudy
from hpo.study.search import Search
from hpo.study.seeds import derive_seed
from hpo.study.space import Params
from hpo.study.task import Train


@dataclass(frozen=True)
class Claim:
    """One trial that this process, and no other, runs.

    Args:
        trial: Optuna's trial; asking it for a value samples or gives what is fixed.
        configuration: what it runs.
        judge: asked after each epoch that has been reported, by its number; why the trial is to end, None if it is not.
    """

    trial: optuna.Trial
    configuration: Configuration
    judge: Judge = lambda epoch: None

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
        is_kept: whether a paused configuration can be continued here from its last epoch.
    """

    def __init__(
        self,
        study: optuna.Study,
        found: FoundStudy,
        worker: str,
        device: str,
        token: str | None = None,
        is_kept: Callable[[Configuration], bool] = lambda configuration: True,
    ) -> None:
        definition = found.definition
        self._study = shared(study, definition.explicit_sampler(), definition.explicit_pruner(), definition.seed)
        self._curves = Curves(definition, is_kept)
        self._search = None
        if isinstance(definition, Search) and definition.is_freeze_thaw:
            self._search = FreezeThaw(
                definition.search_space, self._curves.max_epochs, seed=definition.seed, hints=definition.hints
            )
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
        decision: Begin | Continue | None = None
        while True:
            with study_lock(storage, study_id):
                if is_amended(self._study, self._found):
                    raise StudyAmended(
                        f"Study {self._study.study_name!r} was amended by another launch: this worker ends. "
                        "Start it again if the code here is the amended one."
                    )
                trials = self._give_back_lost(self._study.get_trials(deepcopy=False))
                configurations = self._curves.configurations(trials)
                spent = self._spent(trials, configurations)
                taken = None if spent.reached else self._take(trials, configurations, may_begin=spent.may_begin)
                if taken is None and decision is not None and not spent.reached:
                    taken = self._carry_out(decision, configurations, may_begin=spent.may_begin)
                if taken is not None and draws_in_turn(self._study.sampler):
                    return self._drawn(*taken, seconds_left=spent.seconds_left)
            # Out of the lock: sampling and deciding take milliseconds.
            if taken is not None:
                return self._begun(*taken, seconds_left=spent.seconds_left)
            decision = None if spent.reached else self._decide(configurations, spent)
            if decision is None:
                if any(attempts[-1].state == "running" for attempts in configurations.values()):
                    return Wait()
                set_ended(self._study, spent.reached or ("space" if spent.may_begin else "trials"))
                return None

    def _decide(
        self, configurations: Configurations, spent: Spent, looked_at: int | None = None
    ) -> Begin | Continue | None:
        """What the freeze-thaw search runs next; None if Optuna's sampler decides, or nothing is worth running.

        Args:
            looked_at: the number of a configuration that runs, and might be paused.
        """
        if self._search is None:
            return None
        curves = self._curves.of(configurations)
        paused = [replace(curve, state="paused") if curve.number == looked_at else curve for curve in curves]
        return self._search.next(paused, spent=spent.part, may_begin=spent.may_begin)

    def _carry_out(
        self, decision: Begin | Continue, configurations: Configurations, *, may_begin: bool
    ) -> tuple[int, Configuration] | None:
        """Make the trial that was decided on; None if others have changed what the decision was made by."""
        if isinstance(decision, Continue):
            last = configurations[decision.number][-1]
            return self._again(last) if last.state == "paused" else None
        known = {key_of(attempts[-1].params) for attempts in configurations.values()}
        if not may_begin or key_of(decision.params) in known:
            return None
        return self._create(self._new_configuration(configurations), _fixed(decision.params))

    def _drawn(self, trial_id: int, configuration: Configuration, seconds_left: float | None) -> Claim:
        """A claim whose parameters are all there, so that no other process draws the same."""
        begun = self._begun(trial_id, configuration, seconds_left)
        # If a draw fails, it fails once more when the trial asks for it, which is then a result.
        with contextlib.suppress(Exception):
            self._definition.space_of(begun.configuration.origin).suggest(begun.trial)
        return begun

    def _begun(self, trial_id: int, configuration: Configuration, seconds_left: float | None = None) -> Claim:
        """The claim of a trial that has been made."""
        reseed(self._study.sampler, derive_seed(self._definition.seed, "sampler", configuration.number))
        try:
            trial = begin(self._study, trial_id)
        except StudyError:
            give_back(self._study, trial_id, "interrupted")
            raise
        return Claim(trial, configuration, self._judge(trial, configuration, seconds_left))

    def _give_back_lost(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Give back what has lost its worker; the trials as they are then."""
        lost = give_back_lost(self._study, self._monitor)
        for trial in trials:
            # A claim of ours whose answer was lost with the connection: we are not running it.
            if trial.state == TrialState.RUNNING and token_of(trial) == self._token:
                give_back(self._study, trial._trial_id, "interrupted")
                lost = True
        return self._study.get_trials(deepcopy=False) if lost else trials

    def _take(
        self, trials: list[FrozenTrial], configurations: Configurations, *, may_begin: bool
    ) -> tuple[int, Configuration] | None:
        """Make a trial that runs, or take one that waits; its id and its configuration; None if nothing is left.

        In this order: what somebody enqueued, what was lost, what is planned, what Optuna's sampler has not tried.
        """
        definition = self._definition
        # Somebody enqueued these with Optuna or in the dashboard.
        for trial in trials if definition.is_sampled and may_begin else ():
            if trial.state == TrialState.WAITING:
                configuration = self._new_configuration(configurations)
                signed = self._signed(configuration).as_attributes()
                if take_waiting(self._study._storage, trial._trial_id, signed):
                    return trial._trial_id, configuration
        for attempts in configurations.values():
            # All of them: a claim whose answer was lost may have been made twice, and one of the two given back.
            was_lost = attempts[-1].state == "lost" and all(each.state in ("lost", "paused") for each in attempts)
            # Only the end of the study's time pauses a trial of one that Optuna's sampler and pruner search.
            was_lost = was_lost or (attempts[-1].state == "paused" and self._search is None)
            if was_lost and (may_begin or any(each.state == "paused" for each in attempts)):
                return self._again(attempts[-1])
        if not may_begin:
            return None
        configuration = self._new_configuration(configurations)
        started = [attempts[-1].configuration.origin for attempts in configurations.values()]
        for planned in definition.plan():
            if planned.origin not in started:
                return self._create(replace(configuration, origin=planned.origin), _fixed(planned.params))
        is_drawn = definition.is_sampled and not definition.is_freeze_thaw and not self._study.is_stopped
        if is_drawn and has_untried(self._study.sampler, definition.search_space, trials):
            return self._create(configuration, {})
        return None

    def _again(self, last: Attempt) -> tuple[int, Configuration]:
        """Make the next attempt of a configuration, with the parameters that it had."""
        died = result_of(last.trial).stop_reason == "lost_worker"
        before = last.configuration
        configuration = replace(before, attempt=before.attempt + 1, deaths=before.deaths + died)
        return self._create(configuration, {**kept(last.trial), **_fixed(last.params)})

    def _create(self, configuration: Configuration, system_attrs: dict[str, Any]) -> tuple[int, Configuration]:
        """Make a trial that runs; its id and its configuration."""
        # With its claim and its first beat in the same transaction: it never looks like another program's trial.
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            user_attrs=self._signed(configuration).as_attributes(),
            system_attrs=system_attrs,
        )
        trial_id = self._study._storage.create_new_trial(self._study._study_id, template_trial=template)
        return trial_id, configuration

    def _new_configuration(self, configurations: Configurations) -> Configuration:
        """A configuration that is claimed first.

        Numbered by ours alone: the trials of other programs, which take no lock, must not shift a seed.
        """
        number = max(configurations, default=-1) + 1
        return Configuration(number, uuid.uuid4().hex, derive_seed(self._definition.seed, "trial", number))

    def _judge(self, trial: optuna.Trial, configuration: Configuration, seconds_left: float | None) -> Judge:
        """What is asked after each epoch of a trial whether it is to end."""
        trains = isinstance(self._definition.task, Train)  # a function has no checkpoints to go on from
        if trains and self._search is not None:
            look = self._look(self._search, configuration.number)
        else:
            look = judged_by_pruner(trial, is_planned=bool(configuration.origin))
        deadline = math.inf if seconds_left is None else time.monotonic() + seconds_left

        def judge(epoch: int) -> StopReason | None:
            if trains and time.monotonic() >= deadline:
                return "paused"
            return look(epoch)

        return judge

    def _look(self, search: FreezeThaw, number: int) -> Judge:
        """Pauses a configuration, at an epoch at which it is looked at, unless it is the one to continue."""
        curve = self._curves.of({number: self._now()[0][number]})[0]
        until = search.pause_after(len(curve.values), curve.epochs)

        def judge(epoch: int) -> StopReason | None:
            nonlocal until
            if epoch < until or epoch >= curve.epochs:
                return None
            configurations, spent = self._now()
            if spent.reached or self._decide(configurations, spent, looked_at=number) != Continue(number):
                return "paused"
            until = search.pause_after(epoch, curve.epochs)
            return None

        return judge

    def _now(self) -> tuple[Configurations, Spent]:
        """All configurations, and what they have spent of the budget."""
        trials = self._study.at_this_moment().get_trials(deepcopy=False)
        configurations = self._curves.configurations(trials)
        return configurations, self._spent(trials, configurations)

    def _spent(self, trials: list[FrozenTrial], configurations: Configurations) -> Spent:
        budget = {**limits_of(self._study), "trials": budget_of(self._study)}
        return spent_of(trials, configurations, budget, sign=self._curves.sign)

    def _signed(self, configuration: Configuration) -> ClaimRecord:
        code = digest(self._found.code)
        return ClaimRecord(configuration, self._worker, self._device, self._token, code, time.time())


def _fixed(params: Params) -> dict[str, Any]:
    """The system attribute by which Optuna gives a trial parameters instead of drawing them."""
    return {"fixed_params": params} if params else {}
