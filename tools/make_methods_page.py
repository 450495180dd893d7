"""Writes docs/methods.md and its figures from the methods, regularizers and backbones themselves.

python tools/make_methods_page.py

The prices of steps are read from docs/step_prices.csv, which tests/speed/test_methods.py writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import torch

mpl.use("svg")

from matplotlib import pyplot as plt

from lcrbench import registry
from lcrbench.models import network as networks
from lcrbench.models import portrait
from lcrbench.reports import published

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHADES = {0.0: ("#9ecae1", 3.5), 0.5: ("#4292c6", 2.0), 1.0: ("#084594", 1.0)}
HIGHEST = 5.0
KINDS = (("method", "Methods"), ("regularizer", "Regularizers"), ("backbone", "Backbones"))
FIRST_VERSION = (
    "The full-precision step itself takes no longer than that of the first version (commit 67442af): 1.005, 0.959 "
    "and 0.953 times its CPU time in three pairs of trainings of 312 steps, run side by side on two idle cores "
    "(143.0 and 142.3, 145.0 and 151.2, 139.5 and 146.4 s: 447 to 465 ms a step of the present version, reading "
    "and augmenting included; 2026-11-27). The command, in a checkout of each version: `lcrbench run quick "
    "--methods full_precision --backbone resnet20 --batch 128 --images 40000 --train 4000 --test 100`."
)
LEFT_OUT = (
    "An entry follows the released code, or the text of its paper. These were looked at, and are not built:",
    (
        '- **An L1,inf-norm bound on binary weights and scales** (Zheng, Chen, Guo, Wang, "Can DBNNs Robust to '
        'Environmental Noise for Resource-constrained Scenarios?", ICML 2025, [OpenReview '
        "UKX0k1cWfL](https://openreview.net/forum?id=UKX0k1cWfL)), a competitor of LCR. Read were the abstract, "
        "the beginning of the reviews, and the README of the authors' code "
        "([wdz2020/robust-dbnn](https://gitee.com/wdz2020/robust-dbnn)). They say that L1,inf norms of the binary "
        "weights and of the scaling factors are constrained, and that this gives a tighter upper bound. They do "
        "not say over which axes the norms are taken, whether a penalty, a projection or a normalization "
        "constrains them, or how strongly. Neither the paper's text nor its code could be read."
    ),
    ("- **FDA-BNN's noise adaptation module**, and the authors' own training: [`fda`](#fda) gives the reasons."),
    (
        "- **DSQ** (Gong et al., ICCV 2019, [arXiv 1908.05033](https://arxiv.org/abs/1908.05033)): no code of the "
        "authors was found."
    ),
    (
        "- **A&B BNN** (CVPR 2024): its network has no batch norm, and is trained in two steps. Its numbers stand "
        "below, and beside no run."
    ),
    (
        "- **LCR's training on CIFAR-10**: its repository never held that code. [`lcr`](#lcr) names what is this "
        "project's reading."
    ),
)
TOPOLOGIES = (
    ("resnet18:shortcut=real", 224, 1000),
    ("resnet18:shortcut=binary", 224, 1000),
    ("resnet34:shortcut=real", 224, 1000),
    ("resnet18:shortcut=real", 32, 10),
    ("resnet18:shortcut=binary", 32, 10),
    ("resnet18:shortcut=pool-pad", 32, 10),
    ("resnet20", 32, 10),
    ("vgg_small", 32, 10),
    ("vgg_tiny", 32, 10),
)


def picture(method: str) -> Path:
    """Return where the figure of a method lies."""
    return DOCS / "img" / f"method_{method}.svg"


def mark(curves: Sequence[portrait.Curve]) -> str:
    """Return a digest of what a figure shows, which the file carries as its title: a test can tell an old figure."""
    rounded = [
        (c.of, [round(v, 4) for v in c.value], {p: [round(v, 4) for v in s] for p, s in c.slope.items()})
        for c in curves
    ]
    return hashlib.sha256(repr(rounded).encode()).hexdigest()[:16]


def draw(method: str) -> None:
    """Draw a method's estimators: the values above, the slopes that train through them below."""
    found = portrait.curves(method)
    if not found:
        return
    with mpl.rc_context({"svg.hashsalt": "lcrbench", "font.size": 9, "axes.titlesize": 10}):
        fig, axes = plt.subplots(
            2, 2, figsize=(7, 3.2), layout="constrained", sharex=True, sharey="row", height_ratios=(1, 1.6)
        )
        for (value, slopes), curve in zip(axes.T, found, strict=True):
            value.step(curve.x, curve.value, color="black", linewidth=1.5, where="mid")
            value.set_title(curve.of, loc="left")
            value.set_yticks(sorted({*curve.value, 0.0}))
            value.margins(y=0.2)
            for progress, slope in curve.slope.items():
                color, width = SHADES[progress] if len(curve.slope) > 1 else ("#084594", 1.5)
                # A slope that grows with the training is cut off: what it starts from would be a flat line below it.
                peak = f", up to {max(slope):.3g}" if max(slope) > HIGHEST else ""
                slopes.plot(curve.x, slope, color=color, linewidth=width, label=f"at {progress:.0%}{peak}")
            if len(curve.slope) > 1:
                slopes.legend(frameon=False, fontsize=7, loc="upper right", title_fontsize=7)
            slopes.set_xlabel("x" if curve.of == "activation" else "w")
            for axis in (value, slopes):
                axis.spines[["top", "right"]].set_visible(False)
        peak = max(max(s) for curve in found for s in curve.slope.values())
        axes[1, 0].set_ylim(-0.1, min(HIGHEST, 1.15 * peak))
        axes[0, 0].set_ylabel("value")
        axes[1, 0].set_ylabel("slope")
        picture(method).parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(picture(method), metadata={"Date": None, "Creator": None, "Title": mark(found)})
        plt.close(fig)


