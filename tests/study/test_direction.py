"""Which names of metrics say whether more is better."""

import pytest

from hpo.study.direction import direction_of


@pytest.mark.parametrize(
    "metric",
    [
        "loss", "val_loss", "val_head_loss", "val_error", "error_rate", "val_mae", "mse", "rmse", "mape", "msle",
        "val_mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "mean_squared_logarithmic_error",
        "val_mae_2", "VAL_LOSS",
    ],
)  # fmt: skip
def test_losses_and_errors_are_minimized(metric: str) -> None:
    """Of any output, with any of Keras's numbers."""
    assert direction_of(metric) == "minimize"


@pytest.mark.parametrize(
    "metric",
    [
        "accuracy", "val_accuracy", "acc", "val_binary_accuracy", "val_sparse_top_k_categorical_accuracy", "val_auc",
        "auc_1", "val_precision", "val_recall_3", "precision_at_recall", "f1", "val_f1_score", "r2_score",
        "val_head_accuracy",
    ],
)  # fmt: skip
def test_scores_are_maximized(metric: str) -> None:
    """Of any output, with any of Keras's numbers."""
    assert direction_of(metric) == "maximize"


@pytest.mark.parametrize(
    "metric",
    [
        "quality", "value", "cosine_similarity", "lossless", "area", "1-accuracy", "", "val_",
        "accuracy_loss", "val_recall_error", "val_accuracy_head_loss",  # contradictory
        "neg_mean_squared_error", "negative_loss", "accuracy_drop", "recall_gap",  # other than their words
    ],
)  # fmt: skip
def test_other_names_say_nothing(metric: str) -> None:
    """Neither what is part of a word, nor a word beside its opposite."""
    assert direction_of(metric) is None
