"""A report is drawn where something that it is made from has changed, and nowhere else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports import rendering, report, stamp

from . import make_store
from .test_entries import TABLE
from .test_searches import OLD, searched_before


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for the drawing; returns the list that each figure's name is put into."""
    names: list[str] = []

    def save(picture, folder: Path, formats=()) -> list[str]:  # type: ignore[no-untyped-def]
        names.append(picture.name)
        (folder / f"{picture.name}.svg").write_text("<svg></svg>")
        return [f"{picture.name}.svg"]

    monkeypatch.setattr(rendering, "save", save)
    monkeypatch.setattr(rendering, "inline", lambda picture, prefix: ["<svg></svg>"] * len(picture.panels))
    return names


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store", create=True)
    for label in ("full_precision", "irnet"):
        make_store.add(made, label, 0)
    return made


def test_what_has_not_changed_is_not_drawn_again(store: Store, tmp_path: Path, drawn: list[str]) -> None:
    page = report.write(store, tmp_path / "report")
    assert drawn
    before = {f: f.stat().st_mtime_ns for f in page.parent.rglob("*")}
    drawn.clear()
    assert report.write(Store(store.root), tmp_path / "report") == page
    assert report.write(store.root, tmp_path / "report", runs=store.ids()) == page, "all runs by name are all runs"
    assert drawn == []
    assert {f: f.stat().st_mtime_ns for f in page.parent.rglob("*")} == before


def again(store: Store) -> None:
    make_store.add(store, "irnet", 0, shift=4)


def one_more(store: Store) -> None:
    make_store.add(store, "irnet", 1)


def another_search(store: Store) -> None:
    record, files = make_store.make("irnet", 0)
    make_store.write(store, record, files, (record, {}))


def another_log(store: Store) -> None:
    for log in store.trainings.root.glob("*/training.jsonl"):
        log.write_bytes(log.read_bytes() + b"{}\n")


def damaged(store: Store) -> None:
    next(iter(store.evaluations.root.glob("*/predictions.npz"))).write_bytes(b"no zip")


def no_training(store: Store) -> None:
    first = next(iter(store.trainings.root.iterdir()))
    first.rename(store.root / "elsewhere")


def begun(store: Store) -> None:
    store.unfinished("").mkdir()
    store.unfinished("0" * 16).write_text("a save")


CHANGES = (again, one_more, another_search, another_log, damaged, no_training, begun)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_the_store_is_drawn(
    store: Store, tmp_path: Path, drawn: list[str], change: Callable[[Store], None]
) -> None:
    report.write(store, tmp_path / "report")
    drawn.clear()
    change(store)
    report.write(store, tmp_path / "report")
    assert drawn, "once for the change"
    drawn.clear()
    report.write(store, tmp_path / "report")
    assert not drawn, "and not once more"


def test_a_search_beside_a_run_of_an_older_schema_is_drawn(tmp_path: Path, drawn: list[str]) -> None:
    shutil.copytree(OLD, tmp_path / "store")
    for often in (1, 0):
        drawn.clear()
        report.write(tmp_path / "store", tmp_path / "report")
        assert bool(drawn) == bool(often)
    for run_id in Store(tmp_path / "store").ids():
        searched_before(tmp_path / "store", run_id)
    report.write(tmp_path / "store", tmp_path / "report")
    assert drawn


@pytest.mark.parametrize("missing", ["index.html", "table.csv", "heatmap.svg", "files.json"])
def test_a_missing_file_is_drawn(store: Store, tmp_path: Path, drawn: list[str], missing: str) -> None:
    out = report.write(store, tmp_path / "report").parent
    drawn.clear()
    (out / missing).unlink()
    report.write(store, out)
    assert drawn
    assert (out / missing).is_file()


