"""A storage and a study in it."""

import pytest
from optuna.storages import BaseStorage
from searched import Searched

from hpo.files.run_dir import RunDir


@pytest.fixture
def storage(sqlite: BaseStorage) -> BaseStorage:
    """An empty one in a SQLite file; the same questions are asked of PostgreSQL elsewhere."""
    return sqlite


@pytest.fixture
def search(storage: BaseStorage, run_dir: RunDir) -> Searched:
    return Searched(storage, run_dir)
