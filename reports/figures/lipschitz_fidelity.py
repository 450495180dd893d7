"""The retention-matrix proxy of each layer against its operator norm and its local gain."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from lcrbench.bench import stats
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Hits, Panel, Picture, gid, look, positive
from lcrbench.reports.lipschitz import drawn, layer_value, layers
from lcrbench.reports.lipschitz.fidelity import PROXIES, TRUTHS

SECTION, ORDER = "lipschitz", 80


def figure(context: Context) -> Picture | None:
    """Return the proxy of each layer against its operator norm and its local gain, a point a layer."""
    found = context.lipschitz
    if found is None:
        return None
    rows = drawn(found)
    points = {
        (proxy, truth): [
            (row, name, x, y)
            for row in rows
            for name in layers(row)
            if (x := layer_value(row, name, truth)) is not None
            and (y := layer_value(row, name, proxy)) is not None
            and not name.stage
        ]
        for proxy in PROXIES
        for truth in ("upper", "gain")
    }
    if not any(points.values()):
        return None

    def panel(proxy: str, truth: str) -> Panel:
        def draw(ax: Axes, hits: Hits) -> None:
            for row, name, x, y in points[proxy, truth]:
                s = look(row)
                ax.plot([x], [y], s.marker, color=s.colour, alpha=0.8, linestyle="none", gid=gid(row))
                hits.point(
                    ax, x, y, f"{row.name}, {name.layer}: {PROXIES[proxy]} {y:.3g}, {TRUTHS[truth]} {x:.3g}", row.index
                )
            positive(ax, "x", [x for _, _, x, _ in points[proxy, truth]])
            positive(ax, "y", [y for _, _, _, y in points[proxy, truth]])
            ax.set_xlabel(f"{TRUTHS[truth]}, l2 to l2")
            ax.set_ylabel(f"{PROXIES[proxy]} (no unit)")

        return Panel(draw, f"{PROXIES[proxy]} against {TRUTHS[truth]}", size=(4.4, 2.9))

    data = pd.DataFrame(
        [
            {"method": row.label, "layer": name.layer, "proxy": proxy, "figure": TRUTHS[truth], "x": x, "value": y}
            for (proxy, truth), found_here in points.items()
            for row, name, x, y in found_here
        ]
    )
    caption = (
        "The retention-matrix proxy of each binary layer, means over seeds, against the operator norm of its linear "
        "map and against the surrogate's local gain. A faithful proxy rises along both."
    )
    counts = {r.name: max(sum(row is r for row, *_ in p) for p in points.values()) for r in rows}
    few = [label for label, n in counts.items() if 0 < n < stats.LEAST]
    if few:
        who = (
            "Every method here has"
            if len(few) == sum(n > 0 for n in counts.values())
            else f"Of {', '.join(few)} there are"
        )
        caption += f" {who} fewer than {stats.LEAST} points: from so few no correlation can be told, and none is given."
    shown = {r.index for p in points.values() for r, *_ in p}
    return Picture(
        "lipschitz_fidelity",
        "Does the retention matrix follow the norms?",
        caption,
        [panel(*key) for key in points if points[key]],
        data,
        2,
        tuple(r for r in rows if r.index in shown),
        paper=(2.9, 2.1),
    )
