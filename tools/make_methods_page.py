"""Writes docs/methods.md and its figures from the methods, regularizers and backbones themselves.

python tools/make_methods_page.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

from lcrbench import registry
from lcrbench.models import portrait
from lcrbench.reports import published

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHADES = {0.0: "#9ecae1", 0.5: "#4292c6", 1.0: "#084594"}


def figure(method: str) -> str | None:
    """Draw a method's estimators; return the figure's path inside docs, or None for a method without any."""
    found = portrait.curves(method)
    if not found:
        return None
    with mpl.rc_context({"svg.hashsalt": "lcrbench", "font.size": 9}):
        fig, axes = plt.subplots(1, 2, figsize=(7, 2.4), layout="constrained", sharex=True)
        for axis, curve in zip(axes, found, strict=True):
            axis.step(curve.x, curve.value, color="black", linewidth=1.5, where="mid", label="value")
            for progress, slope in curve.slope.items():
                label = f"slope at {progress:.0%}" if len(curve.slope) > 1 else "slope"
                axis.plot(curve.x, slope, color=SHADES[progress if len(curve.slope) > 1 else 0.5], label=label)
            axis.set_title(curve.of, loc="left")
            axis.set_xlabel("x")
            axis.spines[["top", "right"]].set_visible(False)
            # A slope that grows with the training is cut off: its start would be a flat line below it.
            axis.set_ylim(min(curve.value) - 0.2, max(2.5, min(5, max(map(max, curve.slope.values()))) + 0.2))
            axis.legend(frameon=False, fontsize=7)
        path = DOCS / "img" / f"method_{method}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(fig)
    return f"img/{path.name}"


def section(kind: str, name: str) -> str:
    """Return one entry: its name, its figure, and its own words."""
    summary, _, rest = registry.docstring(kind, name).partition("\n")
    picture = figure(name) if kind == "method" else None
    parts = [f"### `{name}`", summary]
    if picture:
        parts.append(f"![{name}: values and pseudo-gradients]({picture})")
    if rest.strip():
        parts.append(f"```text\n{rest.strip()}\n```")
    return "\n\n".join(parts)


def published_numbers() -> str:
    """Return the numbers that a report may print as published, as a table."""
    lines = ["| method | data | network | topology that the source tells | top-1, % | epochs | source |"]
    lines.append("|:--|:--|:--|:--|--:|--:|:--|")
    for p in published.numbers():
        if p.printable:
            told = ", ".join(f"{name} {value}" for name, value in p.topology.items())
            told = "; ".join(t for t in (told, p.note) if t) or "–"
            lines.append(
                f"| {p.method} | {p.data} | {p.network} | {told} | {p.top1:g} | {p.epochs or '–'} | {p.source} |"
            )
    return "\n".join(lines)


def page() -> str:
    """Return the whole page."""
    parts = [
        "# Methods, regularizers and backbones",
        "Written by `python tools/make_methods_page.py` from the docstrings and the code; change those. "
        "`lcrbench show method NAME` shows the same on a terminal.",
        "Notation: x is a layer's input (N, C_in, H, W), w its latent weight (C_out, C_in, k, k), sign(0) = +1, S the sign "
        "as training sees it and dS/dx what stands for its derivative, g an upstream gradient. In the figures the black "
        "line is the value and the blue ones are the slopes that train through it, by progress of the training.",
    ]
    for kind, title in (("method", "Methods"), ("regularizer", "Regularizers"), ("backbone", "Backbones")):
        parts.append(f"## {title}")
        parts += [section(kind, name) for name in registry.files(kind)]
    secondary = sum(not p.printable for p in published.numbers())
    parts += [
        "## Published numbers",
        "What the methods' authors report in their own repositories. Budgets (400 to 2000 epochs) and topologies differ, so "
        "these are no baselines for a run of this suite; a report prints one beside ours only where method, data and "
        f"topology are the same. `reports/published.json` holds {secondary} more that were read in other works: they are "
        "not verified, and never printed as published.",
        published_numbers(),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (DOCS / "methods.md").write_text(page(), encoding="utf-8")
