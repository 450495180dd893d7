"""The binary convolution that every 1-bit method is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench import float32
from lcrbench.models.api import Binarizer, Estimator, Sign
from lcrbench.models.fused import Fused, by_channel

Shared = dict["BinaryConv2d", tuple[Tensor, Tensor | None]]
"""Signs and scales of layers, with their graph."""


class BinaryConv2d(nn.Conv2d):
    """A convolution of signs: y = alpha * conv(s, b), with s = sign(x) and (b, alpha) from the latent weight w.

    `sign` is the estimator applied to the input; `binarizer` maps w (C_out, C_in, k, k) to signs b of the same shape and a
    scale alpha (C_out), (1) for one a layer, or None for 1. The scale is applied after the convolution, so that it adds up
    whole numbers of at most C_in k^2, which float32 holds exactly: the order of summation, and with it the batch, cannot
    change a bit. Zero padding adds 0, a third value next to -1 and +1 at the border, as in the methods' own code.

    Two values other than -1 and +1 are an affine image of them. With (a, c) = `sign.levels()` the input stands for a s + c;
    with beta (C_out) = `binarizer.offset(w)` a weight stands for alpha b + beta. Then, with 1 for ones,

        inner(s) = alpha conv(s, b) + beta conv(s, 1)             y = a inner(s) + c inner(1),

    which is the convolution of the affine images, and keeps every convolution one of signs.

    On an accelerator signs are convolved in TF32, which rounds factors to 10 bits and adds up in float32. Signs,
    and signs times powers of two, are exact in it. In float32 a library may choose a Fourier transform, whose sums are no
    whole numbers. Gradients are float32's throughout.

    While `real_weights` is set, for the first of two training steps, y = conv(s, w).
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
        sign: Sign,
        binarizer: Binarizer,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        for part, kind in ((sign, Sign), (binarizer, Binarizer)):
            if not isinstance(part, kind):
                raise ValueError(f"{type(part).__name__} is no lcrbench.models.api.{kind.__name__}: inherit from it")
        self.sign = sign
        self.binarizer = binarizer
        self.real_weights = False
        self._shared: Shared | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H', W')."""
        bits, scale = (self.weight, None) if self.real_weights else self._factors()
        offset = None if self.real_weights else weight_offset(self)
        signs = self.sign(x)
        a, c = input_levels(self) or (None, None)
        learnt = scale is not None and scale.requires_grad and not torch.is_autocast_enabled(x.device.type)
        if learnt and not isinstance(a, float) and not isinstance(c, float):
            return Fused(self._affine, self._affine, self._of_affine)(signs, bits, scale, offset, a, c)
        return self._affine(signs, bits, scale, offset, a, c)

    def _factors(self) -> tuple[Tensor, Tensor | None]:
        """Return signs and scale for a forward pass, from an earlier one inside `sharing` if there are some."""
        shared, made = None, None
        if self._shared is not None and torch.is_grad_enabled() and self.binarizer.of_weight_alone:
            # Once a pass: a second use has a graph of its own, or its gradients would be added up in another order.
            shared, self._shared = self._shared, None
            made = shared.get(self)
        if made is None:
            bits, scale = self.binarize()
            if self.training and self.binarizer.power_of_two and scale is not None:
                # The same numbers to the bit, with less to do: such a factor is exact in every sum and gradient.
                bits, scale = bits * scale.view(-1, 1, 1, 1), None
            made = bits, scale
        if shared is not None:
            shared[self] = made
        return made

    def _affine(
        self,
        signs: Tensor,
        bits: Tensor,
        scale: Tensor | None,
        offset: Tensor | None,
        a: Tensor | float | None,
        c: Tensor | float | None,
    ) -> Tensor:
        y = self._inner(signs, bits, scale, offset)
        if a is None or c is None:
            return y
        return _times(y, a).add_(c * self._inner(torch.ones_like(signs[:1]), bits, scale, offset))

    def _of_affine(
        self,
        grad: Tensor,
        signs: Tensor,
        bits: Tensor,
        scale: Tensor,
        offset: Tensor | None,
        a: Tensor | None,
        c: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients as of one convolution of what signs and bits stand for, which the forward pass is equal to.

        No activation is multiplied by a scale, and no sum over activations gives the gradient of one.
        """
        inputs = signs if a is None or c is None else (signs * a).add_(c)
        weight = bits * scale.view(-1, 1, 1, 1)
        weight = weight if offset is None else weight + offset.view(-1, 1, 1, 1)
        of_inputs, of_weight, _ = torch.ops.aten.convolution_backward(
            grad, inputs, weight, None, self.stride, self.padding, (1, 1), False, (0, 0), 1, (True, True, False)
        )
        of_scale = (of_weight * bits).sum((1, 2, 3)).sum_to_size(scale.shape)
        of_offset = None if offset is None else of_weight.sum((1, 2, 3))
        of_bits = of_weight * scale.view(-1, 1, 1, 1)
        if a is None or c is None:
            return of_inputs, of_bits, of_scale, of_offset, None, None
        of_a, of_c = torch.mul(of_inputs, signs, out=inputs).sum(), of_inputs.sum()
        return of_inputs.mul_(a), of_bits, of_scale, of_offset, of_a, of_c

    def binarize(self) -> tuple[Tensor, Tensor | None]:
        """Return the signs (C_out, C_in, k, k) and the scale (C_out), (1) or None, in the weight's own precision."""
        device = self.weight.device.type
        if device == "meta" or not torch.is_autocast_enabled(device):
            bits, scale = self.binarizer(self.weight)
        else:
            # A matrix product would round to bf16 and flip signs.
            with torch.autocast(device, enabled=False):
                bits, scale = self.binarizer(self.weight)
        return bits, scale

    def _inner(self, signs: Tensor, bits: Tensor, scale: Tensor | None, offset: Tensor | None) -> Tensor:
        y = self._summed(signs, bits)
        y = y if scale is None else _times(y, by_channel(scale))
        if offset is not None:
            y = y + self._sums(signs) * by_channel(offset)
        return y

    def _summed(self, signs: Tensor, bits: Tensor) -> Tensor:
        if not signs.is_cuda or self.real_weights or not self.binarizer.binary:
            return F.conv2d(signs, bits, None, self.stride, self.padding)
        with float32.tf32_convolutions():
            return F.conv2d(signs, bits, None, self.stride, self.padding)

    def _sums(self, signs: Tensor) -> Tensor:
        """Return the sum of the signs under each window (N, 1, H', W'), the same for every filter."""
        assert not isinstance(self.padding, str)
        (rows, columns), (top, left) = self.kernel_size, self.padding
        padded = F.pad(signs.sum(1, keepdim=True), (left, left, top, top))
        return F.avg_pool2d(padded, (rows, columns), self.stride, divisor_override=1)


