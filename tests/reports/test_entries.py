"""Tables and figures as entries: our own conform, and those from outside stand in the report or cost a line of it."""

from __future__ import annotations

import html
import re
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import pytest

from lcrbench import registry
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports import conformance, entries, rendering, report
from lcrbench.reports.drawing import Picture
from lcrbench.reports.sample import contexts

from . import make_store

TABLE = '''"""How many seeds each method has."""

from lcrbench.reports.context import Context
from lcrbench.reports.table import Cell, Column, Table, TableRow

SECTION, ORDER = "more", 5


def table(context: Context) -> Table:
    rows = tuple(TableRow(r.label, (Cell(float(len(r.runs))),)) for r in context.setting.rows)
    return Table("my_table", "Seeds of each method", (Column("seeds", digits=0),), rows)
'''
FIGURE = '''"""A point a method."""

import pandas as pd

from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Panel, Picture


def draw(ax, hits):
    ax.plot([0, 1], [0, 1])
    hits.point(ax, 1, 1, "the end", 0)


def figure(context: Context) -> Picture:
    return Picture("my_figure", "My own figure", "A line.", [Panel(draw)], pd.DataFrame({"x": [1]}))
'''
RAISES = '''"""Raises."""


def table(context):
    return 1 / 0
'''
DRAWS_BADLY = FIGURE.replace("my_figure", "bad_figure").replace("ax.plot([0, 1], [0, 1])", "ax.no_such_method()")
NARROW = TABLE.replace('(Column("seeds", digits=0),)', "()").replace("my_table", "narrow_table")


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that can be imported."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name, text in {
        "my_table": TABLE,
        "my_figure": FIGURE,
        "raises": RAISES,
        "bad_figure": DRAWS_BADLY,
        "narrow_table": NARROW,
        "heatmap": FIGURE.replace("my_figure", "heatmap"),
        "neither": '"""Neither."""\n',
        "broken": "import\n",
    }.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [n for n in sys.modules if n.partition(".")[0] == "outside"]:
        del sys.modules[name]


@pytest.fixture
def ours_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing of our own figures, which takes most of a report's seconds."""
    save, inline = rendering.save, rendering.inline

    def ours(picture: Picture) -> bool:
        return picture.title != "My own figure"

    monkeypatch.setattr(rendering, "save", lambda picture, *a, **k: [] if ours(picture) else save(picture, *a, **k))
    drawn = ["<svg></svg>"]
    monkeypatch.setattr(
        rendering, "inline", lambda picture, *a: drawn * len(picture.panels) if ours(picture) else inline(picture, *a)
    )


