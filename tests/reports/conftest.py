from __future__ import annotations

from pathlib import Path

import pytest

from lcrbench.bench.records.store import Store
from lcrbench.reports import report

from .make_store import small_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def folder(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the small store, written once for all tests."""
    return report.write(store, tmp_path_factory.mktemp("report")).parent
