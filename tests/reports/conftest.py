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


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing, which takes most of a report's seconds, where a test is about something else."""
    from lcrbench.reports import rendering

    monkeypatch.setattr(rendering, "save", lambda picture, folder, formats=(): [])
    monkeypatch.setattr(rendering, "inline", lambda picture, prefix: ["<svg></svg>"] * len(picture.panels))
