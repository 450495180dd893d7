from __future__ import annotations

from pathlib import Path

import pytest

from lcrbench.bench.store import Store
from lcrbench.reports import gate

from . import make_store

pytest_plugins = ["lcrbench.reports.pytest_plugin"]


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    store = Store(tmp_path / "reference", create=True)
    for seed in range(10):
        make_store.add(store, "irnet", seed, spread=0.3)
    gate.update(tmp_path / "reference.json", store, "first")
    return tmp_path / "reference.json"


def test_the_fixture_passes_and_fails(tmp_path: Path, reference: Path, lcrbench_check: object) -> None:
    assert callable(lcrbench_check)
    for name, shift in (("good", 0), ("bad", -8)):
        store = Store(tmp_path / name, create=True)
        for seed in range(4):
            make_store.add(store, "irnet", seed, spread=0.3, shift=shift, created="2026-05-05T00:00:00Z")
    lcrbench_check(tmp_path / "good", reference)
    with pytest.raises(pytest.fail.Exception, match="REGRESSION"):
        lcrbench_check(tmp_path / "bad", reference)
    wide = Store(tmp_path / "wide", create=True)
    for seed in range(3):
        make_store.add(wide, "irnet", seed, spread=6.0, created="2026-05-05T00:00:00Z")
    lcrbench_check(wide.root, reference, inconclusive="pass")
    with pytest.raises(pytest.skip.Exception):
        lcrbench_check(wide.root, reference, inconclusive="skip")
    with pytest.raises(pytest.fail.Exception, match="more seeds"):
        lcrbench_check(wide.root, reference)
