"""The tiny data set, the real ones where this machine has them, and a place of its own for each test."""

import os
from pathlib import Path

import pytest
from tiny_idx import Tiny, make_tiny

from hpo.datasets.idx import _FILES, FASHION_MNIST
from hpo.files.run_dir import RunDir

_ROOT = Path(__file__).parents[2]
_NAMED = Path(os.environ.get("HPO_DATA_DIR") or _ROOT / "data").absolute()
_PLACES = [_NAMED, _ROOT / "data", _ROOT.parent / "shared" / "data"]


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data but what the test puts there: an empty working folder, Keras cache and ``HPO_DATA_DIR``."""
    work = tmp_path / "checkouts" / "main"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HPO_DATA_DIR", str(tmp_path / "named"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "runs")


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the real Fashion-MNIST and MNIST, also set as ``HPO_DATA_DIR``."""
    for place in _PLACES:
        if (place / FASHION_MNIST.name / _FILES[0]).is_file():
            monkeypatch.setenv("HPO_DATA_DIR", str(place))
            return place
    pytest.skip("needs the real IDX files: set HPO_DATA_DIR, or put them into ./data or ../shared/data")


@pytest.fixture
def tiny() -> Tiny:
    return make_tiny()
