"""One binary convolution between a real stem and a linear head: the smallest network that a method has a part in."""

from __future__ import annotations

from torch import Tensor, nn

from lcrbench.models.api import Backbone, Method, ordered


class Body(Backbone):
    """Normalized images (N, 3, size, size) to logits (N, classes); it names no stages."""

    def __init__(self, method: Method, classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width))
        self.block = nn.Sequential(*ordered(method, method.conv(width, width, 3, 1, 1), width))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.block(self.stem(x)))
        return logits


def build(method: Method, classes: int, size: int, *, width: int = 8) -> Backbone:
    """Return the body for images of any size."""
    return Body(method, classes, width)
