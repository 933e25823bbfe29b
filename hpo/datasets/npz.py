"""Reading ``.npz`` archives that may be damaged or not archives at all."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import DatasetError


def read_npz(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Those arrays of the archive that ``keys`` names; nothing in it is executed.

    Raises:
        DatasetError: the archive is damaged, not an archive, holds Python objects, or more than there is memory for.
    """
    try:
        # Opened here: NumPy 2.4 leaves a damaged file open that it opened itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys if key in archive.files}
    # Damaged bytes make zipfile, zlib and NumPy raise nearly every exception there is; MemoryError is one of them.
    except Exception as error:
        raise DatasetError(
            f"{path} must be a whole .npz file of plain arrays, but reading it failed: {error}. "
            "Write or download it again."
        ) from error
