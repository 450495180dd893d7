"""All networks of a setting by mean error, to search, sort and filter: size, bits, training data, links."""

from __future__ import annotations

from urllib.parse import urlsplit

from lcrbench.reports import published
from lcrbench.reports.comparison import CLEAN, COMMON_ERROR, Row
from lcrbench.reports.context import Context
from lcrbench.reports.cost import cost, parameters
from lcrbench.reports.table import Cell, Column, Table, TableRow, marked
from lcrbench.reports.tables.first import MOST
from lcrbench.reports.words.tables import failures, interval_words

SECTION, ORDER = "board", 10
FORMATS = ("md", "csv")
LINKS = ("paper", "code", "weights")


def table(context: Context) -> Table | None:
    """Return a row a network, the lowest mean error first; None where the first screen holds them all.

    That is so where all were trained here and are few. Networks under other budgets and from outside stand in the same
    order, say so, and take no part in the marks.
    """
    setting = context.setting
    if len(setting.rows) <= MOST and not any(row.foreign for row in setting.rows):
        return None
    digits = setting.digits
    columns = [
        Column("Clean", "%", better=True, digits=digits, scale=100, choose="range"),
        Column("Mean error", "%", better=False, digits=digits, scale=100, choose="range"),
        Column("W/A", "bits", choose="one"),
        Column("Parameters", "thousands", digits=1, scale=1e-3, choose="range"),
        Column("Trained on", choose="one"),
    ]
    linked = {row.index: links(row) for row in setting.rows}
    shown = [what for what in LINKS if any(what in found for found in linked.values())]
    columns += [Column(what.capitalize()) for what in shown]
    rows = []
    for row in sorted(setting.rows, key=_place):
        cells: tuple[Cell, ...] = ()
        if row.runs:
            cells = (
                Cell.of(row.estimate(CLEAN)),
                Cell.of(row.estimate(COMMON_ERROR)),
                Cell(text=row.bits or "not known"),
                cost(row, parameters),
                Cell(text=trained_on(row)),
                *(Cell(text=what if linked[row.index].get(what) else "", href=linked[row.index].get(what, ""))
                  for what in shown),
            )  # fmt: skip
        rows.append(TableRow(row.label, cells, row in setting.pool, row.aside, failures(row), row=row))
    notes = (
        "By mean error over the common corruptions, whatever the budget: a place here is no claim about methods. Marks rank "
        "the binary networks under the reference's budget alone; of networks from outside no budget is known.",
    )
    caption = f"{setting.title}: all networks, {interval_words(setting)}."
    return marked(
        Table(
            "leaderboard",
            caption,
            tuple(columns),
            tuple(rows),
            notes,
            first="Network",
            title="",
            file="leaderboard",
            brackets=interval_words(setting),
        )
    )


def _place(row: Row) -> tuple[bool, float, str]:
    """Return by what rows are sorted: those without an error last."""
    error = row.estimate(COMMON_ERROR)
    clean = row.estimate(CLEAN)
    value = error.value if error else 2.0 - clean.value if clean else 4.0
    return not row.runs, value, row.label


def trained_on(row: Row) -> str:
    """Return the data that a network was trained on, as its record says."""
    if (network := row.any.external) is not None:
        return network.training_data or "not known"
    return row.any.trained.training.data.name


def links(row: Row) -> dict[str, str]:
    """Return where a network's paper, code and weights are, as web addresses: a record may hold anything."""
    if (network := row.any.external) is not None:
        return {what: address for what, address in network.links.items() if _web(address)}
    method = row.method
    papers = [
        published.paper_of(name) for name in (*(method.regularizers if method else ()), method.name if method else "")
    ]
    paper = next((p for p in papers if p), None)
    found = {"paper": paper.link, "code": paper.code} if paper else {}
    return {what: address for what, address in found.items() if address}


def _web(address: str) -> bool:
    """Tell whether an address leads to the web.

    >>> _web("https://arxiv.org/abs/2207.06540"), _web("javascript:alert(1)")
    (True, False)
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
