"""The reports that a store holds: on its index page, and by `lcrbench list reports` and `lcrbench show report`."""

from __future__ import annotations

from pathlib import Path

import pytest

from lcrbench.bench.records.store import Store
from lcrbench.reports import report
from tests.bench.helpers import call

from . import make_store


@pytest.fixture
def reported(tmp_path: Path, undrawn: None) -> Store:
    """A store with a report called all, and one of two methods; what else lies there is no report."""
    store = Store(tmp_path / "store", create=True)
    for label in ("full_precision", "irnet", "bnn"):
        make_store.add(store, label, 0)
    report.write(store, store.root / "reports" / "all")
    report.write(store, store.root / "reports" / "two & more", compare=["irnet", "bnn"])
    (store.root / "reports" / "notes").mkdir()
    return store


def test_reports_are_listed_and_shown(
    reported: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = (reported.root / "reports" / "index.html").read_text(encoding="utf-8")
    assert 'href="all/index.html"' in index
    assert 'href="two%20%26%20more/index.html"' in index
    assert "two &amp; more" in index
    assert "notes" not in index
    lines = call(capsys, monkeypatch, "list", "reports", "--store", str(reported.root))[1].splitlines()
    assert [line.partition("  ")[0].strip() for line in lines] == ["all", "two & more"]
    assert lines[0].endswith(str(reported.root / "reports" / "all" / "index.html"))
    _, shown, _ = call(capsys, monkeypatch, "show", "report", "all", "--store", str(reported.root))
    assert "IR-Net" in shown
    assert shown.rstrip().endswith(f"report: {reported.root / 'reports' / 'all' / 'index.html'}")
    code, _, err = call(capsys, monkeypatch, "show", "report", "al", "--store", str(reported.root))
    assert code == 2
    assert "did you mean 'all'" in err


def test_a_store_without_reports_lists_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path / "empty", create=True)
    assert call(capsys, monkeypatch, "list", "reports", "--store", str(tmp_path / "empty")) == (0, "", "")
