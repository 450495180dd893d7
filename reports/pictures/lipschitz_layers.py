"""Operator norm, local gain and retention proxy of each layer."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from lcrbench.reports.figures import Hits, Panel, Picture, gid, look, positive
from lcrbench.reports.lipschitz import Lipschitz, drawn, layer_value, layers

LAYERED = (
    ("upper", "operator norm, l2 to l2"),
    ("gain", "local gain, l2 to l2"),
    ("sigma_1", "proxy sigma 1 (no unit)"),
    ("p1", "proxy p1 (no unit)"),
)


def picture(found: Lipschitz) -> Picture | None:
    """Return norm, local gain and both proxies of each layer in the order of use; the norm's band is its bracket."""
    rows = [r for r in drawn(found) if layers(r)]
    order: dict[str, int] = {}
    for row in rows:
        for name in layers(row):
            if not name.startswith("stage ") and any(layer_value(row, name, f) is not None for f, _ in LAYERED):
                order.setdefault(name, len(order))
    if not order:
        return None
    data = [
        {"method": row.label, "layer": name, "figure": figure, "value": value}
        for row in rows
        for name in order
        for figure in ("lower", *(f for f, _ in LAYERED))
        if (value := layer_value(row, name, figure)) is not None
    ]
    names = list(order)

    def panel(figure: str, label: str) -> Panel | None:
        known = {
            r.index: [(order[n], n, v) for n in names if (v := layer_value(r, n, figure)) is not None] for r in rows
        }
        if not any(known.values()):
            return None

        def draw(ax: Axes, hits: Hits) -> None:
            for row in rows:
                s, points = look(row), known[row.index]
                if not points:
                    continue
                x, y = [p[0] for p in points], [p[2] for p in points]
                ax.plot(x, y, color=s.colour, linestyle=s.dash, marker=s.marker, gid=gid(row))
                if figure == "upper":
                    low = [layer_value(row, n, "lower") or v for _, n, v in points]
                    ax.fill_between(x, low, y, color=s.colour, alpha=0.25, linewidth=0, gid=gid(row))
                for px, name, v in points:
                    hits.point(ax, px, v, f"{row.label}, {name}: {label} {v:.3g}", row.index)
            positive(ax, "y", [p[2] for points in known.values() for p in points])
            ax.set_xlim(-0.5, len(names) - 0.5)
            step = max(1, math.ceil(len(names) / 12))
            ax.set_xticks(range(0, len(names), step), [str(k + 1) for k in range(0, len(names), step)])
            ax.set_xlabel("layer, in the order of use")
            ax.set_ylabel(label)

        return Panel(draw, label, size=(4.6, 2.7))

    panels = [p for p in (panel(*f) for f in LAYERED) if p is not None]
    caption = (
        "Each layer's operator norm with batch norm folded in (the band reaches down to the lower end of its bracket, "
        "and is thinner than the line where both ends agree), the local gain of the surrogate from a binary layer's "
        "input to the next one's, and LCR's proxy of the same pair, exact and as released. Means over seeds. Layers: "
        + ", ".join(f"{k + 1} {n}" for n, k in order.items())
        + "."
    )
    return Picture(
        "lipschitz_layers", "Layer by layer", caption, panels, pd.DataFrame(data), 2, tuple(rows), paper=(3.3, 1.9)
    )
