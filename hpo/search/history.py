"""What the trials of a study come to, kept up to date: a trial that has ended is read once."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import get_args

import optuna
from optuna.trial import FrozenTrial

from hpo.search.attempts import Attempt, State, attempt_of
from hpo.search.curve import Curve
from hpo.search.proposals import Key, key_of
from hpo.storage.records import Configuration
from hpo.storage.times import Span, span_of, united
from hpo.storage.trial_rows import trials_by_number
from hpo.study.found import Study
from hpo.study.task import Train


class History:
    """The configurations of a study, as they were when `update` was called last.

    What an update costs grows with the trials that are new or had not ended, not with all of them.

    Args:
        is_kept: whether a paused configuration can be continued here from its last epoch.

    Attributes:
        attempts: those of each configuration, by its number, the oldest first.
        open: by number, the trials that wait or run, and those that failed, which may yet be given back.
        origins: those of the study's planned trials that have begun.
        known: the parameters of all configurations.
        begun: how many configurations count, the trials of other programs among them.
        epochs: trained, those of failed trials included.
        sign: 1 if the study maximizes, -1 if it minimizes; values are multiplied by it.
        max_epochs: of any configuration.
    """

    def __init__(self, study: optuna.Study, definition: Study, is_kept: Callable[[Configuration], bool]) -> None:
        self.sign = 1.0 if definition.search_direction == "maximize" else -1.0
        self._trains = isinstance(definition.task, Train)
        self.max_epochs = definition.budget.max_epochs if self._trains else 1
        self.attempts: dict[int, list[Attempt]] = {}
        self.open: dict[int, FrozenTrial] = {}
        self.origins: list[Mapping[str, int]] = []
        self.known: set[Key] = set()
        self.begun = 0
        self.epochs = 0
        self._study = study
        self._whole = definition.whole_params
        self._is_kept = is_kept
        # Else the same seed would not give the same search: no two runs take the same time.
        self._counts_seconds = definition.budget.seconds is not None
        self._read = 0  # how many trials have been looked at
        self._counted: dict[int, tuple[int, int]] = {}  # what each configuration adds to `begun` and to `epochs`
        self._curves: dict[int, Curve] = {}
        self._in_state: dict[State, set[int]] = {state: set() for state in get_args(State)}
        self._spans: list[Span] = []
        self._next = 0

    def update(self) -> None:
        """Read what has changed."""
        trials = trials_by_number(self._study)
        looked_at = [trials[number] for number in sorted([*self.open, *islice(trials, self._read, None)])]
        self._read = len(trials)
        self.open = {}
        changed = set()
        for trial in looked_at:
            attempt = attempt_of(trial, sign=self.sign, trains=self._trains)
            if not trial.state.is_finished() or (attempt and attempt.state == "failed"):
                self.open[trial.number] = trial
            elif span := span_of(trial):
                self._spans.append(span)
            if attempt is not None:
                self._put(attempt)
                changed.add(attempt.configuration.number)
            elif trial.state.is_finished():
                self.begun += 1
        for number in changed:
            self._count(number)

    @property
    def next_number(self) -> int:
        """The number of the next configuration.

        Counted by ours alone: the trials of other programs, which take no lock, must not shift a seed.
        """
        return self._next

    def in_state(self, state: State) -> list[int]:
        """The numbers of the configurations that are in this state, in order."""
        return sorted(self._in_state[state])

    def seconds(self) -> float:
        """How long at least one trial ran, of this or another program."""
        self._spans = united(self._spans)
        running = filter(None, map(span_of, self.open.values()))
        return sum(end - start for start, end in united([*self._spans, *running]))

    def curves(self) -> list[Curve]:
        """The curve of each configuration, in the order of their numbers."""
        return [self._curves[number] for number in sorted(self._curves)]

    def curve(self, number: int) -> Curve:
        """The curve of one configuration."""
        return self._curves[number]

    def _put(self, attempt: Attempt) -> None:
        """Take an attempt in, in the place of what was known of it."""
        configuration = attempt.configuration
        attempts = self.attempts.setdefault(configuration.number, [])
        if not attempts:
            self._next = max(self._next, configuration.number + 1)
            self.origins += [configuration.origin] if configuration.origin else []
        numbers = [each.trial.number for each in attempts]
        if attempt.trial.number in numbers:
            attempts[numbers.index(attempt.trial.number)] = attempt
        else:
            attempts.append(attempt)

    def _count(self, number: int) -> None:
        """Bring up to date what one configuration comes to."""
        attempts = self.attempts[number]
        begun = int(any(each.state != "lost" for each in attempts))
        epochs = max(len(each.values) for each in attempts)
        before = self._counted.get(number, (0, 0))
        self._counted[number] = begun, epochs
        self.begun += begun - before[0]
        self.epochs += epochs - before[1]
        self.known.add(key_of(attempts[-1].params))
        for numbers in self._in_state.values():
            numbers.discard(number)
        self._in_state[_state(attempts)].add(number)
        self._curves[number] = self._curve(number, attempts)

    def _curve(self, number: int, attempts: list[Attempt]) -> Curve:
        last, state = attempts[-1], _state(attempts)
        timed = [attempt.seconds for attempt in attempts if attempt.seconds is not None]
        longest = max(attempts, key=lambda attempt: len(attempt.values))
        epochs = self._whole(last.params).get("epochs", self.max_epochs) if self._trains else 1
        return Curve(
            number=number,
            params=last.params,
            values=() if state == "failed" else longest.values,
            epochs=min(epochs, self.max_epochs),
            state="running" if state == "lost" else state,  # one that was lost runs again before anything else
            is_kept=lambda: self._is_kept(last.configuration),
            seconds=timed[-1] if timed and self._counts_seconds else None,
        )


def _state(attempts: list[Attempt]) -> State:
    """The state of a configuration: lost if each of its attempts was, or paused before.

    All of them count: a claim whose answer was lost may have been made twice, and one of the two given back.
    """
    last = attempts[-1].state
    others = [each.state for each in attempts if each.state not in ("lost", "paused")]
    return others[-1] if last == "lost" and others else last
