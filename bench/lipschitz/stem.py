"""What the first signs of a network see: windows of the image, each affine in it, and the threshold at which a sign turns.

From the image to the first signs there are the normalization, a convolution, a batch norm, an activation, a max-pool and
whatever a method puts before its sign, such as a shift. With the windows

    b_v(x) = <W_c, patch_v(x)> + bias       affine in the image: the convolution, and the batch norm if it comes next

the first sign of unit u is a function of the largest of its windows that turns once, at tau_u:

    u is on      max_{v of u} b_v(x) >= tau_u

Without a pool each unit has one window. What stands before a pool may fall instead of rise, for a channel of negative scale:
the windows of that channel are negated, so that the pool's largest is the largest here too. A sign that never turns, behind
a hardtanh whose end lies below the threshold say, has tau infinite.

The thresholds are not derived but found, by bisection of the network's own modules in float64, and tried: with every unit
close to its threshold or far from it, at random, each sign must be what its own threshold says.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.errors import UserError
from lcrbench.models.binary import BinaryConv2d, binary_layers
from lcrbench.models.network import Network
from lcrbench.models.spectral import norm_scale

LARGEST = 1e6
"""Largest |z| at which a sign is looked for."""

TRIES = 8
"""How many random maps the thresholds are tried on."""


@dataclass(frozen=True)
class Stem:
    """Windows W (C, 3, k, k) and bias (C) of normalized images; thresholds (C, h, w); all float64."""

    layer: str
    """the first binary layer"""
    weight: Tensor
    bias: Tensor
    mean: Tensor
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    pool: tuple[int, int, int]
    """kernel, stride and padding of the pool; (1, 1, 0) without one"""
    tau: Tensor

    def windows(self, x: Tensor) -> Tensor:
        """Return b (N, C, H', W') of images (N, 3, H, W). Beyond the border stands the mean image."""
        x = x.to(self.weight) - self.mean
        return F.conv2d(x, self.weight, None, self.stride, self.padding) + self.bias.view(1, -1, 1, 1)

    def of_units(self, windows: Tensor) -> Tensor:
        """Return the windows of each unit (N, C, h w, m), -infinity where a pool looks beyond its map."""
        kernel, stride, padding = self.pool
        n, c = windows.shape[:2]
        padded = F.pad(windows, (padding,) * 4, value=-math.inf).flatten(0, 1)[:, None]
        return F.unfold(padded, kernel, stride=stride).view(n, c, kernel**2, -1).transpose(2, 3)

    def lengths(self, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return ||grad b_v||_2 and ||grad b_v||_1 (1, C, H', W'): at the border a window sees fewer pixels."""
        inside = torch.ones(1, 1, *size).to(self.weight)

        def reach(taps: Tensor) -> Tensor:
            return F.conv2d(inside, taps.sum(1, keepdim=True), None, self.stride, self.padding)

        return reach(self.weight.square()).sqrt(), reach(self.weight.abs())


@torch.no_grad()
def read(network: nn.Module, x: Tensor) -> Stem:
    """Return the stem of a network in evaluation mode; it is tried on one image x (1, 3, H, W) in [0, 1].

    Raises `UserError` unless a stem of a convolution, a batch norm and, at any place behind the convolution or not at all,
    an activation and a max-pool feeds the first binary layer, all are monotone, and the sign of each unit depends on that
    unit alone and turns at most once.
    """
    if not binary_layers(network):
        raise UserError("the network has no binary layer: first-layer distances are about signs")
    try:
        network = copy.deepcopy(network).double().eval()
    except Exception as error:  # copying runs the network's own code
        raise UserError(f"first-layer distances need a network that can be copied: {error}") from error
    name, first = next(iter(binary_layers(network).items()))
    stem = next((m for k, m in network.named_modules() if k.rpartition(".")[2] == "stem"), nn.Sequential())
    parts: list[Any] = list(stem.children())
    pools = [m for m in parts[1:] if isinstance(m, nn.MaxPool2d)]
    behind = [m for m in parts[1:] if m not in pools]
    one_norm = [type(m) for m in behind].count(nn.BatchNorm2d) == 1 and len(behind) <= 2 and len(pools) <= 1
    averaged = any(isinstance(m, nn.AvgPool2d) for m in behind)
    if not isinstance(stem, nn.Sequential) or not one_norm or averaged or type(parts[0]) is not nn.Conv2d:
        raise UserError(
            "first-layer distances need a stem of convolution, batch norm and activation before the first signs"
        )
    conv = parts[0]
    # What is affine in the image: the convolution, and the batch norm if it comes next.
    norm = parts[1] if type(parts[1]) is nn.BatchNorm2d else None
    rest = [m for m in behind if m is not norm]
    if conv.dilation != (1, 1) or conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise UserError(
            "first-layer distances need a stem's convolution with zero padding given as numbers, no dilation and one group"
        )
    scale = torch.ones(conv.out_channels) if norm is None else norm_scale(norm)
    scale = scale.to(conv.weight)
    # A module from elsewhere may normalize nothing; if it does otherwise, the path is refused below.
    mean, std = (network.mean, network.std) if isinstance(network, Network) else (torch.zeros(1), torch.ones(1))
    weight = conv.weight * scale.view(-1, 1, 1, 1) / std.to(scale)
    bias = 0 * scale if norm is None or norm.running_mean is None else -norm.running_mean * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    if norm is not None and norm.bias is not None:
        bias = bias + norm.bias
    before = parts[2 if norm is not None else 1 : parts.index(pools[0])] if pools else []
    try:
        pool, rising = (
            _pool(pools[0], before, conv.out_channels, scale) if pools else ((1, 1, 0), torch.ones_like(scale))
        )
        found = Stem(name, weight, bias, mean.to(scale), conv.stride, conv.padding, pool, torch.zeros(1))
        z = found.windows(x)
        _check_path(network, norm or conv, stem, first, x.to(scale), z)
        like = F.max_pool2d(z, *pool) if pools else z
        tau = _thresholds(rest[0] if len(rest) == 1 else nn.Sequential(*rest), first.sign, like)[0]
    except UserError:
        raise
    except Exception as error:  # an activation's and a sign's own code
        told = str(error).partition("\n")[0]
        raise UserError(f"first-layer distances need a stem that runs alone, in float64: {told}") from error
    turned = rising.view(-1, 1, 1)
    return Stem(
        name, weight * turned[..., None], bias * rising, found.mean, conv.stride, conv.padding, pool, tau * turned
    )


