"""Exact facts about the first layer of signs, each of which turns at a threshold of one affine function of the image.

From the image to the first signs there are the normalization, a convolution, a batch norm, an activation and whatever a
method puts before its sign, such as a shift. With z_i(x) the batch norm's output at unit i (the convolution's, where the
activation comes before the batch norm), affine in the image, the first sign of the unit is a function of z_i alone that
turns once, at tau_i (hardtanh and sign: 0; shifts move it). So

    t_i(x) = |z_i(x) - tau_i| / ||grad z_i||_q      1/p + 1/q = 1

is the l_p distance from x to the flip of unit i: no perturbation shorter than t_i flips it, and there are longer ones, as
little as you like, that do (the walls of the box may forbid them: within the box t_i is a lower bound). A sign that never
turns, behind a hardtanh whose end lies below the threshold say, has tau_i and t_i infinite. So

    R_stable(x) = min_i t_i        the radius within which no first sign changes
    N_flip(x; eps) = #{ i : t_i <= eps }      how many can flip, each on its own, within eps

The thresholds are not derived but found, by bisection of the network's own modules in float64, and tried: with every unit
close to its threshold or far from it, at random, each sign must be what its own threshold says.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.errors import UserError
from lcrbench.models.binary import BinaryConv2d, binary_layers
from lcrbench.models.network import Network
from lcrbench.models.spectral import norm_scale

LARGEST = 1e6
"""Largest |z| at which a sign is looked for."""

TRIES = 8
"""How many random maps the thresholds are tried on."""


@dataclass(frozen=True)
class FirstLayer:
    """Distances t (n, units) in pixel units, l2 and linf, of the units that stand behind the stem's convolution."""

    layer: str
    l2: np.ndarray
    linf: np.ndarray


@torch.no_grad()
def distances(network: nn.Module, points: Tensor) -> FirstLayer:
    """Return the distance of each image to the flip of each unit of the first signs, for points (n, 3, H, W) in [0, 1].

    Infinite for a unit whose sign never turns for |z| <= 1e6, or does not see the image. In evaluation mode, in float64.
    Raises `UserError` unless the stem is a convolution, a batch norm and, before or behind it or not at all, an activation,
    which feed the first binary layer, the activation is monotone, and the sign of each unit depends on that unit alone and
    turns at most once.
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
    behind = [type(m) for m in parts[1:]]
    pooled = any(issubclass(kind, (nn.MaxPool2d, nn.AvgPool2d)) for kind in behind)
    one_norm = behind.count(nn.BatchNorm2d) == 1 and len(behind) <= 2
    if not isinstance(stem, nn.Sequential) or type(parts[0]) is not nn.Conv2d or not one_norm or pooled:
        raise UserError(
            "first-layer distances need a stem of convolution, batch norm and activation before the first signs"
        )
    conv, *rest = parts
    # What is affine in the image: the convolution, and the batch norm if it comes next.
    norm = rest.pop(0) if behind[0] is nn.BatchNorm2d else None
    activation = rest[0] if len(rest) == 1 else nn.Sequential(*rest)
    if conv.dilation != (1, 1) or conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise UserError(
            "first-layer distances need a stem's convolution with zero padding given as numbers, no dilation and one group"
        )
    ones = torch.ones(conv.out_channels, dtype=torch.float64)
    scale = (ones if norm is None else norm_scale(norm)).to(conv.weight.device)
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    x = points.double().to(weight.device)
    # A module from elsewhere may normalize nothing; if it does otherwise, the path is refused below.
    mean, std = (
        (network.mean, network.std) if isinstance(network, Network) else (torch.zeros(1).to(x), torch.ones(1).to(x))
    )
    weight = weight / std
    bias = 0 * scale if norm is None else -norm.running_mean * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    if norm is not None and norm.bias is not None:
        bias = bias + norm.bias
    # Zero padding comes after the normalization: beyond the border stands the mean image.
    z = nn.functional.conv2d(x - mean, weight, None, conv.stride, conv.padding) + bias.view(1, -1, 1, 1)
    _check_path(network, norm or conv, stem, first, x[:1], z[:1])
    tau = _thresholds(activation, first.sign, z[:1])
    # At the border a unit sees fewer pixels: the norm of its gradient is that of the taps inside.
    inside = torch.ones(1, 1, *x.shape[2:], dtype=torch.float64, device=weight.device)

    def reach(taps: Tensor) -> Tensor:
        return nn.functional.conv2d(inside, taps.sum(1, keepdim=True), None, conv.stride, conv.padding)

    l2, linf = reach(weight.square()).sqrt(), reach(weight.abs())
    found = [torch.where(g > 0, (z - tau).abs() / g, torch.inf).flatten(1).cpu().numpy() for g in (l2, linf)]
    return FirstLayer(name, *found)


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
    if not torch.allclose(seen[affine], z):
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
