"""The handwritten digits of scikit-learn: 1,797 images, no download (Alpaydin and Kaynak, 1998)."""

from dataclasses import dataclass

import numpy as np

from hpo.datasets.dataset import Content, Split, content_sha256
from hpo.datasets.stratification import stratified_split
from hpo.files.run_dir import RunDir

_SIZE = (28, 28)
_TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Digits:
    """Images of 8x8 pixels from 0 to 16, enlarged to MNIST's 28x28 from 0 to 255; a fifth is the test split."""

    name: str = "digits"

    def cache_key(self) -> str:
        return self.name

    def read(self, run_dir: RunDir) -> Content:
        from PIL import Image
        from sklearn.datasets import load_digits

        bundled = load_digits()
        small = np.rint(bundled.images * (255 / 16)).astype(np.uint8)
        images = np.stack(
            [np.asarray(Image.fromarray(image).resize(_SIZE, Image.Resampling.BILINEAR)) for image in small]
        )[..., np.newaxis]
        whole = Split(images, bundled.target.astype(np.int64))
        train, test = (whole.take(part) for part in stratified_split(whole.labels, _TEST_FRACTION, seed=0))
        return Content(train, test, tuple("0123456789"), content_sha256(train, test))
