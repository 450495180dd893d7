"""The binary convolution that every 1-bit method is made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class BinaryConv2d(nn.Conv2d):
    """A convolution of signs: y = alpha * conv(sign(x), b), with (b, alpha) from the latent weight w.

    `sign` is the estimator applied to the input; `binarizer` maps w (C_out, C_in, k, k) to signs b of the same shape and a
    scale alpha (C_out) or None for 1. The scale is applied after the convolution, so that it adds up whole numbers of
    at most C_in k^2, which float32 holds exactly: the order of summation, and with it the batch, cannot change a bit.
    Zero padding adds 0, a third value next to -1 and +1 at the border, as in the methods' own code.
    """

    weight_bits = 1
    activation_bits = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        padding: int,
        *,
        sign: nn.Module,
        binarizer: nn.Module,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.sign = sign
        self.binarizer = binarizer

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H', W')."""
        bits, scale = self.binarizer(self.weight)
        y = F.conv2d(self.sign(x), bits, None, self.stride, self.padding)
        return y if scale is None else y * scale.view(1, -1, 1, 1)


def binary_layers(network: nn.Module) -> dict[str, BinaryConv2d]:
    """Return the binary convolutions of a network by name, in the order of their definition, which is that of use."""
    return {name: m for name, m in network.named_modules() if isinstance(m, BinaryConv2d)}
