"""`lcrbench report` from the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lcrbench.bench import cli
from lcrbench.bench.records.store import Store


@pytest.mark.parametrize(
    "words",
    [
        ("--compare", "irnet", "full_precision"),
        ("--compare", "irnet full_precision"),
        ("--compare", "irnet", "--compare", "full_precision"),
    ],
)
def test_compare_names_several_methods(
    store: Store,
    tmp_path: Path,
    undrawn: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    monkeypatch.setattr(sys, "argv", ["lcrbench", "report", str(store.root), "--out", str(tmp_path), *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    assert capsys.readouterr().out == f"report: {tmp_path / 'index.html'}\n"
    assert "FP32 − IR-Net" in (tmp_path / "table.md").read_text(encoding="utf-8").replace("\\", "")


def test_a_stray_word_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lcrbench", "report", str(store.root), "irnet", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "unexpected 'irnet'" in capsys.readouterr().err
