"""Dashboards that several tests ask."""

import pytest
from dashboard_site import Site, start


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The default: a token, read-only."""
    return start(tmp_path_factory.mktemp("read-only"), name="fmnist-cnn")


@pytest.fixture(scope="module")
def writable(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return start(tmp_path_factory.mktemp("writable"), name="fmnist-cnn", writable=True)


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return start(tmp_path_factory.mktemp("open"), name="digits-cnn", token=None)