def section(kind: str, name: str) -> str:
    """Return one entry: its name, its figure, and its own words."""
    summary, _, rest = registry.docstring(kind, name).partition("\n")
    parts = [f"### `{name}`", summary]
    if kind == "method" and portrait.curves(name, points=2):
        parts.append(f"![{name}: values and pseudo-gradients]({picture(name).relative_to(DOCS)})")
    if rest.strip():
        # Only the blank lines go: the first line may be indented.
        text = rest.strip("\n")
        parts.append(f"```text\n{text}\n```")
    if kind != "backbone":
        parts.append(portrait.options(kind, name))
    if kind == "method" and (recipe := portrait.recipe(name)):
        parts.append(recipe)
    return "\n\n".join(parts)


def overview(kind: str) -> str:
    """Return a kind's entries with one sentence each, as a table that leads to them."""
    said = {name: registry.docstring(kind, name).partition("\n")[0] for name in registry.files(kind)}
    lines = [f"| [`{name}`](#{name}) | {sentence} |" for name, sentence in said.items()]
    return "\n".join(["| name | in one sentence |", "|:--|:--|", *lines])


def published_numbers() -> str:
    """Return the numbers that were read in the authors' own repositories, as a table, under their papers."""
    lines = ["| method | data | network | top-1, % | top-5, % | epochs (read in) | paper, code | note |"]
    lines.append("|:--|:--|:--|--:|--:|:--|:--|:--|")
    for p in published.numbers():
        if p.certainty != "readme":
            continue
        paper = published.papers()[p.paper]
        note = "; ".join(t for t in (p.note, "" if p.built else "not built here") if t)
        cells = [
            f"`{p.label}`",
            published.data_sets()[p.data].title,
            f"`{p.network_text}`",
            f"{p.top1:g}",
            f"{p.top5:g}" if p.top5 else "–",
        ]
        cells += [
            p.told_epochs,
            f"[{paper.short}]({paper.link}), [{paper.repository}]({paper.code}) {paper.commit}",
            note,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def costs() -> str:
    """Return the cost of each method in one topology, and of one method in each topology."""
    methods = []
    for name in registry.files("method"):
        net = networks.build(
            networks.choose(name), "resnet20", 10, 32, [0.5] * 3, [0.5] * 3, lambda name: torch.Generator()
        )
        cost = networks.cost(net, 32)
        row = [cost.macs - cost.binary_macs, cost.binary_macs, cost.ops, networks.memory_bits(net) / 1e6]
        methods.append([f"`{name}`", *(f"{v:.3e}" for v in row[:3]), f"{row[3]:.3f}"])
    topologies = []
    for backbone, size, classes in TOPOLOGIES:
        with torch.device("meta"):
            body = networks.body(networks.choose("bnn"), backbone, classes, size)
        cost = networks.cost(networks.Network(body, [0.0] * 3, [1.0] * 3).to("meta"), size)
        row = [cost.macs - cost.binary_macs, cost.binary_macs, cost.ops]
        topologies.append([f"`{backbone}`", f"{size}", f"{classes}", *(f"{v:.3e}" for v in row)])
    return "\n\n".join(
        [
            "Multiply-accumulates of convolutions and linear layers for one image; operations are the real ones and 1/64 of "
            "the binary ones. Memory: one bit a binary weight, 32 bits each other number that inference needs (batch norm's "
            "four a channel, scales, offsets, thresholds). ResNet-20, 10 classes, 32 px:",
            table(("method", "real", "binary", "operations", "memory, Mbit"), methods),
            "The same for BNN by topology; the forms of one ResNet-18 differ by 1.6 in operations:",
            table(("backbone", "px", "classes", "real", "binary", "operations"), topologies),
        ]
    )


def prices() -> str:
    """Return the price of a training step of each method and regularizer, as last measured."""
    path = DOCS / "step_prices.csv"
    found = pd.read_csv(path, comment="#")
    command = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")

    def cell(row: pd.Series, base: str) -> str:
        return "" if pd.isna(row[base]) else f"{row[base]:.2f} [{row[f'{base}_low']:.2f}, {row[f'{base}_high']:.2f}]"

    rows = []
    for _, r in found.iterrows():
        limit = "" if pd.isna(r.limit) else f"{r.limit}"
        times = [f"{r.microseconds:,.0f}", f"{r.full_precision_microseconds:,.0f}"]
        ratios = [cell(r, "full_precision"), cell(r, "own_base")]
        rows.append([f"`{r['method']}`", *ratios, limit, *times, r.measured])
    heads = ("method", "over full precision", "over its method", "at most", "us", "us in full precision", "measured")
    return "\n\n".join(
        [
            "CPU time of one training step over that of the full-precision step of the same backbone, and over that of the "
            "method without the regularizer: median and quartiles over interleaved rounds. ResNet-20, 32 px, batch 128, "
            "channels last, float32, one thread, halfway through the training. `lcr_fixed:cache=true` is priced over six "
            "epochs, the first of which fills its cache. `lcr_released` runs the student twice and a teacher once, as the "
            "released code does.",
            f"{command}.",
            table(heads, rows),
            "The latest rows were measured beside other work, which kept both cores busy. Rows of 07:31 with `irnet` are "
            "older than its present step, which takes 1.2 times the full-precision step and took 1.35 then: their ratio "
            "over full precision is about a tenth too large, that over `irnet` holds.",
            FIRST_VERSION,
            "The step of `irnet` and of what builds on it is this cheap up to t = 0.2, the first 57 % of a training; "
            "above that it takes a hyperbolic tangent of each activation, which makes the step about a tenth longer.",
            "LCR adds some 105 ms to a step: matrices, power iterations and projections 55, gradients by activation 20, "
            "pools 7, small tensors 12, and the sum with the other gradients. Its loops (`models/compiled/retained.py`) "
            "work image by image, so that an activation is read from memory once, and add up in the order of torch's "
            "operations. They are compared with torch once for each shape, and torch does the work where a bit differs.",
        ]
    )


def page() -> str:
    """Return the whole page."""
    parts = [
        "# Methods, regularizers and backbones",
        "A method says how weights and activations become signs, and what stands for the derivative of the sign. A "
        "regularizer is a term of the loss that any method can have. A backbone is the topology that both are put into. "
        "`irnet+lcr` on `resnet20` is one of each: `lcrbench run quick --methods irnet+lcr --backbone resnet20`.",
        "Begin with the tables below: each name leads to its formula, its gradient, where it deviates from its paper, and "
        "its options. What a network and a training step cost, what was [left out](#left-out) and why, and what the authors "
        "published stand [at the end](#costs).",
        "`lcrbench show method NAME` shows an entry on a terminal. This page is written by `python "
        "tools/make_methods_page.py` from the docstrings and the code: change those.",
        *(f"**{title}**\n\n{overview(kind)}" for kind, title in KINDS),
        "## Notation",
        "x is a layer's input (N, C_in, H, W), w its latent weight (C_out, C_in, k, k), sign(0) = +1, S the sign "
        "as training sees it and dS/dx what stands for its derivative, g an upstream gradient. In the figures, values are "
        "above and the slopes that train through them below, by progress of the training where they follow a schedule; w is "
        "standardized where the method does so, and without its scale.",
    ]
    for kind, title in KINDS:
        parts.append(f"## {title}")
        parts += [section(kind, name) for name in registry.files(kind)]
    parts += ["## Costs", costs(), "## What a training step costs", prices()]
    secondary = sum(p.certainty != "readme" for p in published.numbers())
    parts += [
        "## Left out",
        "\n".join([LEFT_OUT[0], "", *LEFT_OUT[1:]]),
        "## Published numbers",
        "What the methods' authors report in their own repositories. Budgets (400 to 2000 epochs) and topologies differ, so "
        "these are no baselines for a run of this suite. A report prints one beside ours only where the method's form, the "
        "topology and the data are the same, data by the hash of the official files, and where no note tells of something "
        f"that no record proves. `reports/published.json` holds {secondary} more that were read elsewhere: they are "
        "not verified, and never printed as published.",
        published_numbers(),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    for name in registry.files("method"):
        draw(name)
    (DOCS / "methods.md").write_text(page(), encoding="utf-8")
