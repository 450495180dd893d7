"""A record that names somebody's code does not run it: not for a list or a report, and for its network only if trusted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lcrbench
from lcrbench.bench import worker
from lcrbench.bench.records import source
from lcrbench.errors import UserError
from tests.bench.helpers import SMALL, call, job

METHOD = '''"""BNN, in a module that notes that it was run."""
from dataclasses import dataclass
from pathlib import Path
from lcrbench.models.methods import bnn
(Path(__file__).parent / "was_run").touch()

@dataclass(frozen=True)
class Method(bnn.Method):
    """No options."""
'''
PACKAGE = "of_a_stranger"
MESSAGE = (
    rf"the record names the method '{PACKAGE}\.method', an import path whose code would be run: pass --trust-plugins"
)


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    source.look_again()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a method, and a store with a run by it."""
    here = tmp_path_factory.mktemp("stranger")
    (here / PACKAGE).mkdir()
    (here / PACKAGE / "__init__.py").write_text(
        'from pathlib import Path\n(Path(__file__).parent / "was_run").touch()\n'
    )
    (here / PACKAGE / "method.py").write_text(METHOD)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(sys, "path", list(sys.path))
        record = worker.run_one(job(here / "store", SMALL | {"methods": [f"{PACKAGE}.method"]}))
    assert record.status == "finished"
    assert (here / PACKAGE / "was_run").exists()
    forget()
    return here


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Stand in the folder, where the method can be imported and was not; return the run's id."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    (folder / PACKAGE / "was_run").unlink(missing_ok=True)
    forget()
    (name,) = lcrbench.Store("store").ids()
    return name


def was_run(folder: Path) -> bool:
    return (folder / PACKAGE / "was_run").exists() or PACKAGE in sys.modules


@pytest.mark.parametrize(
    "words",
    [
        "list runs --store store",
        "show run RUN --store store",
        "show run RUN --json --store store",
        "doctor --store store",
        "report store --out page",
        "table store",
        "store export all.csv --store store",
        "reference update store --out reference.json --reason first --margin 5 --anyway",
        "check store --against reference.json",
    ],
)
def test_what_a_store_holds_is_told_without_it(folder: Path, run: str, capsys, monkeypatch, words: str) -> None:
    code, out, err = call(capsys, monkeypatch, *words.replace("RUN", run).split())
    # A run is not comparable with itself.
    assert code == (2 if words.startswith("check") else 0), out + err
    assert not was_run(folder)


@pytest.mark.parametrize(
    "words",
    [
        "evaluate RUN --store store --corruptions fog",
        "lipschitz RUN --store store --quiet",
        "export RUN --store store --out network.safetensors",
    ],
)
def test_commands_refuse_it_in_one_line(folder: Path, run: str, capsys, monkeypatch, words: str) -> None:
    code, out, err = call(capsys, monkeypatch, *words.replace("RUN", run).split())
    assert (code, out, err.count("\n")) == (2, "", 1), out + err
    assert MESSAGE.replace("\\", "") in err
    assert not was_run(folder)


@pytest.mark.parametrize(
    "door",
    [
        lambda run: lcrbench.load_model("store", run),
        lambda run: lcrbench.evaluate(run, store="store", corruptions=""),
        lambda run: lcrbench.lipschitz(run, store="store"),
    ],
    ids=["load_model", "evaluate", "lipschitz"],
)
def test_functions_refuse_it(folder: Path, run: str, door: Callable[[str], object]) -> None:
    with pytest.raises(UserError, match=MESSAGE):
        door(run)
    assert not was_run(folder)


def test_it_is_run_where_it_is_trusted_and_a_file_of_it_asks_again(folder: Path, run: str, capsys, monkeypatch) -> None:
    words = ("export", run, "--store", "store", "--out", "network.safetensors")
    code, _, err = call(capsys, monkeypatch, *words, "--trust-plugins")
    assert code == 0, err
    assert was_run(folder)
    network = lcrbench.load_model("store", run, trust_plugins=True)
    assert type(network).__name__ == "Network"
    (folder / PACKAGE / "was_run").unlink()
    forget()
    with pytest.raises(UserError, match=MESSAGE):
        lcrbench.load_packed("network.safetensors")
    assert not was_run(folder)
    assert lcrbench.load_packed("network.safetensors", trust_plugins=True).classes
    assert was_run(folder)
