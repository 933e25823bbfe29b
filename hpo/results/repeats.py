"""The trials of each setting of a comparison as means and standard deviations, and how far the reported ones lie."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna

from hpo.results.trials import TrialRecord, ranking, trials_of
from hpo.storage import stored_study
from hpo.study.space import Params

# What is averaged besides the figures that a trial's record has by that name: Keras's logs at the best epoch.
_LOGS = ("accuracy", "loss", "val_accuracy", "val_loss")
_RECORDS = (
    "value", "test_accuracy", "test_loss", "test_precision", "test_recall", "test_f1", "test_seconds", "parameters",
    "epochs", "best_epoch", "seconds", "seconds_to_best",
)  # fmt: skip


@dataclass(frozen=True)
class Average:
    """A mean over repeats.

    Args:
        sd: the sample's standard deviation; None for one repeat, or if one is infinite or not a number.
        repeats: how many.
    """

    mean: float
    sd: float | None
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Average":
        """The average of at least one value; of infinite ones there is no deviation."""
        if not all(map(math.isfinite, values)):
            return cls(sum(values) / len(values), None, len(values))
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class SettingAverage:
    """What the repeats of one setting gave.

    Args:
        name: as the study calls it; may be empty.
        figures: by the names of Keras's logs and of ``TrialRecord``; without those that no repeat has.
        reported: what others reported, by the same names.
        failures: why repeats gave nothing, each reason once.
        images: how many each accuracy is of, by its name in ``figures``.
    """

    name: str
    params: Params
    figures: Mapping[str, Average]
    reported: Mapping[str, float]
    failures: tuple[str, ...]
    images: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)

    def deviation(self, figure: str) -> float | None:
        """How many standard deviations ours lies above the reported ``figure``; None if that cannot be said.

        The deviation of one run, over the repeats; of an accuracy at least what counting right answers among so
        many images gives by chance: sqrt(p (1 - p) / n).
        """
        if figure not in self.figures or figure not in self.reported:
            return None
        ours, theirs = self.figures[figure], self.reported[figure]
        chance = 0.0
        if figure in self.images:
            chance = math.sqrt(theirs * (1 - theirs) / self.images[figure])
        deviation = max(ours.sd or 0.0, chance)
        return (ours.mean - theirs) / deviation if deviation else None


def settings(study: optuna.Study) -> list[SettingAverage]:
    """Each setting of a comparison, in its order; of a search each trial that ended with a value, best first."""
    definition = stored_study.recorded(study).get("definition", {})
    if not definition.get("settings"):
        return [_average({"params": row.params}, [row]) for row in ranking(study)]
    ended = [row for row in trials_of(study) if row.state in ("COMPLETE", "PRUNED") or row.result.failure is not None]
    return [
        _average(setting, [row for row in ended if _setting(row) == index])
        for index, setting in enumerate(definition["settings"])
    ]


def _average(setting: Mapping[str, Any], rows: Sequence[TrialRecord]) -> SettingAverage:
    figures = [_figures(row) for row in rows]
    names = [name for name in (*_RECORDS, *_LOGS) if any(name in each for each in figures)]
    tested = [row.result.measures.test_images or 0 for row in rows]
    validated = [row.result.fit.validation_images or 0 for row in rows]
    images = {
        "test_accuracy": min(filter(None, tested), default=0),
        "val_accuracy": min(filter(None, validated), default=0),
    }
    failed = [row.result for row in rows if row.result.failure is not None]
    return SettingAverage(
        name=setting.get("name", ""),
        params=setting["params"],
        figures={name: Average.of([each[name] for each in figures if name in each]) for name in names},
        reported=setting.get("reported", {}),
        failures=tuple(dict.fromkeys(f"{result.stop_reason}: {result.failure}" for result in failed)),
        images={figure: count for figure, count in images.items() if count},
    )


def _setting(row: TrialRecord) -> int | None:
    """The index of the setting that a trial ran."""
    return row.claim.configuration.origin.get("setting") if row.claim else None


def _figures(row: TrialRecord) -> dict[str, float]:
    result = row.result
    if row.value is None:  # failed; but of a model that was built this is known
        return {} if result.model.parameters is None else {"parameters": result.model.parameters}
    known = {"value": row.value, **vars(result.measures), **vars(result.model), **vars(result.fit)}
    figures = {name: known[name] for name in _RECORDS if known[name] is not None}
    epoch = (result.fit.best_epoch or 0) - 1
    if epoch >= 0:
        figures |= {name: result.history[name][epoch] for name in _LOGS if len(result.history.get(name, ())) > epoch}
    return figures
