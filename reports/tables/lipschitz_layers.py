"""Norms, product bounds, gains and proxies layer by layer."""

from __future__ import annotations

from lcrbench.reports.context import Context
from lcrbench.reports.lipschitz import layer_value, layers
from lcrbench.reports.table import Cell, Column, Table, TableRow
from lcrbench.reports.words import part_text

SECTION, ORDER = "lipschitz", 30
FORMATS, FOLDED = ("md", "csv"), True


def table(context: Context) -> Table | None:
    """Return each layer's bracket, its block's product bound, both proxies and the local gain, method by method."""
    found = context.lipschitz
    if found is None or not any(layers(row) for row in found.rows):
        return None
    columns = (
        Column("lower bound, mean", "l2 to l2", "Operator norm", digits=3),
        Column("upper bound, mean", "l2 to l2", "Operator norm", digits=3),
        Column("gap", "%", "Operator norm", digits=2),
        Column("product bound", "l2 to l2", "Surrogate", digits=3),
        Column("local gain", "l2 to l2", "Surrogate", digits=3),
        Column("p1, as released", "1", "Retention proxy", digits=3),
        Column("sigma 1, exact", "1", "Retention proxy", digits=3),
    )
    rows = []
    for row in found.rows:
        for part in layers(row):
            lower, upper, block, gain, p1, sigma = (
                layer_value(row, part, f) for f in ("lower", "upper", "block", "gain", "p1", "sigma_1")
            )
            gap = 100 * (upper / lower - 1) if lower and upper else None
            cells = tuple(Cell(v) for v in (lower, upper, gap, block, gain, p1, sigma))
            label, name = f"{row.label}: {part_text(part)}", f"{row.name}: {part_text(part)}"
            rows.append(TableRow(label, cells, ranked=False, name=name))
    notes = (
        "Operator norm: of a layer's linear map as deployed, batch norm folded in, between a Lanczos lower and a torus "
        "upper bound. Product bound: of a block or stage of the surrogate network, with hardtanh in place of each "
        "sign; that of a network of signs itself is infinite. Local gain: of the surrogate at the images, from a "
        "binary layer's input to that of the next one, or from one stage's output to the next one's. The proxy of the "
        "same pair is no bound of anything.",
        "Means over the seeds of each network's own figure: the mean of upper bounds holds for no single seed.",
    )
    return Table("lipschitz_layers", "Layers, blocks and stages", columns, tuple(rows), notes, "Layer")
