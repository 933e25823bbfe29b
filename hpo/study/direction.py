"""In which direction a metric is better, as far as its name says so."""

from typing import Literal

Direction = Literal["maximize", "minimize"]

_LOWER_IS_BETTER = {"loss", "error", "mae", "mse", "rmse", "mape", "msle"}
_HIGHER_IS_BETTER = {"accuracy", "acc", "auc", "precision", "recall", "f1", "r2"}
# With one of these, as in neg_mean_squared_error or accuracy_drop, the name means something else than its other words.
_TURNS_THE_MEANING = {"neg", "negative", "minus", "inverse", "drop", "gap"}


def direction_of(metric: str) -> Direction | None:
    """The direction that the name of a metric says, such as val_loss, val_head_loss, binary_accuracy or auc_1.

    Returns:
        None if the name says nothing, or contradicts itself.
    """
    words = set(metric.lower().split("_"))
    if words & _TURNS_THE_MEANING:
        return None
    match bool(words & _HIGHER_IS_BETTER), bool(words & _LOWER_IS_BETTER):
        case True, False:
            return "maximize"
        case False, True:
            return "minimize"
    return None
