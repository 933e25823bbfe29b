"""Folders in which something was launched once, for all tests of the command line to look at."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import SHEET, Place
from filelock import FileLock
from PIL import Image


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one test run share, so that each launch below is made once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "test_cli"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def launched(shared: Path) -> Place:
    """The study ``sheet`` has run, in a folder whose name is not a plain word."""
    place = Place(shared / "Läufe & mehr")
    with FileLock(shared / "launched.lock"):
        if not place.folder.exists():
            (place.folder / "studies").mkdir(parents=True)
            (place.folder / "studies" / "sheet.py").write_text(SHEET)
            place.hpo("launch", "--study", "sheet", "--workers", "1")
    return place


@pytest.fixture(scope="session")
def digits(shared: Path) -> Place:
    """The shipped digits search has run small, under a name of its own."""
    place = Place(shared / "digits")
    with FileLock(shared / "digits.lock"):
        if not place.folder.exists():
            place.folder.mkdir()
            small = ("--name", "small", "--trials", "2", "--max-epochs", "1", "--subset", "400")
            place.hpo("launch", "--study", "digits-cnn", *small, "--workers", "1", "--gpus", "none")
    return place


@pytest.fixture(scope="session")
def exported(digits: Place) -> tuple[Place, dict[str, Any]]:
    """Its winner lies in ``best.h5``, beside a picture of a digit; and the card that export printed."""
    printed = digits.folder / "printed.json"
    with FileLock(digits.folder / "exported.lock"):
        if not printed.exists():
            text = digits.hpo("export", "--study", "small", "--output", "best.h5", "--json").stdout
            from sklearn.datasets import load_digits

            pixels = (load_digits().images[3] * 15).astype(np.uint8)
            Image.fromarray(pixels).resize((280, 280)).save(digits.folder / "digit.png")
            printed.write_text(text)
    return digits, json.loads(printed.read_text())