@contextmanager
def sharing(network: nn.Module, shared: Shared) -> Iterator[None]:
    """Let a pass inside the block take from `shared` what layers make of their weights alone, or put it there.

    All passes that share need the same weights, and a backward pass that is not the last one keeps the graph.
    """
    layers = [m for m in network.modules() if isinstance(m, BinaryConv2d)]
    for layer in layers:
        layer._shared = shared
    try:
        yield
    finally:
        for layer in layers:
            layer._shared = None


def _times(y: Tensor, factor: Tensor | float) -> Tensor:
    """Return y times a factor, in y's place where no gradient needs y and its precision is enough."""
    needed = isinstance(factor, Tensor) and factor.requires_grad and torch.is_grad_enabled()
    wider = isinstance(factor, Tensor) and factor.dtype != y.dtype
    return y * factor if needed or wider else y.mul_(factor)


def weight_offset(layer: BinaryConv2d) -> Tensor | None:
    """Return beta (C_out) of a layer whose weights stand for alpha b + beta, else None."""
    return layer.binarizer.offset(layer.weight)


def input_levels(layer: BinaryConv2d) -> tuple[Tensor | float, Tensor | float] | None:
    """Return (a, c) of a layer whose inputs stand for a s + c, else None."""
    return layer.sign.levels()


def estimator(layer: BinaryConv2d) -> Sign:
    """Return what a layer's input is trained through, without the thresholds and levels around it."""
    if isinstance(layer.sign, Estimator):
        return layer.sign
    found = layer.sign._modules.get("estimator")
    if not isinstance(found, Sign):
        raise ValueError(f"needs a sign with a part called 'estimator', which {type(layer.sign).__name__} has not")
    return found


def deployed_weight(layer: BinaryConv2d) -> Tensor:
    """Return what the layer's binary weights stand for, alpha b + beta (C_out, C_in, k, k): two values a filter."""
    bits, scale = layer.binarize()
    offset = weight_offset(layer)
    weight: Tensor = bits if scale is None else bits * scale.view(-1, 1, 1, 1)
    return weight if offset is None else weight + offset.view(-1, 1, 1, 1)


def binary_layers(network: nn.Module) -> dict[str, BinaryConv2d]:
    """Return the binary convolutions of a network by name, in the order of their definition, which is that of use."""
    return {name: m for name, m in network.named_modules() if isinstance(m, BinaryConv2d)}


def path_layers(network: nn.Module) -> dict[str, BinaryConv2d]:
    """Return the binary convolutions that follow one another: all but those inside a shortcut."""
    return {k: m for k, m in binary_layers(network).items() if "shortcut" not in k.split(".")}
