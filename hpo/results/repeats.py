"""Means and standard deviations over the trials of a setting, how far the reported figures differ, the best setting."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.study import StudyDirection

from hpo.results.trials import TrialRecord, best_of, ranking, trials_of
from hpo.storage import stored_study
from hpo.study.space import Params
from hpo.text import params_text

# What is averaged: Keras's logs at the best epoch, and fields of a trial's record.
_LOGS = ("accuracy", "loss", "val_accuracy", "val_loss")
_RECORDS = (
    "value", "test_accuracy", "test_loss", "test_precision", "test_recall", "test_f1", "test_seconds", "parameters",
    "epochs", "best_epoch", "seconds", "seconds_to_best",
)  # fmt: skip


@dataclass(frozen=True)
class Average:
    """A mean over repeats.

    Args:
        sd: the sample's standard deviation; None for one repeat, or if a value is infinite or not a number.
        repeats: the number of values.
    """

    mean: float
    sd: float | None
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Average":
        """The average of at least one value."""
        if not all(map(math.isfinite, values)):
            return cls(sum(values) / len(values), None, len(values))
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class SettingAverage:
    """The results of the repeats of one setting.

    Args:
        name: the setting's name in the study; may be empty.
        figures: averages by the names of Keras's logs and of ``TrialRecord``, except for those that no repeat has.
        reported: what others reported, by the same names.
        failures: why repeats have no result, each reason once.
        images: on how many images each accuracy was measured, by its name in ``figures``.
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
        """By how many standard deviations ours is above the reported ``figure``; None if that is unknown.

        The standard deviation is that of one run, over the repeats. For an accuracy it is at least the one that chance
        gives to the share p of right answers among n images: sqrt(p (1 - p) / n).
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
    """The settings of a comparison in their order; for a search, each trial that ended with a value, best first."""
    definition = stored_study.recorded(study).get("definition", {})
    if not definition.get("settings"):
        return [_average({"params": row.params}, [row]) for row in ranking(study)]
    ended = [row for row in trials_of(study) if row.state in ("COMPLETE", "PRUNED") or row.result.failure is not None]
    return [
        _average(setting, [row for row in ended if _setting(row) == index])
        for index, setting in enumerate(definition["settings"])
    ]


def best_setting(study: optuna.Study) -> dict[str, Any]:
    """The best of a study in one row: the setting with the best mean of a comparison, or the best trial of a search.

    A search has test figures if its last export was of its best trial. Otherwise they are None, and accuracy and loss
    are those of the validation images. A study whose task is a function has neither.

    Raises:
        StudyError: no trial has finished with a value.
    """
    trial = best_of(study)
    rows = [row for row in settings(study) if "value" in row.figures]
    choose = max if study.direction == StudyDirection.MAXIMIZE else min
    best = choose(rows, key=lambda row: row.figures["value"].mean)
    figures = {name: average.mean for name, average in best.figures.items()}
    exported = stored_study.recorded(study).get("exported", {})
    measured = {**(exported["metrics"] if exported.get("trial") == trial.number else {}), **figures}
    validated = "val_accuracy" in figures or "val_loss" in figures
    return {
        "study": study.study_name,
        "measured_on": "test" if "test_accuracy" in measured else "validation" if validated else None,
        "accuracy": measured.get("test_accuracy", figures.get("val_accuracy")),
        "loss": measured.get("test_loss", figures.get("val_loss")),
        "precision": measured.get("test_precision"),
        "recall": measured.get("test_recall"),
        "f1": measured.get("test_f1"),
        "parameters": round(figures["parameters"]) if "parameters" in figures else None,
        "seconds": figures.get("seconds"),
        "setting": best.name or params_text(best.params),
    }


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
    """The index of the setting that a trial ran; None in a search."""
    return row.claim.configuration.origin.get("setting") if row.claim else None


def _figures(row: TrialRecord) -> dict[str, float]:
    result = row.result
    if row.value is None:  # it failed; if its model was built, this is known
        return {} if result.model.parameters is None else {"parameters": result.model.parameters}
    known = {"value": row.value, **vars(result.measures), **vars(result.model), **vars(result.fit)}
    figures = {name: known[name] for name in _RECORDS if known[name] is not None}
    epoch = (result.fit.best_epoch or 0) - 1
    if epoch >= 0:
        figures |= {name: result.history[name][epoch] for name in _LOGS if len(result.history.get(name, ())) > epoch}
    return figures
