"""Operator norm, local gain and retention proxy of each layer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from lcrbench.bench.records.measurement import Part
from lcrbench.reports.comparison import Row
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Hits, Panel, Picture, decades, gid, look
from lcrbench.reports.lipschitz import drawn, layer_value, layers

SECTION, ORDER = "lipschitz", 70

LAYERED = (
    ("upper", "operator norm, l2 to l2"),
    ("gain", "local gain, l2 to l2"),
    ("sigma_1", "proxy sigma 1 (no unit)"),
    ("p1", "proxy p1 (no unit)"),
)
# So many layers have their names at the axis, of so many letters at most; more are numbered.
NAMED, LETTERS = 24, 22


def figure(context: Context) -> Picture | None:
    """Return norm, local gain and both proxies of each layer in the order of use; the norm's band is its bracket.

    Networks whose layers have the same names share the axis. Else each is drawn along its own layers, since a place of one
    has nothing to do with that of another.
    """
    found = context.lipschitz
    if found is None:
        return None
    orders = {row.index: order for row in drawn(found) if (order := _order(row))}
    rows = [row for row in drawn(found) if row.index in orders]
    if not rows:
        return None
    shared = _shared(list(orders.values()))
    places = {
        row.index: {name: k for k, name in enumerate(orders[row.index] if shared is None else shared)} for row in rows
    }
    names = shared or ()
    count = max(len(known) for known in places.values())
    data = [
        {"method": row.label, "layer": name, "place": places[row.index][name] + 1, "figure": figure, "value": value}
        for row in rows
        for name in orders[row.index]
        for figure in ("lower", *(f for f, _ in LAYERED))
        if (value := layer_value(row, Part(name), figure)) is not None
    ]

    def panel(figure: str, label: str, axis: str) -> Panel | None:
        known = {
            row.index: [
                (places[row.index][n], n, v)
                for n in orders[row.index]
                if (v := layer_value(row, Part(n), figure)) is not None
            ]
            for row in rows
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
                    low = [layer_value(row, Part(n), "lower") or v for _, n, v in points]
                    ax.fill_between(x, low, y, color=s.colour, alpha=0.25, linewidth=0, gid=gid(row))
                for px, name, v in points:
                    hits.point(ax, px, v, f"{row.name}, {name}: {label} {v:.3g}", row.index)
            values = [p[2] for points in known.values() for p in points]
            if axis == "log" and min(values) > 0:
                decades(ax)
            else:
                ax.set_ylim(0, 1.08 * max(values))
            ax.set_xlim(-0.5, count - 0.5)
            if names and count <= NAMED:
                ax.set_xticks(range(count), _short(names), rotation=90, fontsize="x-small")
            else:
                step = -(-count // 12)
                ax.set_xticks(range(0, count, step), [str(k + 1) for k in range(0, count, step)])
                ax.set_xlabel("layer, in the order of use" if names else "layer, in each network's own order of use")
            ax.set_ylabel(label)

        return Panel(draw, label, size=(4.6, 3.2 if names and count <= NAMED else 2.7), scale=axis)

    panels = [p for axis in _axes(data) for f in LAYERED if (p := panel(*f, axis)) is not None]
    caption = (
        "Each layer's operator norm with batch norm folded in (the band reaches down to the lower end of its bracket, "
        "and is thinner than the line where both ends agree), the local gain of the surrogate from a binary layer's "
        "input to the next one's, and LCR's proxy of the same pair, exact and as released. Means over seeds. "
        + _said(rows, orders, shared)
    )
    paper = (3.3, 2.4 if names and count <= NAMED else 1.9)
    return Picture(
        "lipschitz_layers", "Layer by layer", caption, panels, pd.DataFrame(data), 2, tuple(rows), paper=paper
    )


def _axes(data: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return the axes to choose from: the logarithmic one first where a figure spans more than a factor of 30."""
    by_figure: dict[str, list[float]] = {}
    for point in data:
        by_figure.setdefault(point["figure"], []).append(point["value"])
    far = any(0 < 30 * min(values) < max(values) for values in by_figure.values())
    return ("log", "linear") if far else ("linear", "log")


def _order(row: Row) -> tuple[str, ...]:
    """Return a network's layers that have a figure here, in the order of use."""
    return tuple(
        part.layer
        for part in layers(row)
        if not part.stage and any(layer_value(row, part, f) is not None for f, _ in LAYERED)
    )


def _shared(orders: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the order of the network with most layers if every other one's layers are some of them; else None.

    >>> _shared([("a", "c"), ("a", "b", "c")]), _shared([("a", "b"), ("b", "a")]), _shared([("a",), ("b",)])
    (('a', 'b', 'c'), None, None)
    """
    longest = max(orders, key=len)
    places = {name: k for k, name in enumerate(longest)}
    for order in orders:
        at = [places.get(name, -1) for name in order]
        if -1 in at or at != sorted(at):
            return None
    return longest


def _short(names: Sequence[str]) -> list[str]:
    """Return layers' names as an axis has room for them: without the part that all share, and the end of long ones.

    >>> _short(["body.stem.0", "body.stem.1", "body.head"])
    ['stem.0', 'stem.1', 'head']
    """
    heads = [n.split(".")[:-1] for n in names]
    alike = list(itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*heads, strict=False)))
    rest = [".".join(n.split(".")[len(alike) :]).replace("$", r"\$") for n in names]
    return [n if len(n) <= LETTERS else "…" + n[1 - LETTERS :] for n in rest]


def _said(rows: Sequence[Row], orders: dict[int, tuple[str, ...]], shared: tuple[str, ...] | None) -> str:
    def numbered(names: Sequence[str]) -> str:
        return ", ".join(f"{k} {name}" for k, name in enumerate(names, 1))

    if shared is not None:
        return f"Layers: {numbered(shared)}."
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        alike.setdefault(orders[row.index], []).append(row.name)
    each = "; ".join(f"of {', '.join(labels)}: {numbered(names)}" for names, labels in alike.items())
    return (
        "The networks' layers have different names, so each network is drawn along its own layers: points above each "
        f"other are not the same layer in networks of different lists. Layers {each}."
    )
