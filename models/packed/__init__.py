"""The deployed form of a binary network: one bit a weight, and convolutions by exclusive or and population count.

For +-1 vectors s and b of n numbers, held as bits (1 for +1), of which the mask m marks those that are there,

    s . b = popcount(m) - 2 popcount((s xor b) and m),

a whole number, with no multiplication. The mask leaves out zero padding. This is a reference for checking, not fast code.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.models.binary import BinaryConv2d, binary_layers, input_levels, weight_offset


class TrainingOnly(nn.Module):
    """Numbers that are trained with a network and that its inference does not use."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)


def export(network: nn.Module) -> dict[str, Tensor]:
    """Return all that inference needs, by name.

    For each binary layer: `NAME.bits`, uint8 (C_out, ceil(C_in k k / 8)), each filter's signs in the order (C_in, k, k),
    eight to a byte from the highest bit, and where there are any `NAME.scale` (C_out), or (1) for one a layer, and
    `NAME.offset` (C_out). Everything else is as in the network's state; latent weights and what is `TrainingOnly` are left
    out.
    """
    layers = binary_layers(network)
    hidden = *(f"{name}.{part}" for name in layers for part in ("weight", "binarizer.")), *_unused(network)
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items() if not k.startswith(hidden)}
    for name, layer in layers.items():
        bits, scale, offset = deployed(layer)
        packed = np.packbits((bits > 0).cpu().contiguous().flatten(1).numpy(), axis=1)
        tensors[f"{name}.bits"] = torch.from_numpy(packed)
        for part, value in (("scale", scale), ("offset", offset)):
            if value is not None:
                tensors[f"{name}.{part}"] = value.cpu().contiguous()
    return tensors


def restore(skeleton: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """Return a copy of `skeleton`, a network of the same topology with any weights, that computes from exported tensors.

    Raises `ValueError` if the tensors do not belong to such a network.
    """
    network = copy.deepcopy(skeleton)
    for name, layer in binary_layers(skeleton).items():
        parent, _, child = name.rpartition(".")
        parts = {k: tensors.get(f"{name}.{k}") for k in ("bits", "scale", "offset")}
        setattr(network.get_submodule(parent), child, PackedConv2d(layer, **parts))
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    missing = [k for k in missing if not k.startswith(_unused(network))]
    if missing or unexpected:
        raise ValueError(f"the packed tensors are of another network: {', '.join([*missing, *unexpected])}")
    return network.eval()


def _unused(network: nn.Module) -> tuple[str, ...]:
    """Return how the names of tensors begin that inference does not use."""
    return tuple(f"{name}." for name, m in network.named_modules() if isinstance(m, TrainingOnly))


def deployed(layer: BinaryConv2d) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return a layer's signs, scale and offset as inference uses them, detached."""
    with torch.no_grad():
        bits, scale = layer.binarize()
        offset = weight_offset(layer)
    return bits, None if scale is None else scale.detach().clone(), None if offset is None else offset.detach().clone()


class PackedConv2d(nn.Module):
    """A binary convolution by exclusive or and population count; arguments as in `BinaryConv2d`."""

    def __init__(self, layer: BinaryConv2d, bits: Tensor | None, scale: Tensor | None, offset: Tensor | None) -> None:
        super().__init__()
        self.sign: Any = copy.deepcopy(layer.sign)
        self.shape = tuple(layer.weight.shape)
        self.stride, self.padding = int(layer.stride[0]), int(layer.padding[0])
        self.bits: Tensor
        self.scale: Tensor | None
        self.offset: Tensor | None
        for name, value in (("bits", bits), ("scale", scale), ("offset", offset)):
            self.register_buffer(name, None if value is None else value.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H', W') in x's dtype."""
        signs = self.sign(x)
        y = self._inner(signs)
        if (levels := input_levels(self)) is not None:  # type: ignore[arg-type]
            a, c = levels
            y = a * y + c * self._inner(torch.ones_like(signs[:1]))
        return y

    def _inner(self, signs: Tensor) -> Tensor:
        y = self._count(signs, self.bits.numpy()).to(signs.dtype)
        y = y if self.scale is None else y * self.scale.view(1, -1, 1, 1)
        if self.offset is not None:
            ones = np.full_like(self.bits[:1].numpy(), 255)
            y = y + self._count(signs, ones).to(signs.dtype) * self.offset.view(1, -1, 1, 1)
        return y

    def _count(self, signs: Tensor, bits: np.ndarray) -> Tensor:
        return count(signs, bits, self.shape[-1], self.stride, self.padding)


def count(signs: Tensor, bits: np.ndarray, kernel: int, stride: int, padding: int) -> Tensor:
    """Return the whole numbers (N, C_out, H', W'), int64, of a convolution of signs (N, C_in, H, W) with packed filters."""
    image = (signs > 0).cpu().contiguous().numpy()
    n, channels, height, width = image.shape
    numbers = channels * kernel * kernel
    x = _patches(image, kernel, stride, padding)
    there = _patches(np.ones((1, channels, height, width), bool), kernel, stride, padding)
    rows, columns = x.shape[1:3]
    filters = _words(bits, numbers)
    # Bits beyond the filter's end are 0 in every mask, whatever they are in the filters.
    valid = np.bitwise_count(there).sum(-1, dtype=np.int64)
    out = np.empty((n, len(filters), rows, columns), np.int64)
    for i in range(n):
        for o, b in enumerate(filters):
            differ = np.bitwise_count((x[i] ^ b) & there[0]).sum(-1, dtype=np.int64)
            out[i, o] = valid[0] - 2 * differ
    return torch.from_numpy(out)


def _patches(image: np.ndarray, kernel: int, stride: int, padding: int) -> np.ndarray:
    """Return the windows of a boolean image (N, C, H, W) as words (N, H', W', n)."""
    padded = np.pad(image, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)
    flat = windows.reshape(*windows.shape[:3], -1)
    return _words(np.packbits(flat, axis=-1), flat.shape[-1])


def _words(packed: np.ndarray, numbers: int) -> np.ndarray:
    """Return bytes (..., ceil(numbers / 8)) as 64-bit words, with zeros in the place of what is beyond the end."""
    size = -(-numbers // 64) * 8
    padded = np.zeros((*packed.shape[:-1], size), np.uint8)
    padded[..., : packed.shape[-1]] = packed
    return padded.view(np.uint64)
