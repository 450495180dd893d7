"""Spectral-norm penalty: the squared spectral norms of the layers' weights, added to the loss.

Yoshida, Miyato 2017, "Spectral Norm Regularization for Improving the Generalizability of Deep Learning", arXiv 1705.10941.
For the binary layers with weights as matrices W (C_out, C_in k k),

    loss = weight / 2 * sum_layers sigma(W)^2,     sigma by `iterations` normalized power iterations

of = "binary": W = alpha b + beta, what the signs stand for, by the method's own estimator; of = "latent": the latent
weights, as in the real networks that the method was made for. The latter only moves magnitudes that the sign discards, the
former scales that a batch norm takes back: on binary networks it is a comparator. Deviation: every step starts its
iteration anew, from the longest row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d, binary_layers, deployed_weight
from lcrbench.models.retention import top_singular_value


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight`, `of` ("binary" or "latent"), `iterations` of the power method."""

    weight: float = 1e-3
    of: str = "binary"
    iterations: int = 5

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and self.iterations >= 1):
            raise ValueError("needs weight >= 0 and iterations >= 1")
        if self.of not in ("binary", "latent"):
            raise ValueError(f"of is 'binary' or 'latent', not '{self.of}'")

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> WeightTerm:
        """Return the term; raises `ValueError` if the network has no binary convolution."""

        def penalty(w: Tensor) -> Tensor:
            return 0.5 * top_singular_value(w.unsqueeze(0), self.iterations).square().sum()

        return WeightTerm(network, self.weight, self.of, penalty)


class WeightTerm(api.Term):
    """A penalty on the weights of the binary layers, each as a matrix (C_out, C_in k k)."""

    capturable = True

    def __init__(self, network: nn.Module, weight: float, of: str, penalty: Callable[[Tensor], Tensor]) -> None:
        self.layers = list(binary_layers(network).values())
        if not self.layers:
            raise ValueError("a penalty on binary weights needs binary convolutions, and this method makes none")
        self.weight, self.of, self.penalty = weight, of, penalty
        self.value: Tensor | None = None

    def loss(self, context: api.Context) -> Tensor | None:
        """Return the weighted penalty; None with weight 0, after measuring if asked to."""
        self.value = None
        if not (self.weight > 0 or context.measure):
            return None
        with torch.set_grad_enabled(self.weight > 0):
            self.value = torch.stack([self.penalty(_matrix(layer, self.of)) for layer in self.layers]).sum()
        return self.weight * self.value if self.weight > 0 else None

    def figures(self) -> dict[str, float]:
        """Return the weight and the unweighted penalty."""
        return {} if self.value is None else {"weight": self.weight, "loss": float(self.value.detach())}


def _matrix(layer: BinaryConv2d, of: str) -> Tensor:
    """Return a layer's latent weights, deployed weights ("binary"), or signs with rows of length 1, as a matrix."""
    if of == "latent":
        return layer.weight.reshape(layer.out_channels, -1)
    if of == "binary":
        return deployed_weight(layer).reshape(layer.out_channels, -1)
    signs = layer.binarize()[0].reshape(layer.out_channels, -1)
    unit: Tensor = signs * float(signs.shape[1]) ** -0.5
    return unit
