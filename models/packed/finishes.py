"""What follows a convolution, as parameters of the kernels: activations, bounds, and the check against torch."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from lcrbench.models.methods.adabin import Maxout
from lcrbench.models.methods.reactnet import RPReLU
from lcrbench.models.packed import fields as f
from lcrbench.models.packed import machine, probes
from lcrbench.models.packed.graph import Finish, Refused

SAMPLED = 4096
ACTIVATIONS: dict[type, int] = {
    nn.Identity: f.PLAIN,
    nn.Hardtanh: f.CLIP,
    nn.ReLU: f.RELU,
    nn.PReLU: f.LEAKY,
    RPReLU: f.SHIFTED_LEAKY,
    Maxout: f.TWO_SLOPES,
}


def of_channels(finish: Finish, channel: int, channels: int) -> Finish:
    """Return a finish whose activation is that of a part of its channels."""

    def part(module: nn.Module | None) -> nn.Module | None:
        if module is None or all(p.numel() in (1, channels) for p in module.parameters()):
            return module
        cut = copy.deepcopy(module)
        for name, values in list(cut.named_parameters()):
            setattr(cut, name, nn.Parameter(values.detach()[channel : channel + channels].clone(), requires_grad=False))
        return cut

    return Finish(finish.norm, finish.pool, part(finish.before), part(finish.after))


def activation(module: nn.Module, channels: int) -> np.ndarray:
    """Return the three parameters (3, C) of an activation."""
    values: list[torch.Tensor | float] = []
    if isinstance(module, nn.Hardtanh):
        values = [module.min_val, module.max_val]
    elif isinstance(module, nn.PReLU):
        values = [module.weight]
    elif isinstance(module, RPReLU):
        values = [module.before, module.slope, module.after]
    elif isinstance(module, Maxout):
        values = [module.positive, module.negative]
    out = np.zeros((3, channels), np.float32)
    for k, value in enumerate(values):
        out[k] = torch.as_tensor(value, dtype=torch.float32).detach().numpy()
    return out


def bound_after(kind: int, p: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Return a bound (C) on the magnitudes behind an activation with parameters (3, C), from one before it."""
    found = bound
    if kind == f.CLIP:
        found = np.abs(p[:2]).max(0)
    elif kind == f.LEAKY:
        found = bound * np.maximum(1, np.abs(p[0]))
    elif kind == f.SHIFTED_LEAKY:
        found = (bound + np.abs(p[0])) * np.maximum(1, np.abs(p[1])) + np.abs(p[2])
    elif kind == f.TWO_SLOPES:
        found = bound * np.abs(p[:2]).max(0)
    return found


def attainable(numbers: int, values: np.ndarray, constants: np.ndarray, *, affine: bool) -> np.ndarray:
    """Return the values (n, C) that a convolution of so many numbers can take; a sample where a window's sums come in."""
    if not affine:
        n = np.arange(-numbers, numbers + 1, 2, dtype=np.float32)
        every: np.ndarray = n[:, None] * values[f.SCALE]
        return every
    random = np.random.default_rng(0)
    n, sums = (2 * random.integers(-numbers // 2, numbers // 2 + 1, (2, SAMPLED, 1))).astype(np.float32)
    y = n * values[f.SCALE] + sums * values[f.OFFSET]
    sampled: np.ndarray = y * values[f.LEVEL] + constants[random.integers(0, len(constants), SAMPLED)]
    return sampled


def rounding(row: np.ndarray, finish: Finish, values: np.ndarray, x: np.ndarray, *, single: bool) -> int:
    """Return whether torch rounds a batch norm once (1) or twice (0), which holds on values x (n, C) with the activations.

    Raises `Refused` where neither gives torch's numbers.
    """
    modules = [m for m in (finish.before, finish.norm, finish.after) if m is not None]
    for once in (1, 0):
        op = np.zeros((1, f.FIELDS), np.int64)
        op[0, [f.BEFORE, f.AFTER]] = row[[f.BEFORE, f.AFTER]]
        if finish.after is None:
            op[0, f.AFTER] = f.PLAIN
        op[0, f.FUSED] = once
        if probes.agrees(modules, x, lambda given, op=op: finished(op, values, given), single=single):  # type: ignore[misc]
            return once
    raise Refused("this torch's batch norm or activation is rounded in a way that is not known")


def finished(op: np.ndarray, values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return what the kernels make of values x (n, C) behind a convolution."""
    n, channels = x.shape
    fields = (f.KIND, f.IN, f.OUT, f.HEIGHT, f.WIDTH, f.ROWS, f.COLUMNS, f.FROM, f.TO, f.SIGNS)
    op[0, fields] = f.FINISH, channels, channels, n, 1, n, 1, f.GIVEN, f.WANTED, f.NONE
    none = np.zeros(0, np.int32)
    table = by_block(values)
    tables = machine.Tables(none, table, none, none.view(np.float32))
    needs = machine.Needs(0, 0, 0)
    segment = machine.Segment(op, x.size, 0, x.size)
    segment.check(tables, needs)
    out = np.empty((1, x.size), np.float32)
    given = np.ascontiguousarray(x, np.float32).reshape(1, -1)
    segment.run(tables, machine.Memory(needs), given, given[:, :0], out, (0, 1))
    return out.reshape(x.shape)


def by_block(values: np.ndarray) -> np.ndarray:
    """Return parameters (rows, C) as the kernels read them: by blocks of sixteen channels."""
    rows, channels = values.shape
    blocks = values.astype(np.float32).reshape(rows, channels // 16, 16).transpose(1, 0, 2)
    return np.ascontiguousarray(blocks).reshape(-1)
