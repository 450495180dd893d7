"""Draws a method: its options, and the value and the pseudo-gradient of each of its estimators."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lcrbench import registry
from lcrbench.models.api import Method, Sign
from lcrbench.models.binary import BinaryConv2d, estimator
from lcrbench.models.definitions import definition
from lcrbench.models.estimators import set_progress

PROGRESS = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Curve:
    """An estimator over x: its value, and its pseudo-gradient by progress of the training (one, if it has no schedule)."""

    of: str
    x: tuple[float, ...]
    value: tuple[float, ...]
    slope: dict[float, tuple[float, ...]]


def curves(method: str, end: float = 2.0, points: int = 401) -> list[Curve]:
    """Return the curves of a method's activations and weights; none for a method without binary layers.

    Of what a layer does to its input beforehand, levels are shown; thresholds are at their first values, and standardized
    inputs are taken as they are. A weight's curve is that of the standardized weight, without its scale (biper's is over w
    in units of pi / f); what follows from the weights' distribution follows from that of the points.
    """
    layer = definition("method", method)().conv(2, 2, 3, 1, 1)
    if not isinstance(layer, BinaryConv2d):
        return []
    sign = estimator(layer) if layer.sign.levels() is None else layer.sign
    return [_curve("activation", sign, end, points), _curve("weight", layer.binarizer.drawn(), end, points)]


def estimator_curve(name: str, end: float = 2.0, points: int = 401) -> Curve:
    """Return the curve of a registered estimator with its default options."""
    return _curve(f"estimator {name}", registry.load("estimator", name).Estimator(), end, points)


def options(kind: str, name: str) -> str:
    """Return what a method's or regularizer's options mean, and their defaults."""
    cls = definition(kind, name)
    defaults = ", ".join(f"{f.name}={f.default}" for f in fields(cls))
    return f"{inspect.getdoc(cls)}" + (f"\nDefaults: {defaults}." if defaults else "")


def recipe(method: str) -> str:
    """Return the recipe that a method recommends, with what differs by backbone, under the words that say where it is from.

    Empty for a method that says nothing of one.
    """
    cls = definition("method", method)
    if cls.recipe is Method.recipe:
        return ""
    given = {backbone: cls().recipe(backbone) for backbone in registry.files("backbone")}
    common = Counter(tuple(one.items()) for one in given.values()).most_common(1)[0][0]
    said = str(inspect.getdoc(cls.recipe)).removeprefix("Return ")
    lines = ["Recipe of its paper (`--recipe paper`):", said[:1].upper() + said[1:]]
    if common:
        lines.append(", ".join(f"{k}={v}" for k, v in common))
    for backbone, one in given.items():
        if other := [f"{k}={v}" for k, v in one.items() if (k, v) not in common]:
            lines.append(f"On {backbone}: {', '.join(other)}")
    return "\n".join(lines)


def _curve(of: str, sign: Sign, end: float, points: int) -> Curve:
    x = torch.linspace(-end, end, points, dtype=torch.float64)
    a, c = (float(torch.as_tensor(v).detach()) for v in sign.levels() or (1.0, 0.0))
    sign = sign.double()
    slopes: dict[float, tuple[float, ...]] = {}
    value: Tensor = x
    for progress in PROGRESS:
        set_progress(sign, progress)
        z = x.clone().requires_grad_()
        value = a * sign(z) + c
        (slope,) = torch.autograd.grad(value.sum(), z)
        slopes[progress] = tuple(slope.tolist())
    if len(set(slopes.values())) == 1:
        slopes = {0.0: slopes[0.0]}
    return Curve(of, tuple(x.tolist()), tuple(value.tolist()), slopes)


def text(name: str, width: int = 61, height: int = 9, kind: str = "method") -> str:
    """Return the curves of a method, or that of an estimator, drawn in characters."""
    parts = []
    for curve in curves(name, points=width) if kind == "method" else [estimator_curve(name, points=width)]:
        parts.append(_panel(f"{curve.of}: value", curve.x, curve.value, height))
        for progress, slope in curve.slope.items():
            when = f" at {progress:.0%} of the training" if len(curve.slope) > 1 else ""
            parts.append(_panel(f"{curve.of}: pseudo-gradient{when}", curve.x, slope, height))
    return "\n\n".join(parts)


def _panel(title: str, x: Sequence[float], y: Sequence[float], height: int) -> str:
    low, high = min(0.0, *y), max(0.0, *y)
    high = high if high > low else low + 1
    rows = [round((v - low) / (high - low) * (height - 1)) for v in y]
    zero = round((0 - low) / (high - low) * (height - 1))
    lines = []
    for row in range(height - 1, -1, -1):
        label = {height - 1: f"{high:.3g}", 0: f"{low:.3g}"}.get(row, "0" if row == zero else "")
        cells = "".join("*" if r == row else "-" if row == zero else " " for r in rows)
        lines.append(f"{label:>8} |{cells}".rstrip())
    return "\n".join([title, *lines, f"{'':8}  {x[0]:<8.3g}{'x':^{len(x) - 16}}{x[-1]:>8.3g}"])
