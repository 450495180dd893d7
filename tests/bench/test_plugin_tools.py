"""`lcrbench new` and `conform`: each template keeps its kind's contract as it is written, and what is broken is one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lcrbench.bench.cli import _plugins as plugins

from .test_cli import call


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [n for n in sys.modules if n.partition(".")[0] in (plugins.FOLDER, "my_pkg")]:
        monkeypatch.delitem(sys.modules, name)


def forget() -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == plugins.FOLDER]:
        del sys.modules[name]


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_each_template_conforms_as_it_is_written(capsys, monkeypatch, kind: str) -> None:
    code, out, err = call(capsys, monkeypatch, "new", kind, "my_own")
    assert code == 0, err
    module, test, check = out.splitlines()
    assert Path(module).is_file()
    assert "$" not in Path(module).read_text().replace("${", "")
    compile(Path(test).read_text(), test, "exec")
    assert f"my_own{'.toml' if kind == 'preset' else ''}" in check
    forget()
    code, out, err = call(capsys, monkeypatch, *check.removeprefix("check it: lcrbench ").split())
    assert (code, out) == (0, f"{check.split()[-1]} is a {kind} that keeps its contract\n"), out + err
    # Without the kind, and by the file.
    code, out, err = call(capsys, monkeypatch, "conform", module)
    assert (code, out) == (0, f"{module} is a {kind} that keeps its contract\n"), out + err


@pytest.mark.parametrize("kind", plugins.MARKS)
def test_what_is_missing_is_one_line_and_exit_code_2(capsys, monkeypatch, kind: str) -> None:
    call(capsys, monkeypatch, "new", kind, "my_own")
    file = Path(plugins.FOLDER, "my_own.py")
    mark = plugins.MARKS[kind][0]
    broken = re.sub(rf"^(class|def) {mark}\b", rf"\1 Mis{mark}", file.read_text(), flags=re.MULTILINE)
    assert broken != file.read_text()
    file.write_text(broken)
    forget()
    code, out, err = call(capsys, monkeypatch, "conform", kind, f"{plugins.FOLDER}.my_own")
    assert code == 2
    assert err == ""
    assert out.startswith(f"{plugins.FOLDER}.my_own: ")
    assert mark in out


@pytest.mark.parametrize("code", ["import nothing_of_this_name", "1 / 0", "def f(:", "raise SystemExit"])
@pytest.mark.parametrize("words", ["conform", "conform method"])
def test_a_module_that_does_not_import_gives_no_traceback(capsys, monkeypatch, code: str, words: str) -> None:
    Path("my_pkg").mkdir()
    Path("my_pkg", "broken.py").write_text(code)
    status, out, err = call(capsys, monkeypatch, *words.split(), "my_pkg.broken")
    assert status == 2
    assert (out + err).count("\n") == 1
    assert "my_pkg.broken" in out + err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("new methd x", "did you mean 'method'"),
        ("new method My-Method", "small letters"),
        ("new method irnet", "there is a method 'irnet' already"),
        ("conform methd my_pkg.x", "did you mean 'method'"),
        ("conform method a b", "unexpected 'b'"),
        ("conform my_pkg.nothing", "cannot be imported: ModuleNotFoundError"),
        ("conform nowhere/x.py", "there is no file 'nowhere/x.py'"),
        ("conform bare.py", "put it into a folder"),
        ("conform irnte", "there is no entry of that name"),
        ("conform json.decoder", "of no known kind"),
    ],
)
def test_mistakes(capsys, monkeypatch, words: str, says: str) -> None:
    Path("bare.py").write_text("")
    code, out, err = call(capsys, monkeypatch, *words.split())
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert out == ""


def test_a_file_is_never_replaced(capsys, monkeypatch) -> None:
    assert call(capsys, monkeypatch, "new", "metric", "my_pkg.mine")[0] == 0
    Path("my_pkg", "mine.py").write_text("# my own work")
    code, _, err = call(capsys, monkeypatch, "new", "metric", "my_pkg.mine")
    assert code == 2
    assert "exists already" in err
    assert Path("my_pkg", "mine.py").read_text() == "# my own work"


def test_a_preset_that_cannot_be_read_is_found(capsys, monkeypatch) -> None:
    Path("mine.toml").write_text("methds = ['bnn']")
    code, out, _ = call(capsys, monkeypatch, "conform", "mine.toml")
    assert code == 2
    assert "did you mean 'methods'" in out


def test_our_own_are_checked_by_name(capsys, monkeypatch) -> None:
    assert call(capsys, monkeypatch, "conform", "irnet")[1] == "irnet is a method that keeps its contract\n"
