"""Passes through networks whose code may be anybody's: whatever a forward does, what comes back is a gradient or None.

A forward may write into its input, set `requires_grad` or ask for numpy's numbers, view its input as one block of memory,
make tensors of its own type, or turn gradients off; a backward may raise, give NaN, or need more memory than there is. None
of this is the measurement's business, as long as the network gives logits: where no gradient comes back, it says so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from lcrbench.bench.evaluation.inference import forward, lacks_memory
from lcrbench.errors import NotMeasurable

T = TypeVar("T")
BLIND = "no gradient comes back from the network: it makes numbers of its own on the way, or turns gradients off"


class Differentiated(NamedTuple):
    """The outputs of a pass, and the leaf that they may be differentiated by; `leaf` None where they cannot be."""

    out: Tensor
    leaf: Tensor | None


def differentiated(network: nn.Module, points: Tensor) -> Differentiated:
    """Run a network on points (N, C, H, W) such that its outputs can be differentiated by them, where they can at all.

    The network sees a copy of the leaf, so that it may write into it; the leaf itself where it insists on one; and points
    without a gradient where it takes none. Raises `NotMeasurable` for points that it does not take either way, and its lack
    of memory.
    """
    leaf = points.detach().requires_grad_()
    with torch.enable_grad():
        for copied in (True, False):
            try:
                out = forward(network, leaf.clone() if copied else leaf)
            except Exception as error:  # their code may raise anything
                if lacks_memory(error):
                    raise
                continue
            return Differentiated(out, leaf if out.requires_grad and leaf.requires_grad else None)
    with torch.no_grad():
        return Differentiated(ran(network, points.detach().clone()), None)


def ran(network: nn.Module, points: Tensor) -> Tensor:
    """Return a network's outputs for points. Raises `NotMeasurable` where it does not take them, and its lack of memory."""
    try:
        return forward(network, points)
    except Exception as error:  # their code may raise anything
        if lacks_memory(error):
            raise
        first = str(error).partition("\n")[0]
        raise NotMeasurable(f"the network does not take images {tuple(points.shape)}: {first}") from error


def gradient(of: Differentiated, u: Tensor) -> Tensor | None:
    """Return the gradient of sum u * out with respect to the points; None where none comes back.

    NaN and infinite parts are 0, as in a gradient that leads nowhere.
    """
    if of.leaf is None:
        return None
    try:
        (found,) = torch.autograd.grad(of.out, of.leaf, u, retain_graph=True, allow_unused=True)
    except Exception as error:  # a backward may raise anything
        if lacks_memory(error):
            raise
        return None
    return None if found is None else found.nan_to_num(0.0, 0.0, 0.0)


def need_gradient(network: nn.Module, points: Tensor, device: str = "cpu") -> None:
    """Raise `NotMeasurable` unless a gradient comes back from a network at some of these points, were it all zeros."""

    def missing(part: Tensor) -> bool:
        of = differentiated(network, part.to(device))
        return gradient(of, torch.ones_like(of.out)) is None

    if all(in_parts(missing, points)):
        raise NotMeasurable(BLIND)


def in_parts(call: Callable[[Tensor], T], points: Tensor) -> list[T]:
    """Return what `call` gives for all points at once or, where memory does not suffice, for halves of them, in order.

    Raises `NotMeasurable` where it does not suffice for one.
    """
    try:
        return [call(points)]
    except Exception as error:
        if not lacks_memory(error):
            raise
        if len(points) == 1:
            raise NotMeasurable(f"memory does not suffice for a pass of one image: {error}") from error
    half = len(points) // 2
    return [*in_parts(call, points[:half]), *in_parts(call, points[half:])]


def in_float64(network: nn.Module, points: Tensor) -> tuple[nn.Module, Tensor]:
    """Return a copy of a network in float64 with points to match; where there is none that runs, both as they are."""
    try:
        double = copy.deepcopy(network).double().eval()
        with torch.no_grad():
            forward(double, points.double())
    except Exception:  # copying and converting run their code
        return network, points
    return double, points.double()
