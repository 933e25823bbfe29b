"""The images a study trains on: found, checked, split and mapped once, whatever number of workers reads them.

`load` gives training and validation images; `load_test` is the only way to the test images, and writes down
each time that it was taken. Nothing here imports TensorFlow or Keras.
"""

from hpo.datasets.dataset import Content, Dataset, Origin, Split
from hpo.datasets.loader import load, load_test
from hpo.datasets.merge import Merge
from hpo.datasets.picture import grid, is_grid

__all__ = ["Content", "Dataset", "Merge", "Origin", "Split", "grid", "is_grid", "load", "load_test"]