def test_a_table_and_a_figure_from_outside_stand_in_the_report(
    outside: Path, ours_undrawn: None, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store", create=True)
    make_store.add(store, "irnet", 0, corruptions=("fog",))
    also = ("outside.my_table", "outside.my_figure")
    out = report.write(tmp_path / "store", str(tmp_path / "report"), also=also).parent
    page = (out / "index.html").read_text(encoding="utf-8")
    assert 'id="s0-my_table-table"' in page
    assert "Further tables" in page
    assert 'id="s0-my_figure"' in page
    assert "My own figure" in page
    assert "is left out" not in page
    assert "Seeds of each method" in (out / "table.md").read_text(encoding="utf-8")
    assert (out / "my_table_table.csv").read_text(encoding="utf-8").splitlines()[1].startswith("irnet,1")
    assert {"my_figure.png", "my_figure.svg", "my_figure.pdf", "my_figure.csv"} <= {f.name for f in out.iterdir()}
    # The next report into the folder shows neither.
    page = report.write(store, out).read_text(encoding="utf-8")
    assert "my_table" not in page
    assert not list(out.glob("my_*"))


FAILING = {
    "raises": "The table 'raises' is left out: ZeroDivisionError: division by zero.",
    "bad_figure": "The figure 'bad_figure' is left out: AttributeError: ",
    "narrow_table": "has 1 cells and the table 0 columns",
    "heatmap": "The figure 'heatmap' from outside is left out: there is one of that name already.",
    "broken": "The table 'outside.broken' is left out: SyntaxError: ",
}


def test_each_from_outside_that_fails_costs_one_line(outside: Path, ours_undrawn: None, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    for data in ("a", "b"):
        make_store.add(store, "irnet", 0, corruptions=("fog",), data=data)
    also = [f"outside.{name}" for name in FAILING]
    page = report.write(store, tmp_path / "report", also=also).read_text(encoding="utf-8")
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for name, said in FAILING.items():
        assert text.count(said) == 1, f"{name}: once, however many settings there are"
    assert "Can I trust this?" in text


def test_a_module_that_is_neither_or_is_not_there_is_a_mistake(outside: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'outside\.neither' defines neither"):
        report.write(store, tmp_path / "report", also=["outside.neither"])
    with pytest.raises(UserError, match=r"outside\.nothing"):
        report.write(store, tmp_path / "report", also=["outside.nothing"])


def test_an_entry_point_is_found(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints([EntryPoint("my_table", "outside.my_table", "lcrbench.table")])
    monkeypatch.setattr(registry, "entry_points", points.select)
    found, problems = entries.found("table")
    assert [e.name for e in found if not e.own] == ["my_table"]
    assert not problems


@pytest.mark.parametrize("name", registry.files("table"))
def test_our_tables_conform(name: str) -> None:
    assert conformance.check_table(registry.load("table", name)) == []


@pytest.mark.parametrize("name", registry.files("figure"))
def test_our_figures_conform(name: str) -> None:
    assert conformance.check_figure(registry.load("figure", name)) == []


def module(name: str, text: str) -> ModuleType:
    made = ModuleType(name)
    exec(text, vars(made))
    return made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"""Doc."""', "my_table: it has no function `table(context)`"),
        (TABLE.replace('"more"', '"mode"'), "unknown SECTION 'mode': did you mean 'more'?"),
        (TABLE.replace("ORDER = ", "ORDERS = "), "it defines ORDERS, which no report reads: is ORDER meant?"),
        (TABLE.replace('"my_table"', '"another"'), "which does not begin with 'my_table'"),
        (TABLE.replace('"""How many seeds each method has."""\n', ""), "it has no docstring"),
        (TABLE.replace("float(len(r.runs))", "r.runs[0].spec.seed"), "no finished run: it raises IndexError"),
        (TABLE.replace("return Table(", "return str("), "it raises TypeError"),
        (TABLE.replace("    return Table", "    return 'text'\n    return Table"), "it returns str, not a Table"),
    ],
)
def test_what_is_no_table_is_told(text: str, said: str) -> None:
    found = conformance.check_table(module("my_table", text))
    assert any(said in line for line in found), found
    assert all("\n" not in line for line in found)


def test_what_is_no_figure_is_told() -> None:
    assert conformance.check_figure(module("my_figure", FIGURE)) == []
    found = conformance.check_figure(module("my_figure", FIGURE.replace("[Panel(draw)]", "[]")))
    assert "its picture has no panel" in found[0]
    drawn = FIGURE.replace("def draw(", "count = iter(range(99))\n\n\ndef draw(").replace(
        "[0, 1])", "[0, next(count)])"
    )
    found = conformance.check_figure(module("my_figure", drawn))
    assert "it draws another picture when it is called again" in found[0]


def test_the_sample_shows_most_of_our_entries() -> None:
    """A conformance check on a sample that shows nothing would prove nothing."""
    _, context = next(iter(contexts()))
    tables = {e.name for e in entries.found("table")[0] if entries.tables_of(e, context)}
    figures = {e.name for e in entries.found("figure")[0] if entries.picture_of(e, context)}
    assert {"main", "differences", "corruptions", "lipschitz", "lipschitz_separation", "measurements"} <= tables
    assert {"corruption_curves", "heatmap", "training", "lipschitz", "lipschitz_quantiles"} <= figures


def test_tables_stand_in_the_order_of_the_page() -> None:
    found = [(list(entries.SECTIONS).index(e.section), e.order) for e in entries.found("table")[0]]
    assert found == sorted(found)
    assert len(set(found)) == len(found), "two tables at one place"