@pytest.mark.parametrize("content", ["", "[]", '{"stamp": ""}', '{"files": []}', '{"stamp": 1, "files": 2}'])
def test_a_list_that_is_none_of_ours_is_drawn(store: Store, tmp_path: Path, drawn: list[str], content: str) -> None:
    out = report.write(store, tmp_path / "report").parent
    drawn.clear()
    (out / "files.json").write_text(content)
    report.write(store, out)
    assert drawn


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module of a table from outside, in a package of a name of its own: a process finds a module's file once."""
    folder = tmp_path / f"of_{tmp_path.name}"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "my_table.py").write_text(TABLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder / "my_table.py"


def test_other_arguments_are_drawn(store: Store, tmp_path: Path, drawn: list[str], table: Path) -> None:
    out = tmp_path / "report"
    for arguments in (
        {},
        {"compare": ["irnet", "full_precision"]},
        {"compare": ["full_precision", "irnet"]},
        {"runs": store.ids()[:1]},
        {"also": [f"{table.parent.name}.my_table"]},
    ):
        for often in (1, 0):
            drawn.clear()
            report.write(store, out, **arguments)  # type: ignore[arg-type]
            assert bool(drawn) == bool(often), arguments


def test_other_code_is_drawn(
    store: Store, tmp_path: Path, drawn: list[str], table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawings() -> int:
        drawn.clear()
        report.write(store, tmp_path / "report", also=[f"{table.parent.name}.my_table"])
        return len(drawn)

    assert drawings()
    assert not drawings()
    table.write_text(table.read_text().replace("Seeds of each", "How many seeds of each"))
    assert drawings(), "a table from outside"
    monkeypatch.setattr(stamp, "installed", lambda name: "99")
    assert drawings(), "another version of what draws"
    monkeypatch.setattr(stamp, "_code", lambda: "of another version")
    assert drawings(), "our own modules"


def test_our_own_code_is_every_file_that_a_report_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    stamp._code.cache_clear()
    read: list[Path] = []
    monkeypatch.setattr(
        Path, "read_bytes", lambda self, real=Path.read_bytes: read.append(self.resolve()) or real(self)
    )
    before = stamp._code()
    stamp._code.cache_clear()
    for name in ("page/page.css", "page/page.html.jinja", "published.json", "tables/main.py", "composition.py"):
        assert root / "reports" / name in read, name
    for name in ("bench/records/view.py", "bench/stats/intervals.py", "models/parse.py"):
        assert root / name in read, name
    monkeypatch.setattr(
        Path, "read_bytes", lambda self, real=Path.read_bytes: real(self) + b" " * (self.name == "page.css")
    )
    assert stamp._code() != before, "a file that is no module counts too"
    stamp._code.cache_clear()


def test_what_cannot_be_read_is_reported_each_time(store: Store, tmp_path: Path, drawn: list[str]) -> None:
    """Its page names the damage: the stamp of a run without a record would stand for whatever is there next."""
    next(iter(store.evaluations.root.glob("*/record.json"))).write_text("{")
    damaged = Store(store.root)
    for _ in range(2):
        drawn.clear()
        page = report.write(damaged, tmp_path / "report")
        assert drawn
        assert "is damaged" in page.read_text(encoding="utf-8")


def test_a_mistake_is_told_although_a_report_is_there(store: Store, tmp_path: Path, drawn: list[str]) -> None:
    report.write(store, tmp_path / "report")
    with pytest.raises(UserError, match="did you mean 'irnet'"):
        report.write(store, tmp_path / "report", compare=["irnett"])
    with pytest.raises(UserError, match="no run"):
        report.write(store, tmp_path / "report", runs=["zzz"])
    with pytest.raises(UserError, match=r"my_lost\.table"):
        report.write(store, tmp_path / "report", also=["my_lost.table"])


def test_nothing_that_draws_is_imported_for_what_stands(store: Store, tmp_path: Path, drawn: list[str]) -> None:
    out = report.write(store, tmp_path / "report").parent
    code = (
        "import sys; from lcrbench.reports import report;"
        f"report.write({str(store.root)!r}, {str(out)!r});"
        "heavy = {'matplotlib', 'seaborn', 'pandas', 'scipy', 'jinja2', 'torch'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    before = (out / "index.html").stat().st_mtime_ns
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert (out / "index.html").stat().st_mtime_ns == before, "it was not written again"
