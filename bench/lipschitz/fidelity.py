"""How faithful the retention-matrix proxy is: next to operator norms, and under changes that it should or should not see.

Between the inputs F_l of consecutive binary layers of a network, with the retention matrix R of each image
(models/retention.py), two forms of the proxy:

    p1        sqrt( ||R R^T 1||_2 ): one power step from a vector of ones that is not normalized, as LCR's released code
              has it (42Shawn/LCR_BNN); neither an upper nor a lower bound of sigma_1, at most sigma_1 C^(1/4)
    sigma_1   ||R||_2, exact

Neither is a Lipschitz constant: activations are bounded by hardtanh, so sigma_1 saturates, at most sqrt(C_in C_out),
whatever the weights do. The two probes show it, pass or fail:

    batch-norm gain     all layers' scale and shift times 4: the operator norms grow fourfold; a proxy that grows by less
                        than twofold is blind to them
    channel sign flip   the signs of channels turned, with what they feed turned too: the network's function and its
                        operator norms are the same; a proxy that moves by more than 1 % measures the signs' pattern
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor, nn

from lcrbench.bench.lipschitz.intervals import RESAMPLES
from lcrbench.bench.seeds import generator
from lcrbench.bench.stats import LEVEL, Interval
from lcrbench.errors import UserError
from lcrbench.models.binary import path_layers
from lcrbench.models.retention import retention_matrix

LEAST = 8
"""Fewest points that a correlation is computed from."""


def p1(matrices: Tensor) -> Tensor:
    """Return the released form of the proxy of matrices (N, p, q): sqrt of ||R R^T 1||_2 (N)."""
    ones = torch.ones(matrices.shape[1], 1, dtype=matrices.dtype, device=matrices.device)
    found: Tensor = torch.linalg.vector_norm(matrices @ (matrices.mT @ ones), dim=(1, 2)).sqrt()
    return found


def sigma_1(matrices: Tensor) -> Tensor:
    """Return the largest singular value of matrices (N, p, q), exact (N)."""
    top: Tensor = torch.linalg.matrix_norm(matrices, ord=2)
    return top


PROXIES: dict[str, Callable[[Tensor], Tensor]] = {"p1": p1, "sigma_1": sigma_1}


@torch.no_grad()
def retention(network: nn.Module, points: Tensor) -> dict[str, Tensor]:
    """Return for each binary layer but the last the retention matrices (N, C_in, C_out) from its input to the next one's.

    Raises `UserError` for a network with fewer than two binary layers in a row.
    """
    layers = path_layers(network)
    if len(layers) < 2:
        raise UserError("the retention proxy is about consecutive binary layers, and the network has not two of them")
    kept: dict[str, Tensor] = {}
    handles: list[Any] = []
    for name, layer in layers.items():

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
            kept[name] = inputs[0].double()

        handles.append(layer.register_forward_pre_hook(keep))
    try:
        network(points)
    finally:
        for handle in handles:
            handle.remove()
    return {a: retention_matrix(kept[a], kept[b]) for a, b in pairwise(layers)}


def correlation(proxy: ArrayLike, truth: ArrayLike) -> Interval:
    """Return Spearman's correlation over layers, seeds or methods with its percentile bootstrap interval.

    Raises `UserError` for fewer than 8 points: a correlation of so few says nothing.
    """
    pairs = np.column_stack([np.asarray(proxy, dtype=np.float64), np.asarray(truth, dtype=np.float64)])
    n = len(pairs)
    if n < LEAST:
        raise UserError(f"a correlation needs at least {LEAST} points, not {n}: measure more layers, seeds or methods")
    if (np.ptp(pairs, axis=0) == 0).any():
        return Interval(float("nan"), None, None, n, "")

    def spearman(rows: np.ndarray) -> float:
        a, b = (stats.rankdata(column) for column in rows.T)
        a, b = a - a.mean(), b - b.mean()
        norm = np.sqrt((a @ a) * (b @ b))
        return float(a @ b / norm) if norm else float("nan")

    draws = generator(0, "correlation", n).integers(0, n, size=(RESAMPLES, n))
    # A resample of one point alone has no correlation; so few are left out.
    drawn = np.array([v for v in (spearman(pairs[rows]) for rows in draws) if np.isfinite(v)])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(spearman(pairs), float(low), float(high), n, "bootstrap over points 95 %")


@dataclass(frozen=True)
class Probe:
    """What a change of the network does to a proxy: the ratio after to before, what it should be, and the verdict."""

    name: str
    proxy: str
    ratio: float
    expected: float
    passed: bool


@torch.no_grad()
def probes(network: nn.Module, points: Tensor, gain: float = 4.0) -> list[Probe]:
    """Return both probes for both proxies, each as the layer that moved least (gain) or most (sign flip)."""
    before = retention(network, points)
    louder = copy.deepcopy(network)
    for module in louder.modules():
        if isinstance(module, nn.BatchNorm2d) and module.weight is not None:
            module.weight.mul_(gain)
            module.bias.mul_(gain)
    after = retention(louder, points)
    found = []
    for name, proxy in PROXIES.items():
        ratios = [float(proxy(after[k]).mean() / proxy(before[k]).mean()) for k in before]
        least = min(ratios)
        found.append(Probe("batch-norm gain", name, least, gain, least >= gain / 2))
    for name, proxy in PROXIES.items():
        turned = []
        for k, (layer, m) in enumerate(before.items()):
            flips = generator(0, "sign flip", k).choice([-1.0, 1.0], m.shape[1])
            # Sign and hardtanh are odd: turned channels with turned weights leave the function, and turn rows of R.
            other = m * torch.from_numpy(flips).to(m).view(1, -1, 1)
            turned.append(float(proxy(other).mean() / proxy(before[layer]).mean()))
        worst = max(turned, key=lambda r: abs(np.log(r)))
        found.append(Probe("channel sign flip", name, worst, 1.0, abs(worst - 1) <= 0.01))
    return found
