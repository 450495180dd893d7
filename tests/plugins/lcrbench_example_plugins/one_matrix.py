"""A network that is one matrix, called "weight", in a file of torch tensors."""

from __future__ import annotations

from torch import Tensor, nn

from lcrbench.bench.networks.loaded import Loaded
from lcrbench.bench.networks.name import Name
from lcrbench.bench.networks.weights import read


class Matrix(nn.Module):
    """Logits (N, classes) from images (N, C, H, W), by one matrix."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return images.flatten(1) @ self.weight.T


def load_network(name: Name) -> Loaded:
    """Return the matrix in the file `name.what` as a network."""
    return Loaded(Matrix(read(name.what)["weight"]).eval(), "matrix", modules=(__name__,))
