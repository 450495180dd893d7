"""What an operation does to a bound: the value of a node of the graph, and the slopes of pools, signs and products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lcrbench.errors import UserError
from lcrbench.models.api import Estimator
from lcrbench.models.binary import BinaryConv2d, input_levels

SIGNS = (Estimator,)

ARGUMENTS = {
    "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "avg_pool2d": (
        "input",
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    ),
}
"""What the functions of pools take, in order."""


@dataclass
class Value:
    """A node: its bound with respect to the input; and while a batch norm may still be folded, its linear layer.

    Then bound = before * norm(diag(scale) layer diag(taken)) * after, and the channels of the value are those of the layer;
    `taken` is what a batch norm before the layer multiplies its inputs by, None without one.

    Or, with `scale`, what a batch norm behind no layer multiplies each channel (the second axis) by: the value changes by
    diag(scale) u with ||u|| <= `within` times the change of the input. The next layer folds it.
    """

    known: float | None
    shape: tuple[int, ...]
    layer: tuple[str, nn.Module, tuple[int, ...]] | None = None
    before: float = 1.0
    after: float = 1.0
    norm: Callable[[], float] = float
    taken: Tensor | None = None
    scale: Tensor | None = None
    within: float = 1.0

    @classmethod
    def scaled(cls, within: float, scale: Tensor) -> Value:
        """Return a value that a batch norm behind no layer, or what follows it, left with a scale for each channel."""
        return cls(times(within, float(scale.abs().max())), (), scale=scale, within=within)

    @property
    def bound(self) -> float:
        """Return the bound; the norm of a layer is computed only once it is known that no batch norm follows."""
        if self.known is None:
            self.known = times(self.before, self.norm(), self.after)
        return self.known

    @property
    def endless(self) -> bool:
        """Return whether the bound is infinite, without the norm of a layer. The shape may then depend on the image."""
        return math.isinf(self.before if self.known is None else self.known)


def apart(width: float, shape: tuple[int, ...]) -> float:
    """Return the largest l2 distance of two arrays of a shape whose numbers lie within `width` of each other."""
    return width * math.sqrt(math.prod(shape))


def times(*factors: float) -> float:
    """Return a product of bounds and slopes, infinite if one is, also where another is 0."""
    return math.inf if any(map(math.isinf, factors)) else math.prod(factors)


def picks_once(index: Any) -> bool:
    """Return whether an index takes no number twice: it holds numbers, slices, None and Ellipsis, no list and no tensor."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or isinstance(part, (int, slice)) for part in parts)


def through(x: Value, slope: float) -> Value:
    """Carry a value through a map that acts on each channel alone with this slope: a batch norm after it still folds."""
    if x.known is None:
        return Value(None, (), x.layer, x.before, x.after * slope, x.norm, x.taken)
    if x.scale is not None:
        return Value.scaled(times(x.within, slope), x.scale)
    return Value(times(x.bound, slope), ())


def pool_slope(
    name: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    dilation: Any = 1,
    average: bool = False,
    return_indices: bool = False,
) -> float:
    """Return the Lipschitz constant of a pool, largest or average, from above; refuses those for which that is wrong.

    An input enters ceil(k / s)^2 windows, and an output moves no more than its whole window, or the mean of it.
    """
    if one(dilation) != 1:
        raise UserError(f"no bound is known for the dilated pool '{name}'")
    if average and (ceil_mode or divisor_override is not None or (one(padding) and not count_include_pad)):
        raise UserError(f"no bound is known for the average pool '{name}', which does not divide by its whole window")
    kernel = one(kernel_size)
    return -(-kernel // one(stride or kernel)) / (kernel if average else 1)


def one(size: Any) -> int:
    """Return the side of a window. Raises `UserError` for sides that differ."""
    if isinstance(size, (tuple, list)):
        if len(set(size)) != 1:
            raise UserError(f"no bound is known for windows of unequal sides {tuple(size)}")
        size = size[0]
    return int(size)


def level(layer: BinaryConv2d) -> float:
    """Return the largest |a| of the values a s + c that a binary layer's input signs s stand for."""
    levels = input_levels(layer)
    return 1.0 if levels is None else float(torch.as_tensor(levels[0]).detach().double().abs().max())
