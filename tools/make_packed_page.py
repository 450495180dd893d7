"""Writes the table of networks on packed bits in docs/packed.md, and its figure, by evaluating every network both ways.

python tools/make_packed_page.py

It takes minutes. What stands in the page outside the two marks is kept.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from torch import nn

mpl.use("svg")

from matplotlib import pyplot as plt

from lcrbench import registry
from lcrbench.bench.evaluation import inference
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models.packed.engine import Packed, Refused

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- table -->", "<!-- end of the table -->"
SIDE = 16
"""Pixels of the images of the table, few because there are some hundred networks."""
SHORTCUTS = ("pad", "pool-pad", "real", "pool-real", "binary")
GROUPS = {
    "vgg_tiny": ["vgg_tiny"],
    "vgg_small": ["vgg_small"],
    "reactnet_a": ["reactnet_a"],
    **{
        name: [f"{name}:shortcut={shortcut},convs={convs}" for shortcut in SHORTCUTS for convs in (1, 2)]
        for name in ("resnet20", "resnet18", "resnet34")
    },
}
TIMED = (
    ("irnet", "resnet20"),
    ("adabin", "resnet20"),
    ("irnet", "resnet18"),
    ("irnet", "vgg_small"),
    ("irnet", "vgg_tiny"),
)
LIMIT = 1.29e12
"""Binary multiply-accumulates a second of one core at 3.79 GHz: 341 a cycle, see the page."""


def make(method: str, backbone: str, size: int = 32) -> nn.Module:
    """Return an untrained network with batch norms that are not the identity."""
    generator = torch.Generator().manual_seed(0)

    def by_name(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    net = networks.build(networks.choose(method), backbone, 10, size, [0.3] * 3, [0.25] * 3, by_name)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 30, generator=generator)
    return net.to(memory_format=torch.channels_last).eval()


def outcome(method: str, backbone: str) -> str:
    """Return "packed", why the network is refused, or "" where method and backbone make none."""
    try:
        net = make(method, backbone, SIDE)
    except UserError:
        return ""
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    try:
        found = Packed(net, SIDE, SIDE).logits(images)
    except Refused as error:
        return str(error)
    assert found is not None
    assert np.array_equal(found, inference.logits(net, images, 2)), (method, backbone)
    return "packed"


def table() -> str:
    """Return the table and what is refused, as Markdown."""
    methods = [n for n in registry.files("method") if networks.choose(n).method.weight_bits == 1]
    lines = [f"| method | {' | '.join(GROUPS)} |", "|---" * (len(GROUPS) + 1) + "|"]
    all_of, refused = Counter[str](), list[str]()
    for method in methods:
        cells = []
        for backbones in GROUPS.values():
            outcomes = {b: found for b in backbones if (found := outcome(method, b))}
            good = [b for b, found in outcomes.items() if found == "packed"]
            all_of.update(pairs=len(outcomes), packed=len(good))
            refused += [f"- {method} on {b}: {found}" for b, found in outcomes.items() if found != "packed"]
            cells.append("none" if not outcomes else f"{len(good)} of {len(outcomes)}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    share = all_of["packed"] / all_of["pairs"]
    told = f"{all_of['packed']} of {all_of['pairs']} networks are evaluated on packed bits ({share:.0%}), with equal logits."
    why = "\n".join(refused) if refused else "Of the binary methods none is refused."
    real = outcome("full_precision", "resnet20")
    return f"{told}\n\n" + "\n".join(lines) + f"\n\n{why}\n`full_precision` is left to torch: {real}.\n"


def seconds(call: Callable[[], object], rounds: int = 5) -> float:
    """Return the median CPU seconds of a call."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def parts(method: str, backbone: str) -> tuple[dict[str, float], float]:
    """Return the time of each part as a share of torch's whole pass, and the binary operations a second of the kernels."""
    net = make(method, backbone)
    packed = Packed(net, 32, 32)
    images = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8)
    inference.logits(net, images, 100), packed.logits(images)
    whole = seconds(lambda: inference.logits(net, images, 100))
    with torch.inference_mode():
        x = packed._normalized(images)
        assert x is not None
        y = packed._body(x, 100)
        assert y is not None
        normalization = seconds(lambda: packed._normalized(images))
        first = seconds(lambda: packed.plan.graph.first(x))
        body = seconds(lambda: packed._body(x, 100)) - first
        head = seconds(lambda: packed.plan.graph.head(y))
        real = 0.0
        for step in packed.plan.reals:
            given = torch.zeros(100, step.source.channels, step.source.height, step.source.width)
            given = given.contiguous(memory_format=torch.channels_last)
            real += seconds(lambda step=step, given=given: step.module(given))  # type: ignore[misc]
    kernels = max(body - real, 1e-9)
    shares = {
        "normalization": normalization,
        "first convolution (torch)": first,
        "packed blocks": kernels,
        "real shortcuts (torch)": real,
        "head (torch)": head,
    }
    return {name: t / whole for name, t in shares.items()}, networks.cost(net, 32).binary_macs * 100 / kernels


def figure() -> None:
    """Draw the shares of torch's time, and the binary operations a second against the limit."""
    found = {f"{method} {backbone}": parts(method, backbone) for method, backbone in TIMED}
    mpl.rcParams.update({"svg.hashsalt": "lcrbench", "font.size": 9})
    drawing, (left, right) = plt.subplots(
        1, 2, figsize=(9, 2.8), layout="constrained", width_ratios=[3, 2], sharey=True
    )
    start = np.zeros(len(found))
    for part in next(iter(found.values()))[0]:
        widths = np.array([shares[part] for shares, _ in found.values()])
        left.barh(list(found), 100 * widths, left=100 * start, label=part)
        start += widths
    for k, total in enumerate(start):
        left.text(100 * total, k, f"  1/{1 / total:.1f}", va="center")
    left.set(xlabel="% of torch's time for the same images", xlim=(0, 125 * max(start)))
    left.legend(fontsize=7, frameon=False, loc="lower right")
    left.invert_yaxis()
    right.barh(list(found), [rate / 1e12 for _, rate in found.values()], color="#4292c6")
    right.axvline(LIMIT / 1e12, color="black", lw=1)
    right.text(LIMIT / 1e12, -0.55, "limit ", ha="right", va="bottom", fontsize=8)
    right.set(xlabel="$10^{12}$ binary multiply-accumulates/s, one core", xlim=(0, 1.45))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(DOCS / "img" / "packed.svg", metadata={"Date": None})


def main() -> None:
    """Write both."""
    torch.set_num_threads(1)
    page = DOCS / "packed.md"
    text = page.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}\n\n{table()}\n{after}", encoding="utf-8")
    figure()


if __name__ == "__main__":
    main()
