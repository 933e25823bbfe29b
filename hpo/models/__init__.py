"""Stock model builders, each ``(params, dataset) -> compiled keras.Model`` on raw images (n, h, w, c) uint8."""

from hpo.models.augmentation import append_copies
from hpo.models.autoencoder import build_autoencoder
from hpo.models.cnn import build_cnn
from hpo.models.mlp import build_mlp
from hpo.models.optimizer import ACTIVATIONS, OPTIMIZERS, PAIRS, pairs_with
from hpo.models.stack import build_stack
from hpo.models.transfer import build_transfer

__all__ = [
    "ACTIVATIONS",
    "OPTIMIZERS",
    "PAIRS",
    "append_copies",
    "build_autoencoder",
    "build_cnn",
    "build_mlp",
    "build_stack",
    "build_transfer",
    "pairs_with",
]
