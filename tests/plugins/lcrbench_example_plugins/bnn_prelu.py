"""BNN with a PReLU at the end of each block in place of Hardtanh."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lcrbench.models.methods import bnn


@dataclass(frozen=True)
class Method(bnn.Method):
    """Options: `slope`, the first one for negative values; it is trained."""

    slope: float = 0.25

    def activation(self, channels: int) -> nn.Module:
        """Return a PReLU with one slope a channel."""
        return nn.PReLU(channels, init=self.slope)
