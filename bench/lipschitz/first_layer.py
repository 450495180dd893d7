"""Exact facts about the first layer of signs, whose inputs are an affine function of the image.

From the image to the first signs there are only the normalization, a convolution and a batch norm in backbones whose stem
has no activation with kinks before the sign; the slope of any hardtanh or ReLU at the image is then a fact about this
image alone. With z_i(x) the number whose sign unit i takes,

    t_i(x) = |z_i(x)| / ||grad z_i||_q      1/p + 1/q = 1

is the l_p distance from x to the flip of unit i, if z is affine: no perturbation shorter than t_i flips it, and one of
length t_i does (the walls of the box may forbid that one: within the box t_i is a lower bound). So

    R_stable(x) = min_i t_i        the radius within which no first sign changes
    N_flip(x; eps) = #{ i : t_i <= eps }      how many can flip, each on its own, within eps
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.errors import UserError
from lcrbench.models.binary import binary_layers
from lcrbench.models.spectral import norm_scale


@dataclass(frozen=True)
class FirstLayer:
    """Distances t (n, units) in pixel units, l2 and linf, of the units that stand behind the stem's convolution."""

    layer: str
    l2: np.ndarray
    linf: np.ndarray


@torch.no_grad()
def distances(network: nn.Module, points: Tensor) -> FirstLayer:
    """Return the distance of each image to the flip of each unit of the first signs, for points (n, 3, H, W) in [0, 1].

    Raises `UserError` if the stem is not a convolution, a batch norm and a hardtanh before a binary layer: only then are
    the numbers that the first signs take affine in the image (hardtanh keeps the sign, and the place where it changes).
    """
    layers = binary_layers(network)
    if not layers:
        raise UserError("the network has no binary layer: first-layer distances are about signs")
    name, first = next(iter(layers.items()))
    stem = next((list(m) for k, m in network.named_modules() if k.rpartition(".")[2] == "stem"), [])
    kinds = [type(m) for m in stem]
    if (
        kinds != [nn.Conv2d, nn.BatchNorm2d, nn.Hardtanh]
        or list(first.sign.children())
        or list(first.sign.parameters())
    ):
        raise UserError("first-layer distances need a stem of convolution, batch norm and hardtanh before plain signs")
    conv, norm = stem[0], stem[1]
    plain = conv.dilation == (1, 1) and conv.groups == 1 and conv.padding_mode == "zeros"
    if not plain or isinstance(conv.padding, str):
        raise UserError(
            "first-layer distances need a stem's convolution with zero padding given as numbers, no dilation and one group"
        )
    scale = norm_scale(norm).to(conv.weight.device)
    weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
    # A module from elsewhere may normalize nothing.
    mean, std = (getattr(network, k, torch.full((1, 1, 1, 1), d)).to(weight) for k, d in (("mean", 0.0), ("std", 1.0)))
    weight = weight / std
    x = points.double().to(weight.device)
    bias = -norm.running_mean.double() * scale
    if conv.bias is not None:
        bias = bias + conv.bias.double() * scale
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    # Zero padding comes after the normalization: beyond the border stands the mean image.
    z = nn.functional.conv2d(x - mean, weight, None, conv.stride, conv.padding) + bias.view(1, -1, 1, 1)
    # At the border a unit sees fewer pixels: the norm of its gradient is that of the taps inside.
    inside = torch.ones(1, 1, *x.shape[2:], dtype=torch.float64, device=weight.device)

    def reach(taps: Tensor) -> Tensor:
        return nn.functional.conv2d(inside, taps.sum(1, keepdim=True), None, conv.stride, conv.padding)

    l2, linf = reach(weight.square()).sqrt(), reach(weight.abs())
    found = [(z.abs() / g.clamp_min(1e-300)).flatten(1).cpu().numpy() for g in (l2, linf)]
    return FirstLayer(name, *found)
