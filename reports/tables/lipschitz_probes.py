"""Probes of the retention-matrix proxy: changes of a network that it must, and must not, see."""

from __future__ import annotations

import numpy as np

from lcrbench.bench.records.statistics import Statistic
from lcrbench.reports.context import Context
from lcrbench.reports.table import Cell, Column, Table, TableRow

SECTION, ORDER = "lipschitz", 50
FORMATS, FOLDED = ("md", "csv"), True


def table(context: Context) -> Table | None:
    """Return the table of the probes, pass or fail by method and proxy; None if none was made."""
    found = context.lipschitz
    if found is None or not context.options.drawn:
        return None
    rows = []
    keys = [k for k in found.keys("lipschitz_probes") if k.statistic != Statistic.PASSED]
    for key in keys:
        cells = []
        for row in found.rows:
            ratio, passed = row.per_seed(key), row.per_seed(key._replace(statistic=Statistic.PASSED))
            if not ratio or not passed:
                cells.append(Cell())
                continue
            verdict = (
                "pass" if all(passed) else "fail" if not any(passed) else f"fails in {passed.count(0)} of {len(passed)}"
            )
            cells.append(Cell(text=f"{verdict} (× {np.mean(ratio):.2f})"))
        proxy = {"sigma_1": "sigma 1"}.get(key.about.form, key.about.form)
        rows.append(TableRow(f"{key.about.probe}, {proxy}", tuple(cells), ranked=False))
    if not rows:
        return None
    notes = (
        "Batch-norm gain: all batch norms' scale and shift times 4, so that every operator norm grows fourfold; passed "
        "if the proxy grows at least twofold (× is its growth in the layer or stage where it grows least). Channel "
        "sign flip: signs of channels turned so that function and norms stay; passed if the proxy moves by at most 1 % "
        "(× where it moves most).",
    )
    columns = tuple(Column(r.label, note=r.aside, name=r.name) for r in found.rows)
    labels = tuple(r.label for r in found.rows)
    return Table("lipschitz_probes", "Probes of the proxy", columns, tuple(rows), notes, "Probe", labels=labels)
