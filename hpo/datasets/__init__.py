"""The images that a study trains on: found, checked, split, and kept in files that all workers map into memory.

`load` gives training and validation images. `load_test` is the only way to the test images, and records each read in
``test-reads.jsonl``. Nothing here imports TensorFlow or Keras.
"""

from hpo.datasets.dataset import Content, Dataset, Origin, Split
from hpo.datasets.loader import load, load_test
from hpo.datasets.merge import Merge
from hpo.datasets.preview import grid, is_grid

__all__ = ["Content", "Dataset", "Merge", "Origin", "Split", "grid", "is_grid", "load", "load_test"]
