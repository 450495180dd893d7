"""The end that the ResNets and the smallest VGG share: global average pooling, [batch norm] and a real linear layer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class GlobalPool(nn.AdaptiveAvgPool2d):
    """The mean of each map, (N, C, H, W) to (N, C, 1, 1), whose gradient keeps channels_last.

    That of `AdaptiveAvgPool2d` does not, and would run through every block with an identity shortcut below it: each batch
    norm's backward pass then takes several times as long.
    """

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        return F.avg_pool2d(x, (x.shape[2], x.shape[3]))


def head(channels: int, classes: int, *, norm: bool) -> nn.Sequential:
    """Return the way from the last block's output (N, C, H, W) to the logits (N, classes)."""
    norms = [nn.BatchNorm1d(channels)] if norm else []
    return nn.Sequential(GlobalPool(), nn.Flatten(), *norms, nn.Linear(channels, classes))
