"""What the ResNets share: blocks of one or two convolutions, and the forms of the shortcut where the map shrinks.

He et al. 2016, arXiv 1512.03385. A block of one convolution is that of Bi-Real Net (Liu et al. 2018, arXiv 1808.00278),

    a_k = activation( norm( conv_k(a_{k-1}) ) + shortcut(a_{k-1}) ),

one of two is the original: conv, norm, activation, conv, norm, + shortcut, activation. A method whose order is
"activation-norm" (ReSTE) has

    a_k = norm( activation( conv_k(a_{k-1}) ) ) + shortcut(a_{k-1}),

and of two: conv, activation, norm, conv, activation, norm, + shortcut. Where a block keeps the shape its shortcut is the
identity. Elsewhere binary networks of the literature differ, in accuracy and by a third in cost:

    real        1x1 convolution with stride, real weights, batch norm        IR-Net, LCR-BNN
    pool-real   2x2 average pool, real 1x1 convolution, batch norm           Bi-Real Net, ReActNet
    binary      1x1 convolution with stride by the method, batch norm        RBNN
    pool-pad    2x2 average pool, zeros for the new channels                 ReCU; no parameters
    pad         every second position, zeros for the new channels            option A of He et al.; no parameters

`stem_activation = false` leaves out the activation behind the stem's batch norm, `head_norm = false` the batch norm before
the last layer. Published networks of one name differ in both: the CIFAR ResNet-18 of IR-Net, RBNN and ReCU has no activation
behind the stem, Bi-Real Net's stem none and ReActNet's no RPReLU; Bi-Real Net and ReActNet have no batch norm in the head,
nor has the usual network in full precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.models.api import Backbone, Method, ordered
from lcrbench.models.backbones._head import head

SHORTCUTS = ("real", "pool-real", "binary", "pool-pad", "pad")
POOLED, PADDED = ("pool-real", "pool-pad"), ("pool-pad", "pad")


class Pad(nn.Module):
    """Every `stride`-th position of (N, C, H, W), with zeros for the new channels, half of them on either side."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C + new, H', W')."""
        half = self.new_channels // 2
        # A pool of single positions: unlike that of a slice, its gradient keeps channels_last, without which every batch
        # norm before it takes several times as long backward.
        if self.stride > 1:
            x = F.avg_pool2d(x, 1, self.stride)
        return F.pad(x, (0, 0, 0, 0, half, self.new_channels - half))


class Block(nn.Module):
    """One or two convolutions with batch norm and activation, in the method's order, and a shortcut around them."""

    def __init__(
        self, method: Method, in_channels: int, out_channels: int, stride: int, shortcut: str, convs: int
    ) -> None:
        super().__init__()
        self.conv = method.conv(in_channels, out_channels, 3, stride, 1)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = method.activation(out_channels)
        self.activation_first = method.order == "activation-norm"
        self.second: nn.Module | None = None
        if convs == 2:
            conv = method.conv(out_channels, out_channels, 3, 1, 1)
            # Before the sum with the shortcut: the activation of the other order comes after it.
            self.second = nn.Sequential(*ordered(method, conv, out_channels, activation=self.activation_first))
            if not self.activation_first:
                self.inner = method.activation(out_channels)
        self.shortcut = _shortcut(method, in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        if self.activation_first:
            y = self.norm(self.activation(self.conv(x)))
            if self.second is not None:
                y = self.second(y)
            return y + self.shortcut(x)  # type: ignore[no-any-return]
        y = self.norm(self.conv(x))
        if self.second is not None:
            y = self.second(self.inner(y))
        out: Tensor = self.activation(y + self.shortcut(x))
        return out


def _shortcut(method: Method, in_channels: int, out_channels: int, stride: int, form: str) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    pool = [nn.AvgPool2d(stride)] if form in POOLED and stride > 1 else []
    if form in PADDED:
        return nn.Sequential(*pool, Pad(out_channels - in_channels, 1 if pool else stride))
    step = 1 if pool else stride
    if form == "binary":
        conv = method.conv(in_channels, out_channels, 1, step, 0)
    else:
        conv = nn.Conv2d(in_channels, out_channels, 1, step, bias=False)
    return nn.Sequential(*pool, conv, nn.BatchNorm2d(out_channels))


class ResNet(Backbone):
    """Normalized images (N, 3, H, W) to logits (N, classes)."""

    capturable = True

    def __init__(
        self,
        method: Method,
        classes: int,
        stem: nn.Module,
        widths: Sequence[int],
        convs_by_stage: Sequence[int],
        *,
        shortcut: str,
        convs: int,
        head_norm: bool,
    ) -> None:
        super().__init__()
        if shortcut not in SHORTCUTS:
            raise ValueError(f"shortcut is one of {', '.join(SHORTCUTS)}, not '{shortcut}'")
        if convs not in (1, 2):
            raise ValueError(f"convs is 1 or 2 convolutions a shortcut, not {convs}")
        self.stem = stem
        blocks: list[nn.Module] = []
        self._ends = []
        width = widths[0]
        for stage, (channels, count) in enumerate(zip(widths, convs_by_stage, strict=True)):
            for k in range(count // convs):
                blocks.append(Block(method, width, channels, 2 if stage and k == 0 else 1, shortcut, convs))
                width = channels
            self._ends.append(len(blocks) - 1)
        self.blocks = nn.Sequential(*blocks)
        self.head = head(width, classes, norm=head_norm)

    def stages(self) -> list[nn.Module]:
        """Return the last block of each stage."""
        return [self.blocks[k] for k in self._ends]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.blocks(self.stem(x)))
        return logits


def large_or_small(
    method: Method,
    classes: int,
    size: int,
    convs_by_stage: Sequence[int],
    *,
    stem: str,
    stem_activation: bool,
    **options: Any,
) -> Backbone:
    """Return the ResNet of widths 64 to 512 with the stem for small images or for those of ImageNet."""
    if stem == "auto":
        stem = "imagenet" if size >= 128 else "cifar"
    if stem == "cifar":
        first = small_stem(method, 64, stem_activation)
    elif stem == "imagenet":
        conv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        # The pool is last in either order.
        first = nn.Sequential(*ordered(method, conv, 64, activation=stem_activation), nn.MaxPool2d(3, 2, 1))
    else:
        raise ValueError(f"stem is auto, cifar or imagenet, not '{stem}'")
    return ResNet(method, classes, first, (64, 128, 256, 512), convs_by_stage, **options)


def small_stem(method: Method, channels: int, activation: bool) -> nn.Sequential:
    """Return the stem for small images: a real 3x3 convolution, batch norm, [activation], in the method's order."""
    conv = nn.Conv2d(3, channels, 3, 1, 1, bias=False)
    return nn.Sequential(*ordered(method, conv, channels, activation=activation))