def _pool(
    pool: nn.MaxPool2d, before: list[nn.Module], channels: int, like: Tensor
) -> tuple[tuple[int, int, int], Tensor]:
    """Return a pool's kernel, stride and padding, and +1 or -1 (C) as what stands before it rises or falls."""
    sizes = [(a, a) if isinstance(a, int) else tuple(a) for a in (pool.kernel_size, pool.stride, pool.padding)]
    if any(a != b for a, b in sizes) or pool.dilation not in (1, (1, 1)) or pool.ceil_mode:
        raise UserError("first-layer distances need a stem's pool that is square, without dilation and ceil_mode")
    grid = torch.linspace(-8, 8, 161).to(like).view(-1, 1, 1, 1).expand(-1, channels, 1, 1)
    steps = nn.Sequential(*before)(grid).diff(dim=0)[:, :, 0, 0]
    rises, falls = (steps >= 0).all(0), (steps <= 0).all(0)
    if not bool((rises | falls).all()):
        raise UserError("no first-layer distances: what stands before the stem's pool is not monotone")
    kernel, stride, padding = (int(a) for a, _ in sizes)
    return (kernel, stride, padding), torch.where(rises, 1.0, -1.0).to(like)


def _check_path(
    network: nn.Module, affine: nn.Module, stem: nn.Module, first: BinaryConv2d, x: Tensor, z: Tensor
) -> None:
    """Raise `UserError` unless z is what the stem's affine part gives, and the stem feeds the first signs."""
    seen: dict[nn.Module, Tensor] = {}

    def keep_output(module: nn.Module, given: Any, out: Tensor) -> None:
        seen[module] = out.clone()

    def keep_input(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen[module] = given[0].clone()

    affine.register_forward_hook(keep_output)
    stem.register_forward_hook(keep_output)
    first.register_forward_pre_hook(keep_input)
    try:
        network(x)
    except Exception as error:  # the network's own code
        first_line = str(error).partition("\n")[0]
        raise UserError(f"first-layer distances need a network that runs in float64: {first_line}") from error
    if seen.keys() != {affine, stem, first} or not torch.equal(seen[stem], seen[first]):
        raise UserError("first-layer distances need a stem that feeds the first binary layer, and nothing else")
    if seen[affine].shape != z.shape or not torch.allclose(seen[affine], z):
        raise UserError(
            "first-layer distances need a stem that takes the image itself, normalized as lcrbench's networks are, or not "
            "at all"
        )


def _thresholds(activation: nn.Module, sign: nn.Module, like: Tensor) -> Tensor:
    """Return the number (1, C, H, W) at which each unit's sign turns, infinite where it never does."""
    draw = torch.Generator().manual_seed(0)

    def random() -> Tensor:
        return torch.randn(like.shape, generator=draw, dtype=torch.float64).to(like.device)

    def signs(z: Tensor) -> Tensor:
        out: Tensor = sign(activation(z))
        return out

    for k in range(TRIES):
        z, others = random(), random() > 0
        moved = torch.where(others, z + (-1) ** k * 1e3, z)
        alone, together = signs(z), signs(torch.cat([moved, z]))
        if not (torch.equal(alone[~others], together[:1][~others]) and torch.equal(alone, together[1:])):
            raise UserError(
                f"no first-layer distances: the sign of one unit depends on others ('{type(sign).__name__}' behind "
                f"'{type(activation).__name__}')"
            )
    powers = torch.logspace(-6, math.log10(LARGEST), 49, dtype=torch.float64)
    grid = torch.cat([-powers, torch.linspace(-8, 8, 161, dtype=torch.float64), powers]).sort().values.tolist()
    before = activation(torch.full_like(like, grid[0]))
    bottom = last = sign(before)
    up, down, turns = (torch.zeros_like(like, dtype=torch.int64) for _ in range(3))
    for value in grid[1:]:
        after = activation(torch.full_like(like, value))
        top = sign(after)
        up, down, turns = up + (after > before), down + (after < before), turns + (top != last)
        before, last = after, top
    if (up * down).any():
        raise UserError(
            f"no first-layer distances: the stem's activation '{type(activation).__name__}' is not monotone"
        )
    if (turns > 1).any():
        raise UserError(f"no first-layer distances: a sign of '{type(sign).__name__}' turns more than once")
    low, high = torch.full_like(like, -LARGEST), torch.full_like(like, LARGEST)
    for _ in range(100):
        middle = (low + high) / 2
        turned = signs(middle) == top
        low, high = torch.where(turned, low, middle), torch.where(turned, middle, high)
    tau = torch.where(turns > 0, high, torch.inf)
    # From the threshold on, the sign is that of the largest numbers.
    for _ in range(TRIES):
        near = high + 1e-9 * (1 + high.abs()) * random().sign()
        z = torch.where(random() > 0, near, 1e3 * random())
        if not torch.equal(signs(z), torch.where(z >= tau, top, bottom)):
            raise UserError(f"no first-layer distances: a sign of '{type(sign).__name__}' has no one threshold")
    return tau
