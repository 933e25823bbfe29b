import numpy as np
from sklearn.datasets import load_digits

from hpo.datasets.digits import Digits
from hpo.files.run_dir import RunDir


def test_digits_are_enlarged_to_the_form_of_mnist(run_dir: RunDir) -> None:
    content = Digits().read(run_dir)
    assert content.train.images.shape == (1437, 28, 28, 1)
    assert content.test.images.shape == (360, 28, 28, 1)
    assert content.train.images.dtype == np.uint8
    assert (content.train.images.min(), content.train.images.max()) == (0, 255)
    assert content.classes == tuple("0123456789")


def test_every_bundled_digit_is_there_and_each_class_keeps_its_share(run_dir: RunDir) -> None:
    content = Digits().read(run_dir)
    bundled = np.bincount(load_digits().target)
    train, test = np.bincount(content.train.labels), np.bincount(content.test.labels)
    np.testing.assert_array_equal(train + test, bundled)
    np.testing.assert_allclose(test / bundled, 0.2, atol=0.01)


def test_digits_are_the_same_each_time(run_dir: RunDir) -> None:
    assert Digits().read(run_dir).sha256 == Digits().read(run_dir).sha256
