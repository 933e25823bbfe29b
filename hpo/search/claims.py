"""Claiming trials: exactly as many as the budget has, each by one worker, whoever joins, dies or comes back."""

import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import TrialState

from hpo.errors import StudyAmended, StudyError
from hpo.search.freeze_thaw import Begin, Continue, FreezeThaw
from hpo.search.history import History
from hpo.search.limits import Spent, spent_of
from hpo.search.proposals import key_of
from hpo.search.pruning import Judge, judged_by_clock, judged_by_pruner, judged_by_search
from hpo.search.sampling import begin, draws_in_turn, has_untried, kept, reseed, shared
from hpo.storage.database import retry_of, study_lock
from hpo.storage.leases import HeartbeatMonitor, give_back, give_back_lost
from hpo.storage.records import ClaimRecord, Configuration, attributes_of_others, result_of, token_of
from hpo.storage.stored_study import budget_of, is_amended, limits_of, set_ended
from hpo.storage.trial_rows import take_waiting, trials_by_number
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
        self._history = History(self._study, definition, is_kept)
        self._search = None
        if isinstance(definition, Search) and definition.is_freeze_thaw:
            self._search = FreezeThaw(
                definition.search_space, self._history.max_epochs, seed=definition.seed, hints=definition.hints
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
        decision: Begin | Continue | None = None
        while True:
            with study_lock(self._study._storage, self._study._study_id):
                if is_amended(self._study, self._found):
                    raise StudyAmended(
                        f"Study {self._study.study_name!r} was amended by another launch: this worker ends. "
                        "Start it again if the code here is the amended one."
                    )
                self._give_back_lost()
                spent = self._spent()
                taken = None if spent.reached else self._take(may_begin=spent.may_begin)
                if taken is None and decision is not None and not spent.reached:
                    taken = self._carry_out(decision, may_begin=spent.may_begin)
                if taken is not None and draws_in_turn(self._study.sampler):
                    return self._drawn(*taken, seconds_left=spent.seconds_left)
            # Out of the lock: sampling and deciding take milliseconds.
            if taken is not None:
                return self._begun(*taken, seconds_left=spent.seconds_left)
            decision = None if spent.reached else self._decide(spent)
            if decision is None:
                if self._history.in_state("running"):
                    return Wait()
                set_ended(self._study, spent.reached or ("space" if spent.may_begin else "trials"))
                return None

    def _spent(self) -> Spent:
        """What has been spent of the budget, as it is now."""
        self._history.update()
        return spent_of(self._history, {**limits_of(self._study), "trials": budget_of(self._study)})

    def _decide(self, spent: Spent, looked_at: int | None = None) -> Begin | Continue | None:
        """What the freeze-thaw search runs next; None if Optuna's sampler decides, or nothing is worth running.

        Args:
            looked_at: the number of a configuration that runs, and might be paused.
        """
        if self._search is None:
            return None
        curves = [
            replace(curve, state="paused") if curve.number == looked_at else curve for curve in self._history.curves()
        ]
        return self._search.next(curves, spent=spent.part, may_begin=spent.may_begin)

    def _carry_out(self, decision: Begin | Continue, *, may_begin: bool) -> tuple[int, Configuration] | None:
        """Make the trial that was decided on; None if others have changed what the decision was made by."""
        if isinstance(decision, Continue):
            is_paused = self._history.curve(decision.number).state == "paused"
            return self._again(decision.number) if is_paused else None
        if not may_begin or key_of(decision.params) in self._history.known:
            return None
        return self._create(self._new_configuration(), _fixed(decision.params), {})

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

    def _give_back_lost(self) -> None:
        """Give back what has lost its worker."""
        self._history.update()
        give_back_lost(self._study, self._monitor)
        for trial in self._history.open.values():
            # A claim of ours whose answer was lost with the connection: we are not running it.
            if trial.state == TrialState.RUNNING and token_of(trial) == self._token:
                give_back(self._study, trial._trial_id, "interrupted")

    def _take(self, *, may_begin: bool) -> tuple[int, Configuration] | None:
        """Make a trial that runs, or take one that waits; its id and its configuration; None if nothing is left.

        In this order: what somebody enqueued, what was lost, what is planned, what Optuna's sampler has not tried.
        """
        definition, history = self._definition, self._history
        # Somebody enqueued these with Optuna or in the dashboard.
        for trial in history.open.values() if definition.is_sampled and may_begin else ():
            if trial.state == TrialState.WAITING:
                configuration = self._new_configuration()
                signed = self._signed(configuration).as_attributes()
                if take_waiting(self._study._storage, trial._trial_id, signed):
                    return trial._trial_id, configuration
        # Only the end of the study's time pauses a trial of one that Optuna's sampler and pruner search.
        paused = history.in_state("paused") if self._search is None else []
        for number in sorted([*history.in_state("lost"), *paused]):
            if may_begin or any(each.state == "paused" for each in history.attempts[number]):
                return self._again(number)
        if not may_begin:
            return None
        for planned in definition.plan():
            if planned.origin not in history.origins:
                configuration = replace(self._new_configuration(), origin=planned.origin)
                return self._create(configuration, _fixed(planned.params), {})
        is_drawn = definition.is_sampled and not definition.is_freeze_thaw and not self._study.is_stopped
        trials = trials_by_number(self._study).values()
        if is_drawn and has_untried(self._study.sampler, definition.search_space, trials):
            return self._create(self._new_configuration(), {}, {})
        return None

    def _again(self, number: int) -> tuple[int, Configuration]:
        """Make the next attempt of a configuration, with the parameters that it had."""
        last = self._history.attempts[number][-1]
        died = result_of(last.trial).stop_reason == "lost_worker"
        before = last.configuration
        configuration = replace(before, attempt=before.attempt + 1, deaths=before.deaths + died)
        system_attrs = {**kept(last.trial), **_fixed(last.params)}
        return self._create(configuration, system_attrs, attributes_of_others(last.trial))

    def _create(
        self, configuration: Configuration, system_attrs: dict[str, Any], user_attrs: dict[str, Any]
    ) -> tuple[int, Configuration]:
        """Make a trial that runs; its id and its configuration."""
        # With its claim and its first beat in the same transaction: it never looks like another program's trial.
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            user_attrs={**user_attrs, **self._signed(configuration).as_attributes()},
            system_attrs=system_attrs,
        )
        trial_id = self._study._storage.create_new_trial(self._study._study_id, template_trial=template)
        return trial_id, configuration

    def _new_configuration(self) -> Configuration:
        """A configuration that is claimed first."""
        number = self._history.next_number
        return Configuration(number, uuid.uuid4().hex, derive_seed(self._definition.seed, "trial", number))

    def _judge(self, trial: optuna.Trial, configuration: Configuration, seconds_left: float | None) -> Judge:
        """What is asked after each epoch of a trial whether it is to end."""
        if not isinstance(self._definition.task, Train):  # a function has no checkpoints to go on from
            return judged_by_pruner(trial, is_planned=bool(configuration.origin))
        number = configuration.number

        def is_to_go_on() -> bool:
            spent = self._spent()
            return not spent.reached and self._decide(spent, looked_at=number) == Continue(number)

        if self._search is None:
            judge = judged_by_pruner(trial, is_planned=bool(configuration.origin))
        else:
            self._history.update()
            judge = judged_by_search(
                self._search, self._history.curve(number), is_to_go_on, limits_of(self._study).get("seconds")
            )
        return judge if seconds_left is None else judged_by_clock(seconds_left, judge)

    def _signed(self, configuration: Configuration) -> ClaimRecord:
        code = digest(self._found.code)
        return ClaimRecord(configuration, self._worker, self._device, self._token, code, time.time())


def _fixed(params: Params) -> dict[str, Any]:
    """The system attribute by which Optuna gives a trial parameters instead of drawing them."""
    return {"fixed_params": params} if params else {}
