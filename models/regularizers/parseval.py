"""Parseval penalty: filters of a layer are driven toward an orthonormal set.

Cisse, Bojanowski, Grave, Dauphin, Usunier 2017, "Parseval Networks", arXiv 1704.08847, as a term of the loss. For the binary
layers with weights as matrices W (C_out, n), n = C_in k k,

    loss = weight / 2 * sum_layers || W W^T - I ||_F^2

of = "binary": W = b / sqrt(n), the signs with rows of length 1, by the method's own estimator: what is left of the penalty
is that filters be uncorrelated; of = "latent": the latent weights. Where C_out > n it cannot vanish. Deviation: the paper
takes one gradient step of the penalty on a sample of rows after each update.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.regularizers.spectral_penalty import WeightTerm


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight`, `of` ("binary" or "latent")."""

    weight: float = 1e-3
    of: str = "binary"

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError("needs weight >= 0")
        if self.of not in ("binary", "latent"):
            raise ValueError(f"of is 'binary' or 'latent', not '{self.of}'")

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> WeightTerm:
        """Return the term; raises `ValueError` if the network has no binary convolution."""
        of = "signs" if self.of == "binary" else self.of
        return WeightTerm(network, self.weight, of, penalty)


def penalty(w: Tensor) -> Tensor:
    """Return half the squared Frobenius norm of W W^T - I."""
    return 0.5 * (w @ w.T - torch.eye(len(w), dtype=w.dtype, device=w.device)).square().sum()
