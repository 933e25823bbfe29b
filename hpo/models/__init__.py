"""Stock model builders: each ``(params, dataset) -> compiled keras.Model`` on raw images (n, h, w, c) uint8."""

from hpo.models.cnn import build_cnn
from hpo.models.optimizer import ACTIVATIONS, OPTIMIZERS, PAIRS, pairs_with

__all__ = ["ACTIVATIONS", "OPTIMIZERS", "PAIRS", "build_cnn", "pairs_with"]
