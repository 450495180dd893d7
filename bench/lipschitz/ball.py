"""The points that a perturbation may reach: the intersection of a ball around the image with the box of pixels.

    B_p(x, eps) = { x + d : ||d||_p <= eps, 0 <= x + d <= 1 },      p = 2 or infinity, pixel units.

Perturbations and gradients are tensors (N, 3, H, W).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lcrbench.errors import UserError, unknown

NORMS = ("l2", "linf")


@dataclass(frozen=True)
class Ball:
    """The ball of a `norm` ("l2" or "linf") with radius `eps` > 0 in pixel units. Raises `UserError` for any other."""

    norm: str
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise unknown("norm", self.norm, NORMS)
        if not (math.isfinite(self.eps) and self.eps > 0):
            raise UserError(f"a radius is a positive number, not {self.eps}")

    def furthest(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Return the d that maximizes <gradient, d> over the ball and the box: the Frank-Wolfe step, exact.

        For l2 that is clip(t g, -x, 1 - x) with the t at which its norm is eps (or every pixel is at its wall): by the
        optimality conditions, pixels at a wall leave their share of the radius to the others. Each round solves for t
        with the pixels at walls held there; t grows, so few rounds settle it.
        """
        if self.norm == "linf":
            return boxed(x, self.eps * gradient.sign())
        g = unit(gradient)
        t = torch.full_like(lengths(g), self.eps)
        d = boxed(x, t * g)
        for _ in range(20):
            free = (d == t * g) & (g != 0)
            used = d.masked_fill(free, 0).square().sum((1, 2, 3), keepdim=True)
            rest = g.masked_fill(~free, 0).square().sum((1, 2, 3), keepdim=True)
            larger = ((self.eps**2 - used).clamp_min(0) / rest.clamp_min(1e-30)).sqrt()
            larger = torch.where(rest > 1e-20, torch.maximum(larger, t), t)
            if bool((larger <= t * (1 + 1e-5)).all()):
                break
            t = larger
            d = boxed(x, t * g)
        return self.inside(x, d)

    def inside(self, x: Tensor, d: Tensor) -> Tensor:
        """Return d moved into the ball and the box: clipped, and for l2 scaled down if it is too long."""
        d = boxed(x, d)
        if self.norm == "linf":
            return d.clamp(-self.eps, self.eps)
        return d * (self.eps / lengths(d).clamp_min(1e-30)).clamp_max(1)

    def length(self, d: Tensor) -> Tensor:
        """Return ||d||_p in float64 (N)."""
        return length(self.norm, d.double())

    def settle(self, x: Tensor, d: Tensor) -> Tensor:
        """Return the points x + d as float32, certainly in the box, and certainly no further than eps from x.

        Rounding x + d to float32 can lengthen it: such a d is shrunk until the rounded point is inside.
        """
        d = self.inside(x, d)
        over, shrink, exact = self.length(d) > self.eps * (1 - 1e-6), 2e-6, x.double()
        for _ in range(20):
            d = d * (1 - shrink * over.float()).view(-1, 1, 1, 1)
            points = (x + d).clamp(0, 1)
            over = self.length(points.double() - exact) > self.eps
            if not bool(over.any()):
                return points
            shrink *= 2
        raise UserError(f"the radius {self.eps} is below what float32 pixels can resolve")


def length(norm: str, d: Tensor) -> Tensor:
    """Return ||d||_p (N)."""
    if norm == "l2":
        return lengths(d).flatten()
    return _by_pixel(d).abs().amax(1)


def boxed(x: Tensor, d: Tensor) -> Tensor:
    """Return d cut off where x + d leaves the box. (A quarter of the time of `clamp` with tensors.)"""
    return torch.minimum(torch.maximum(d, -x), 1 - x)


def shortened(norm: str, d: Tensor, radius: Tensor) -> Tensor:
    """Return d with ||d||_p of at most `radius` (N): scaled down in l2, clipped in linf."""
    radius = radius.to(d.dtype).view(-1, 1, 1, 1)
    if norm == "linf":
        return d.clamp(-radius, radius)
    return d * (radius / lengths(d).clamp_min(1e-30)).clamp_max(1)


def steepest(norm: str, gradient: Tensor) -> Tensor:
    """Return the d of ||d||_p = 1 along which <gradient, d> grows most, without the box; 0 for a gradient of 0."""
    return gradient.sign() if norm == "linf" else unit(gradient)


def unit(d: Tensor) -> Tensor:
    """Return d with ||d||_2 of 1, and 0 for 0 (N, 3, H, W)."""
    return d / lengths(d).clamp_min(1e-30)


def lengths(d: Tensor) -> Tensor:
    """Return ||d||_2 (N, 1, 1, 1)."""
    length: Tensor = _by_pixel(d).norm(dim=1)
    return length.view(-1, 1, 1, 1)


def _by_pixel(d: Tensor) -> Tensor:
    """Return d as rows (N, H W 3), in one order whatever its layout; points, whose channels lie last, are not copied."""
    return d.permute(0, 2, 3, 1).flatten(1)
