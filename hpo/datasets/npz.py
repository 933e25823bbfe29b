"""Reading ``.npz`` archives that may be damaged or not archives at all."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import DatasetError


def read_npz(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The arrays of the archive that ``keys`` names; nothing in it is executed.

    Raises:
        DatasetError: it is damaged or no archive, holds Python objects, or needs more memory than there is.
    """
    try:
        # It is opened here because NumPy 2.4 leaves a damaged file open if it opened that itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys if key in archive.files}
    # With damaged bytes, zipfile, zlib and NumPy raise nearly every exception, also MemoryError.
    except Exception as error:
        raise DatasetError(
            f"{path} must be a whole .npz file of plain arrays, but reading it failed: {error}. "
            "Write or download it again."
        ) from error
