"""The norm of one linear map, a convolution or a matrix, as a bracket; see the package for the method."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALL = 20
"""Torus side up to which the shifted grid is tried: above, the gap is below a percent."""

DENSE = 2048
"""Shorter side up to which the operator on a map smaller than its kernel is made a matrix: some seconds at most."""

REMEMBERED = 500
"""How many brackets are remembered: a layer is asked for alone, by its block and by the whole network."""

ROUNDING = 1e-10
"""Relative amount by which an upper bound is raised, for the rounding of its own computation in float64."""


@dataclass(frozen=True)
class Bracket:
    """The norm of a linear map lies in [lower, upper]."""

    lower: float
    upper: float

    @property
    def gap(self) -> float:
        """Return upper / lower - 1."""
        return self.upper / self.lower - 1 if self.lower else 0.0


known_brackets: dict[tuple[object, ...], Bracket] = {}


def lanczos(
    forward: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor], start: Tensor, iterations: int = 40
) -> float:
    """Return a lower bound of ||A||_2, the largest Ritz value from `start` (float64); A is given by `forward`, `adjoint`.

    Both bases are kept orthogonal by repeated Gram-Schmidt; without it the value overshoots.
    """
    v = start / start.norm()
    right, left = [v.flatten()], list[Tensor]()
    alphas, betas = list[float](), list[float]()
    u = forward(v)
    for k in range(iterations):
        flat = u.flatten()
        if left:
            basis = torch.stack(left)
            for _ in range(2):
                flat = flat - basis.T @ (basis @ flat)
        alpha = float(flat.norm())
        alphas.append(alpha)
        # A remainder at the level of rounding holds no direction: the Krylov space is exhausted.
        if alpha <= 1e-13 * max(alphas):
            break
        left.append(flat / alpha)
        flat = (adjoint(left[-1].view_as(u)) - alpha * v).flatten()
        basis = torch.stack(right)
        for _ in range(2):
            flat = flat - basis.T @ (basis @ flat)
        beta = float(flat.norm())
        if beta <= 1e-13 * max(alphas) or k + 1 == iterations:
            break
        betas.append(beta)
        right.append(flat / beta)
        v = right[-1].view_as(start)
        u = forward(v) - beta * left[-1].view_as(u)
    bidiagonal = torch.diag(torch.tensor(alphas, dtype=torch.float64))
    for k, beta in enumerate(betas[: len(alphas) - 1]):
        bidiagonal[k, k + 1] = beta
    return float(torch.linalg.matrix_norm(bidiagonal, ord=2))


def conv_lower(weight: Tensor, stride: int, padding: int, size: tuple[int, int], iterations: int = 40) -> float:
    """Return a lower bound of the norm of x -> conv2d(x, weight) on maps (C_in, *size) with zero padding."""
    weight = weight.detach().double().cpu()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, weight.shape[1], *size, generator=generator, dtype=torch.float64)
    out = F.conv2d(x, weight, stride=stride, padding=padding).shape[2:]
    extra = tuple(n - ((m - 1) * stride - 2 * padding + k) for n, m, k in zip(size, out, weight.shape[2:], strict=True))

    def adjoint(y: Tensor) -> Tensor:
        return F.conv_transpose2d(y, weight, stride=stride, padding=padding, output_padding=extra)

    return lanczos(lambda v: F.conv2d(v, weight, stride=stride, padding=padding), adjoint, x, iterations)


def conv_upper(weight: Tensor, stride: int, padding: int, size: tuple[int, int]) -> float:
    """Return an upper bound of the same norm: that of the polyphase kernel on the torus of n_out + k' - 1 positions.

    Where the map is smaller than the kernel, the torus is much larger than the map and its norm far too high. There it is
    the norm of the operator as a matrix or, where that has too many rows and columns (`DENSE`), that on the torus of the
    taps that meet the map.
    """
    weight = weight.detach().double().cpu()
    kernels = weight.shape[2:]
    out = [(n + 2 * padding - k) // stride + 1 for n, k in zip(size, kernels, strict=True)]
    if any(n < k for n, k in zip(size, kernels, strict=True)):
        into, outof = weight.shape[1] * math.prod(size), weight.shape[0] * math.prod(out)
        if min(into, outof) <= DENSE and max(into, outof) <= 4 * DENSE:
            return _dense_norm(weight, stride, padding, size) * (1 + ROUNDING)
        rows, columns = (
            [t for t in range(k) if any(0 <= o * stride + t - padding < n for o in range(m))]
            for n, k, m in zip(size, kernels, out, strict=True)
        )
        if not rows or not columns:
            return 0.0
        weight = weight[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    taps = [-(-k // stride) for k in weight.shape[2:]]
    torus = [m + t - 1 for m, t in zip(out, taps, strict=True)]
    kernel = F.pad(weight, (0, taps[1] * stride - weight.shape[3], 0, taps[0] * stride - weight.shape[2]))
    phases = F.pixel_unshuffle(kernel, stride)
    shifts = (0.0, 0.5) if max(torus) <= SMALL else (0.0,)
    return min(_torus_norm(phases, torus, shift) for shift in shifts) * (1 + ROUNDING)


def _dense_norm(weight: Tensor, stride: int, padding: int, size: tuple[int, int]) -> float:
    """Return the norm of x -> conv2d(x, weight) on maps (C_in, *size) from its matrix."""
    eye = torch.eye(weight.shape[1] * math.prod(size), dtype=torch.float64)
    matrix = F.conv2d(eye.view(-1, weight.shape[1], *size), weight, stride=stride, padding=padding).flatten(1)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return math.sqrt(max(0.0, float(torch.linalg.eigvalsh(gram)[-1])))


def _torus_norm(kernel: Tensor, torus: list[int], shift: float) -> float:
    """Return max over frequencies 2 pi (j + shift) / N, shift 0 or 1/2, of the norm of the kernel's transform."""
    # Real taps: opposite frequencies give conjugate matrices, and both grids are symmetric, so half of one axis will do.
    rows = (torch.arange(torus[0], dtype=torch.float64) + shift) / torus[0]
    columns = (torch.arange(torus[1] // 2 + 1, dtype=torch.float64) + shift) / torus[1]
    waves = [
        torch.exp(-2j * math.pi * w[:, None] * torch.arange(k, dtype=torch.float64))
        for w, k in ((rows, kernel.shape[2]), (columns, kernel.shape[3]))
    ]
    half = torch.einsum("oikl,wl->oikw", kernel.to(waves[1].dtype), waves[1])
    spectrum = torch.einsum("oikw,vk->vwoi", half, waves[0]).flatten(0, 1)
    if spectrum.shape[1] > spectrum.shape[2]:
        spectrum = spectrum.mT
    top = torch.linalg.eigvalsh(spectrum @ spectrum.mH)[:, -1].max()
    return math.sqrt(max(0.0, float(top)))


def conv_bracket(weight: Tensor, stride: int, padding: int, size: tuple[int, int], groups: int = 1) -> Bracket:
    """Return both bounds; of a grouped convolution, which is block-diagonal, the largest of its groups' bounds."""
    weight = weight.detach().double().cpu().contiguous()
    digest = hashlib.sha256(weight.numpy().tobytes()).digest()
    key = (digest, tuple(weight.shape), stride, padding, size, groups)
    if key not in known_brackets:
        parts = [
            Bracket(conv_lower(w, stride, padding, size), conv_upper(w, stride, padding, size))
            for w in weight.chunk(groups)
        ]
        if len(known_brackets) >= REMEMBERED:
            known_brackets.clear()
        known_brackets[key] = Bracket(max(p.lower for p in parts), max(p.upper for p in parts))
    return known_brackets[key]


def matrix_bracket(weight: Tensor) -> Bracket:
    """Return the norm of a matrix from its singular values: both ends agree to rounding."""
    sigma = float(torch.linalg.matrix_norm(weight.detach().double().cpu(), ord=2))
    return Bracket(sigma * (1 - ROUNDING), sigma * (1 + ROUNDING))


def norm_scale(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    """Return what a batch norm in evaluation mode multiplies each channel by, gamma / sqrt(var + eps) (C), float64."""
    assert norm.running_var is not None
    gamma = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight
    return (gamma.double() / (norm.running_var.double() + norm.eps).sqrt()).detach().cpu()
