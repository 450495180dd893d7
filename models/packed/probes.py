"""What torch computes on this machine, found by asking it: thresholds of signs, batch norms, means of an image."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench import registry
from lcrbench.models.api import Sign
from lcrbench.models.methods import ovsw, recu
from lcrbench.models.methods.adabin import AdaptiveSign
from lcrbench.models.methods.dorefa import UnitSign
from lcrbench.models.methods.rbnn import CentredSign
from lcrbench.models.methods.reactnet import RSign
from lcrbench.models.methods.siman import StandardizedSign
from lcrbench.models.packed.graph import Refused

Rule = Literal["channel", "mean"]

BY_CHANNEL = (AdaptiveSign, UnitSign, RSign, recu.ScaledSign, ovsw.ScaledSign)
BY_MEAN = (CentredSign, StandardizedSign)


def rule(sign: Sign) -> Rule:
    """Return what a sign compares its input with at inference: a threshold of each channel, or the image's mean.

    Raises `Refused` for a sign that is not known.
    """
    kind = type(sign)
    if kind in BY_MEAN:
        return "mean"
    if kind in BY_CHANNEL or kind in _estimators():
        return "channel"
    raise Refused(f"the sign {kind.__name__} is not known")


@functools.lru_cache(maxsize=1)
def _estimators() -> frozenset[type]:
    """Return the estimators of ours, whose forward pass is sign(x)."""
    return frozenset(registry.load("estimator", name).Estimator for name in registry.files("estimator"))


def thresholds(sign: Sign, channels: int) -> tuple[np.ndarray, bool]:
    """Return t (channels) and whether the sign falls: +1 exactly where x >= t, or, where it falls, where not x >= t.

    t is found by bisection over all finite float32 in order, for each channel, in torch itself: exact for a sign that rises
    or falls. It is infinite where the sign never changes.
    """
    most = int(np.float32(np.finfo(np.float32).max).view(np.int32))
    low, high = np.full(channels, -most, np.int64), np.full(channels, most, np.int64)
    bottom, top = _signs(sign, low), _signs(sign, high)
    falls = bool((bottom & ~top).any())
    if falls and bool((top & ~bottom).any()):
        raise Refused("a sign rises in some channels and falls in others")
    never, always = (bottom == top) & (top == falls), (bottom == top) & (top != falls)
    while bool((high - low > 1).any()):
        middle = (low + high) // 2
        above = _signs(sign, middle) != falls
        high, low = np.where(above, middle, high), np.where(above, low, middle)
    found = _floats(high)
    found[never], found[always] = np.inf, -np.inf
    return found, falls


def _floats(order: np.ndarray) -> np.ndarray:
    """Return the float32 at places of their order: 0 is zero, 1 the least number above it."""
    size = np.abs(order).astype(np.uint32)
    bits = size | np.where(order < 0, np.uint32(1 << 31), np.uint32(0)).astype(np.uint32)
    floats: np.ndarray = bits.view(np.float32)
    return floats


def _signs(sign: Sign, order: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        x = torch.from_numpy(_floats(order)).view(1, -1, 1, 1)
        positive: np.ndarray = sign(x).numpy().reshape(-1) > 0
    return positive


def affine(norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Return alpha and beta (C) of y = alpha x + beta, as torch rounds them."""
    assert norm.running_mean is not None
    channels = norm.num_features
    without = copy.deepcopy(norm)
    with torch.inference_mode():
        zero = torch.zeros(1, channels, 1, 1)
        beta = norm(zero).numpy().reshape(-1).copy()
        without.running_mean = torch.zeros(channels)
        if without.bias is not None:
            without.bias = nn.Parameter(torch.zeros(channels), requires_grad=False)
        alpha = without(zero + 1).numpy().reshape(-1).copy()
    return alpha, beta


def agrees(
    modules: list[nn.Module], values: np.ndarray, compute: Callable[[np.ndarray], np.ndarray], *, single: bool
) -> bool:
    """Tell whether modules give, for values (n, C) in each channel, what `compute` gives, to the bit.

    `single` for maps of one position, for which torch has code of its own.
    """
    x = torch.from_numpy(values)
    with torch.inference_mode():
        y: Tensor = x.view(*x.shape, 1, 1) if single else x.view(1, len(x), 1, -1).permute(0, 3, 1, 2)
        for module in modules:
            y = module(y)
        wanted = y.flatten(1) if single else y.permute(0, 2, 3, 1)
    return np.array_equal(wanted.numpy().reshape(values.shape), compute(values))


def mean_is_known(channels: int, height: int, width: int, compute: Callable[[np.ndarray], float]) -> bool:
    """Tell whether torch adds up images of a shape in the order that `compute` (H W C numbers to their mean) does."""
    random = np.random.default_rng(0)
    x = np.exp(4 * random.standard_normal((4, height, width, channels))).astype(np.float32)
    x *= random.choice(np.array([-1, 1], np.float32), x.shape)
    means = torch.from_numpy(x).permute(0, 3, 1, 2).mean(dim=(1, 2, 3), keepdim=True).flatten().numpy()
    return all(float(mean) == compute(image.reshape(-1)) for mean, image in zip(means, x, strict=True))
