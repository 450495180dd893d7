"""Exact facts about the first layer of signs, each of which turns at a threshold of one affine function of the image.

With z_i(x) what unit i sees (`stem`), affine in the image where no pool stands before the signs, and tau_i its threshold
(hardtanh and sign: 0; shifts move it),

    t_i(x) = |z_i(x) - tau_i| / ||grad z_i||_q      1/p + 1/q = 1

is the l_p distance from x to the flip of unit i: no perturbation shorter than t_i flips it, and there are longer ones, as
little as you like, that do (the walls of the box may forbid them: within the box t_i is a lower bound). A sign that never
turns has tau_i and t_i infinite. So

    R_stable(x) = min_i t_i        the radius within which no first sign changes
    N_flip(x; eps) = #{ i : t_i <= eps }      how many can flip, each on its own, within eps
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.bench.lipschitz.stem import read
from lcrbench.errors import UserError


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
    Raises `UserError` where `stem.read` does, and where a pool stands before the first signs.
    """
    stem = read(network, points[:1])
    if stem.pool != (1, 1, 0):
        raise UserError(
            "first-layer distances need a stem of convolution, batch norm and activation before the first signs, and no pool"
        )
    away = (stem.windows(points) - stem.tau).abs()
    found = [torch.where(g > 0, away / g, torch.inf).flatten(1).cpu().numpy() for g in stem.lengths(points.shape[2:])]
    return FirstLayer(stem.layer, *found)
