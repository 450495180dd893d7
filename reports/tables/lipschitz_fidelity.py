"""Does the retention-matrix proxy follow the norms? Rank correlations."""

from __future__ import annotations

from lcrbench.bench import stats
from lcrbench.reports.context import Context
from lcrbench.reports.lipschitz.fidelity import correlations
from lcrbench.reports.table import Cell, Column, Table, TableRow

SECTION, ORDER = "lipschitz", 40
FORMATS, FOLDED = ("md", "csv"), True


def table(context: Context) -> Table | None:
    """Return every rank correlation that the records could have, computed or refused; None without a proxy.

    Each has hundreds of bootstraps, so it is made of settings that are drawn.
    """
    if context.lipschitz is None or not context.options.drawn:
        return None
    refused: dict[str, int] = {}
    rows = []
    for c in correlations(context.lipschitz):
        if c.found is None:
            refused[f"{c.points} ({c.n} of at least {stats.LEAST} points)"] = 1
            continue
        rows.append(TableRow(f"{c.points}: {c.proxy} with {c.truth}", (Cell.of(c.found),), ranked=False))
    if not rows and not refused:
        return None
    notes = [
        "Spearman's rank correlation, with a 95 % bootstrap interval over the points that are named. 1: the proxy "
        "orders them as the figure does; 0: it says nothing about their order. Networks of one method are alike, "
        "so a correlation over all methods is descriptive.",
        "omega, the change of the logits within the radius, is a lower bound by search and in units of the logits.",
    ]
    if refused:
        notes.append(f"No correlation from fewer than {stats.LEAST} points: {'; '.join(refused)}.")
    if not rows:
        rows = [TableRow("none", (Cell(text=f"every group has fewer than {stats.LEAST} points"),), ranked=False)]
    columns = (Column("rank correlation", digits=2),)
    caption = "Fidelity of the retention-matrix proxy"
    return Table("lipschitz_fidelity", caption, columns, tuple(rows), tuple(notes), "Points")
