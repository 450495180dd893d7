"""A report over many networks is a leaderboard: what stands in it, that nothing leads astray, and what its controls do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, report
from lcrbench.reports.context import Context
from lcrbench.reports.table import Table
from lcrbench.reports.tables import leaderboard

from .make_foreign import add_foreign, board_store
from .test_browser import framed
from .test_page import browser


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return board_store(tmp_path_factory.mktemp("board") / "store")


def made(store: Store) -> Table | None:
    return leaderboard.table(Context(comparison.read(store).settings[0]))


def test_every_network_has_a_row_by_mean_error_with_what_is_known_of_it(board: Store) -> None:
    table = made(board)
    assert table is not None
    titles = [c.title for c in table.columns]
    assert titles == ["Clean", "Mean error", "W/A", "Parameters", "Trained on", "Paper", "Code", "Weights"]
    error = titles.index("Mean error")
    errors = [row.cells[error].value for row in table.rows]
    assert len(errors) == 7
    assert errors == sorted(errors)
    rows = {row.label: dict(zip(titles, row.cells, strict=True)) for row in table.rows}
    resnet = rows["foreign:ResNet-18"]
    assert (resnet["Parameters"].value, resnet["Trained on"].text) == (11_700_000, "ImageNet-1k")
    assert resnet["Weights"].href == "https://example.org/resnet18.pth"
    assert rows["foreign:Mine"]["Trained on"].text == "not known"
    assert not rows["foreign:Mine"]["Code"].href, "what leads nowhere in the web is no link"
    assert rows["irnet+lcr"]["Paper"].href == "https://arxiv.org/abs/2207.06540"


def test_networks_from_outside_are_named_so_and_wear_no_mark(board: Store) -> None:
    table = made(board)
    assert table is not None
    for row in table.rows:
        if row.label.startswith("foreign:"):
            assert row.note
            assert not any(cell.mark for cell in row.cells)
    assert any(cell.mark == "best" for row in table.rows for cell in row.cells)


def test_a_few_trained_methods_need_none(store: Store) -> None:
    assert made(store) is None


def test_each_row_has_an_address_that_outlives_its_place(board: Store, tmp_path: Path, undrawn: None) -> None:
    page = report.write(board, tmp_path).read_text(encoding="utf-8")
    part = re.search(r'<table class="sortable" id="s0-leaderboard-table">.*?</table>', page, re.S)
    assert part is not None
    ids = re.findall(r'<tr id="([^"]+)"', part[0])
    assert len(ids) == 7
    assert "s0-leaderboard-table-foreign-resnet-18-794e" in ids
    assert all(f'href="#{name}"' in part[0] for name in ids)
    assert re.findall(r'data-choose="(\w+)"', part[0]) == ["range", "range", "one", "range", "one"]
    assert "javascript:" not in part[0]
    assert '<details class="question" data-print id="s0-board-part" open>' in page
    assert (tmp_path / "leaderboard.csv").read_text(encoding="utf-8").count("\n") == 8


CHOICE = """
  const table = $("#s0-leaderboard-table"), rows = () => [...table.tBodies[0].rows].filter(seen);
  const names = () => rows().map(r => r.cells[0].firstChild.textContent.trim());
  const bar = table.closest(".table").previousElementSibling.classList.contains("choose")
    ? table.closest(".table").previousElementSibling : $(".choose");
  const [bits, trained] = bar.querySelectorAll("select"), numbers = bar.querySelectorAll("input");
  const set = (e, value) => { e.value = value; e.dispatchEvent(new win.Event("input", { bubbles: true })); };
  out.hash = win.location.hash;
  out.first = [names(), bar.querySelector("output").textContent];
  out.target = win.getComputedStyle(doc.querySelector("tr.named > th")).backgroundColor
    !== win.getComputedStyle(rows()[0].cells[0]).backgroundColor;
  set(trained, ""); out.all = rows().length;
  set(bits, "1/1"); out.binary = [names(), bar.querySelector("output").textContent];
  set(bits, "");
  set(numbers[4], "3000"); set(numbers[5], "5000"); out.size = names();
  out.kept = win.location.hash;
  set(numbers[4], ""); set(numbers[5], "");
  const search = $("#search"); search.value = "resnet"; search.dispatchEvent(new win.Event("input"));
  out.search = names();
  search.value = ""; search.dispatchEvent(new win.Event("input"));
  const sort = [...table.tHead.querySelectorAll("button.sort")].find(b => b.textContent === "Parameters");
  sort.click(); out.sorted = names();
  out.overflow = doc.documentElement.scrollWidth - doc.documentElement.clientWidth;
"""


@browser
@pytest.mark.parametrize("width", [1400, pytest.param(390, marks=pytest.mark.slow)])
def test_a_leaderboard_is_searched_sorted_and_filtered(board: Store, tmp_path: Path, undrawn: None, width: int) -> None:
    report.write(board, tmp_path / "report")
    address = "#s0-leaderboard-table-foreign-mobilenet-" + leaderboard_id("foreign:MobileNet")
    seen = framed(
        tmp_path / "report", tmp_path, CHOICE, width=width, height=900,
        hash_=f"{address}&amp;s0-leaderboard-table=,,,,,,,ImageNet-1k",
    )  # fmt: skip
    assert seen["first"] == [["foreign:ResNet-18", "foreign:MobileNet"], "2 of 7 networks"]
    assert seen["target"]
    assert seen["all"] == 7
    assert seen["binary"] == [["LCR on IR-Net", "IR-Net", "BNN"], "3 of 7 networks"]
    assert seen["size"] == ["foreign:MobileNet"]
    assert "s0-leaderboard-table=,,,,,3000,5000," in seen["kept"]
    assert seen["search"] == ["foreign:ResNet-18"]
    assert seen["sorted"][-1] == "foreign:Mine", "what is not known comes last"
    assert seen["sorted"].index("foreign:MobileNet") < seen["sorted"].index("foreign:ResNet-18")
    assert seen["overflow"] == 0


@browser
def test_one_network_is_counted_as_one(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    add_foreign(store, "Mine")
    report.write(store, tmp_path / "report")
    seen = framed(tmp_path / "report", tmp_path, 'out.told = $(".choose output").textContent;', width=900, height=900)
    assert seen["told"] == "1 network"


def leaderboard_id(label: str) -> str:
    from lcrbench.reports.page.view import row_id

    return row_id(label).rpartition("-")[2]
