"""Spectral normalization of the binary weights: each layer's filters are divided by their spectral norm.

Miyato, Kataoka, Koyama, Yoshida 2018, "Spectral Normalization for GANs", arXiv 1802.05957, on what the signs stand for. For
a layer with deployed weights W = alpha b + beta as a matrix (C_out, C_in k k),

    W' = W / sigma^weight,    sigma = u^T W v, by one normalized power iteration a training step from a kept u

weight is the exponent: 1 is spectral normalization, 0 leaves the method as it is. Signs stay signs, since only alpha and
beta change; sigma is differentiated with u and v held fixed. On the latent weights the same division would change no sign
at all. A batch norm after the layer takes the division back: what remains is an effect on its epsilon and on gradients,
which is one way in which such a regularizer collapses on binary networks. It is here as an honest comparator. Deviation: the
paper divides the latent weights of real layers, by the first power of sigma.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d, binary_layers


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight`, the exponent of sigma."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError("needs weight >= 0")

    def prepare(self, body: nn.Module) -> None:
        """Put the division into every binary layer."""
        layers = binary_layers(body).values()
        if not layers:
            raise ValueError("spectral_norm needs binary convolutions, and this method makes none")
        if self.weight > 0:
            for layer in layers:
                layer.binarizer = Divided(layer.binarizer, layer.out_channels, self.weight)

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> Term:
        """Watch the network's divisions."""
        return Term(self, network)


class Divided(api.Binarizer):
    """A binarizer whose scale and offset are divided by the spectral norm of what it makes."""

    def __init__(self, inner: api.Binarizer, channels: int, power: float) -> None:
        super().__init__()
        self.inner, self.power = inner, power
        self.u: Tensor
        self.register_buffer("u", F.normalize(torch.ones(channels), dim=0))

    @property
    def binary(self) -> bool:
        """Return what the inner binarizer does."""
        return self.inner.binary

    def start(self, weight: Tensor) -> None:
        """Start the inner binarizer, and the iteration at the signs' own first singular vector."""
        self.inner.start(weight)
        with torch.no_grad():
            matrix = self._matrix(weight)
            for _ in range(200):
                self._turn(matrix)

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs, and the scale over sigma^power; in training the iteration goes one step on."""
        bits, scale = self.inner(weight)
        scale = torch.ones(1, dtype=bits.dtype, device=bits.device) if scale is None else scale
        matrix = self._matrix(weight)
        if self.training:
            with torch.no_grad():
                self._turn(matrix)
        return bits, scale / self.sigma(matrix) ** self.power

    def offset(self, weight: Tensor) -> Tensor | None:
        """Return beta over sigma^power, or None."""
        beta = self.inner.offset(weight)
        return None if beta is None else beta / self.sigma(self._matrix(weight)) ** self.power

    def sigma(self, matrix: Tensor) -> Tensor:
        """Return u^T W v for the kept u and the v that belongs to it."""
        with torch.no_grad():
            v = F.normalize(matrix.T @ self.u, dim=0, eps=1e-30)
        return (self.u @ (matrix @ v)).clamp_min(1e-12)

    def _matrix(self, weight: Tensor) -> Tensor:
        bits, scale = self.inner(weight)
        matrix: Tensor = bits.reshape(len(weight), -1)
        matrix = matrix if scale is None else matrix * scale.unsqueeze(1)
        beta = self.inner.offset(weight)
        return matrix if beta is None else matrix + beta.unsqueeze(1)

    def _turn(self, matrix: Tensor) -> None:
        # A new tensor: the old one belongs to the graph of the step before.
        v = F.normalize(matrix.T @ self.u, dim=0, eps=1e-30)
        self.u = F.normalize(matrix @ v, dim=0, eps=1e-30)


class Term(api.Term):
    """Nothing to add to the loss: the network itself is changed."""

    capturable = True

    def __init__(self, options: Regularizer, network: nn.Module) -> None:
        self.options = options
        self.layers: list[BinaryConv2d] = list(binary_layers(network).values())
        self.measure = False

    def loss(self, context: api.Context) -> None:
        """Return None, after noting whether figures are asked for."""
        self.measure = context.measure

    def figures(self) -> dict[str, float]:
        """Return the weight, and the spectral norm of each layer's deployed weights before the division."""
        found = {"weight": self.options.weight}
        if self.measure and self.options.weight > 0:
            with torch.no_grad():
                for k, layer in enumerate(self.layers, start=1):
                    assert isinstance(layer.binarizer, Divided)
                    found[f"sigma.{k}"] = float(layer.binarizer.sigma(layer.binarizer._matrix(layer.weight)))
        return found
