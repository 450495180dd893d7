"""FDA-BNN: the gradient of the sign from the first terms of its Fourier series, filters scaled by their mean magnitude.

Xu, Han, Xu, Tang, Xu, Wang 2021, "Learning Frequency Domain Approximation for Binary Neural Networks", arXiv 2103.00841, in
the form of BiBench's code (htqin/BiBench@5a04a6d, bibench/models/layers/fda.py, `noise_adapt=False`). What the authors
released (mindspore-ai/models, research/cv/FDA-BNN) evaluates a network alone: it has no series, no noise and no training.

    forward:   alpha = mean|w|                             per output channel, held fixed in the gradient
               y = alpha conv(sign(x), sign(w))            x (N, C_in, H, W), w (C_out, C_in, k, k)
    gradient:  dS/dz = 4 omega / pi sum_{i=0}^{n} cos((2 i + 1) omega z) for |z| <= 1, 0 beyond;  z = x and z = w
               n = 9 + floor(9 p), omega = 0.1, p the progress in [0, 1)

Blocks end in Hardtanh, as in BiBench's configurations of it. Deviations: the noise adaptation module is left out. BiBench
adds a (V relu(U z) + 0.1 sin(z)) to sign(z), with a = (1 + cos(pi p)) / 20: convolutions of signs become such of real
numbers until the training ends, of which a binary layer here has none; moreover its U, V of the inputs are made in the first
forward pass and never trained, and U has C_in / 64 rows, none below 64 channels; n is set at each step rather than at each
epoch; BiBench starts from a trained real network (`fda+finetune`), and trains 400 epochs by Adam at 1e-3, or SGD at 0.1,
with a cosine; the authors' network has conv, PReLU, batch norm in this order, ReLU before the head, one scale a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import fda, set_progress
from lcrbench.models.methods._recipes import CIFAR


class Binarizer(api.Binarizer):
    """w to (sign(w), mean|w|)."""

    def __init__(self, omega: float, n_start: int, n_end: int) -> None:
        super().__init__()
        self.estimator = fda.Estimator(omega, n_start, n_end)

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale (C_out)."""
        return self.estimator(weight), weight.detach().abs().mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `omega`, the lowest frequency, and `n_start` and `n_end`, between which the highest term's index rises."""

    omega: float = 0.1
    n_start: int = 9
    n_end: int = 18

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.omega > 0 or not 0 <= self.n_start <= self.n_end:
            raise ValueError(
                f"needs omega > 0 and 0 <= n_start <= n_end, not omega={self.omega}, n_start={self.n_start}, "
                f"n_end={self.n_end}"
            )

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return that of BiBench's code on CIFAR-10 (htqin/BiBench, configs/acc_cifar10/resnet20_fda_sgd_1e-1_cosinelr.py).

        It trains 400 epochs, and starts from a trained real network (`fda+finetune`). The authors released no training code.
        """
        return dict(CIFAR)

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution that is trained through the series."""
        series = self.omega, self.n_start, self.n_end
        sign, binarizer = fda.Estimator(*series), Binarizer(*series)
        return BinaryConv2d(in_channels, out_channels, kernel_size, stride, padding, sign=sign, binarizer=binarizer)

    def activation(self, channels: int) -> nn.Module:
        """Return Hardtanh."""
        return nn.Hardtanh()

    def on_progress(self, network: nn.Module, t: float) -> None:
        """Add terms to the series for progress t in [0, 1)."""
        set_progress(network, t)
