"""Filters as words, and the constants that stand for the zeros beyond the border."""

from __future__ import annotations

import numpy as np
import torch

from lcrbench.models.binary import BinaryConv2d, input_levels
from lcrbench.models.packed.fields import BORDERS


def words(bits: np.ndarray) -> np.ndarray:
    """Return signs (C_out, C_in, k, k) as int32 [block of sixteen outputs][word of the window][output].

    A window's bits go row by row, position by position and channel by channel, filled up with zeros to a whole word.
    """
    flat = (bits > 0).transpose(0, 2, 3, 1).reshape(len(bits), -1)
    filled = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 32)))
    packed = np.packbits(filled, axis=1, bitorder="little").view("<i4")
    return np.ascontiguousarray(packed.reshape(len(bits) // 16, 16, -1).transpose(0, 2, 1)).astype(np.int32)


def bases(bits: np.ndarray) -> np.ndarray:
    """Return C_in valid taps + 2 times the filter's ones on the taps that are cut off, int32 (case of the border, C_out)."""
    kernel, channels = bits.shape[-1], bits.shape[1]
    ones = (bits > 0).sum(1).astype(np.int64)
    out = np.empty((BORDERS, len(bits)), np.int32)
    for case in range(BORDERS):
        cut = np.zeros((kernel, kernel), bool)
        if kernel == 3:
            for axis, code in ((0, case // 4), (1, case % 4)):
                lines = np.moveaxis(cut, axis, 0)
                lines[0] |= bool(code & 1)
                lines[2] |= bool(code & 2)
        out[case] = channels * int((~cut).sum()) + 2 * ones[:, cut].sum(1)
    return out


def levels(layer: BinaryConv2d, height: int, width: int) -> np.ndarray:
    """Return c inner(1) of a layer whose inputs stand for a s + c, float32 (case of the border, C_out), from torch.

    Zeros for cases that a map of this size has not, and without levels.
    """
    out = np.zeros((BORDERS, layer.out_channels), np.float32)
    found = input_levels(layer)
    if found is None:
        return out
    with torch.inference_mode():
        bits, scale = layer.binarize()
        offset = layer.binarizer.offset(layer.weight)
        one = torch.ones(1, layer.in_channels, height, width).to(memory_format=torch.channels_last)
        y = (found[1] * layer._inner(one, bits, scale, offset))[0].permute(1, 2, 0).numpy()
    padding, stride = int(layer.padding[0]), int(layer.stride[0])
    rows, columns = (_codes(n, size, stride, padding) for n, size in zip(y.shape, (height, width), strict=False))
    for code, r in rows.items():
        for other, c in columns.items():
            out[4 * code + other] = y[r, c]
    return out


def _codes(outputs: int, size: int, stride: int, padding: int) -> dict[int, int]:
    """Return a position along one side for each case of the border that occurs there."""
    return {padding * ((k == 0) + 2 * (k * stride + 2 > size)): k for k in range(outputs)}
