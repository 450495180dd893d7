"""The gate from the command line: its exit codes, its files, and what it says to a mistake."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lcrbench.bench import cli
from lcrbench.bench.records import source
from lcrbench.bench.records.store import Store

from . import make_store

LATER = "2026-05-05T00:00:00Z"


@pytest.fixture
def lcrbench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run the command line in an empty folder; returns its exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["lcrbench", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0)

    return call


def runs(name: str, seeds: int, **options: object) -> None:
    store = Store(Path(name), create=True)
    for seed in range(seeds):
        current = {"spread": 0.3, "created": LATER, "code": make_store.present_code()}
        make_store.add(store, "irnet", seed, **current | options)


@pytest.fixture
def reference(lcrbench) -> None:  # type: ignore[no-untyped-def]
    runs("before", 10, created=make_store.CREATED)
    written = ("reference", "update", "before", "--out", "ref/robustness.json", "--reason", "the first")
    assert lcrbench(*written, "--margin", "1", "--seeds", "0 1", "--anyway") == 0


@pytest.mark.usefixtures("reference")
def test_exit_codes_tell_the_verdict(lcrbench, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    against = ("--against", "ref/robustness.json")
    capsys.readouterr()
    runs("same", 4)
    assert lcrbench("check", "same", *against) == 0
    assert capsys.readouterr().out.startswith("PASS           irnet: corruption_accuracy")
    runs("worse", 4, shift=-8)
    files = ("--junit", "out/gate.xml", "--json", "out/gate.json", "--markdown", "out/gate.md")
    assert lcrbench("check", "worse", *against, *files) == 1
    assert json.loads(Path("out/gate.json").read_text())["exit_code"] == 1
    assert ElementTree.parse("out/gate.xml").getroot().get("failures") == "1"
    assert "**regression**" in Path("out/gate.md").read_text()
    assert lcrbench("check", "worse", *against, "--margin", "6") == 0
    assert lcrbench("check", "worse", *against, "--metric", "clean_accuracy", "--margin", "1", "--method", "irnet") == 1
    runs("wide", 3, spread=6.0)
    assert lcrbench("check", "wide", *against) == 3
    runs("unequal", 3, images=30_000)
    assert lcrbench("check", "unequal", *against) == 2
    assert "budget.images" in capsys.readouterr().out


@pytest.mark.usefixtures("reference")
def test_stale_runs_are_refused(lcrbench, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    against = ("--against", "ref/robustness.json")
    runs("older", 4, code=make_store.OTHER_CODE)
    assert lcrbench("check", "older", *against) == 2
    assert "stale" in capsys.readouterr().out
    assert lcrbench("check", "older", *against, "--any-source") == 0
    assert lcrbench("check", "older", *against, "--any-source", "--commit", "f" * 40) == 2
    assert lcrbench("check", "before", *against) == 2
    assert "the reference's own" in capsys.readouterr().out


@pytest.mark.usefixtures("reference")
def test_a_changed_module_makes_the_runs_that_depend_on_it_stale(  # type: ignore[no-untyped-def]
    lcrbench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two methods in somebody's folder one imports a module that is changed after both were trained."""
    helper = Path("gate_helper.py")
    helper.write_text("GRADIENT = 1\n")
    Path("gate_method.py").write_text("from gate_helper import GRADIENT\n")
    Path("gate_other.py").write_text("GRADIENT = 1\n")
    for name in ("gate_method", "gate_other"):
        runs(name, 4, code=source.closure([name]))
    helper.write_text("GRADIENT = 2  # the sign was wrong\n")
    against = ("--against", "ref/robustness.json")
    assert lcrbench("check", "gate_other", *against) == 0
    capsys.readouterr()
    assert lcrbench("check", "gate_method", *against) == 2
    assert "was made by a different version of the code: gate_helper changed since" in capsys.readouterr().out
    assert lcrbench("check", "gate_method", *against, "--any-source") == 0


@pytest.mark.usefixtures("reference")
def test_a_mistake_is_one_line_and_code_2(lcrbench, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    against = ("--against", "ref/robustness.json")
    runs("same", 2)
    mistakes = {
        ("check", "same", "--against", "nothing.json"): "name a file that `lcrbench reference update` wrote",
        ("check", "nowhere", *against): "no store at nowhere",
        ("check", "same", *against, "--metric", "clean_accuraci"): "did you mean 'clean_accuracy'",
        ("check", "same", *against, "--method", "irnett"): "did you mean 'irnet'",
        ("check", "same", *against, "--margin", "0"): "the margin must be a finite number above 0",
        ("check", "same", *against, "--json", "same/missing.json/x"): "",
        ("check", "same"): "--against",
        ("reference", "update", "same", "--out", "new.json"): "--reason",
        ("reference", "update", "same", "--out", "new.json", "--reason", " "): "needs its reason",
    }
    Path("same/missing.json").write_text("a file where a folder must be")
    capsys.readouterr()
    for words, said in mistakes.items():
        assert lcrbench(*words) == 2, words
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert said in error
    assert not Path("new.json").exists()
    Store(Path("same")).ids()
    for record in Path("same").glob("evaluations/*/record.json"):
        record.write_text("{")
    assert lcrbench("check", "same", *against) == 2
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.usefixtures("reference")
def test_a_reference_grows_by_reasons(lcrbench, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    capsys.readouterr()
    runs("after", 2, shift=2)
    again = ("reference", "update", "after", "--out", "ref/robustness.json", "--reason", "constants corrected")
    assert lcrbench(*again) == 2
    assert "train more seeds or longer" in capsys.readouterr().err
    assert lcrbench(*again, "--margin", "2", "--anyway") == 0
    told = capsys.readouterr().out
    assert told.startswith("irnet: 2 seeds (10 or more are advised); asked of a candidate: seeds 0, 1; ")
    assert told.endswith("\nreference: ref/robustness.json\n")
    history = json.loads(Path("ref/robustness.json").read_text())["history"]
    assert [u["reason"] for u in history] == ["the first", "constants corrected"]
