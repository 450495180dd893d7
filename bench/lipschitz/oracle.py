"""What the measurements may ask of a network: its logits, as deployed, and a gradient to search along.

Only the deployed forward pass (float32, unfolded, in blocks of one size) yields values. Gradients are those of training,
with the estimators' pseudo-gradients in place of the derivative of the signs: they suggest where to look and prove nothing.

Points are tensors (N, 3, H, W) float32 in [0, 1], channels last in memory; logits come back as float64 (N, classes).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import foreign
from lcrbench.bench.lipschitz.results import not_finite
from lcrbench.bench.lipschitz.surrogates import Inputs, Surrogate
from lcrbench.errors import UserError

SAME = 1e-5
"""Relative difference of logits that counts as rounding where other images are in the batch."""

GRADIENT_BLOCK = 50
"""Points whose gradients are taken at once on the processor, in networks with signs of this suite.

There images are searched in groups, which leave more of a larger block empty, and a larger one is hardly faster.
"""

NAMED = 8
"""Images that are named at most where logits are not finite."""


@dataclass(frozen=True)
class Images:
    """`images`: number of test images, evenly spaced over the classes."""

    images: int = 100

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UserError("needs images >= 1")


_sound: list[Subject] = []
"""The last subject that was found to be a fixed function of the single image: its metrics ask one after another."""


class Oracle:
    """The network of a subject. Raises `UserError` if it is not a fixed function of the single image."""

    def __init__(self, subject: Subject, images: np.ndarray, indices: np.ndarray | None = None) -> None:
        self.subject = subject
        self.device = subject.device
        small = self.device == "cpu" and Inputs(subject.network).signs
        self.block = min(subject.block, GRADIENT_BLOCK) if small else subject.block
        self.images = checked(images)
        self.indices = np.arange(len(images)) if indices is None else indices
        self.tick: Callable[[int], None] = subject.tick
        self._seen: Inputs | None = None
        training = [name or "the network" for name, m in subject.network.named_modules() if m.training]
        if training:
            raise UserError(f"{training[0]} is in training mode: call .eval() before measuring")
        if not any(known is subject for known in _sound):
            self._check()
            _sound[:] = [subject]

    @classmethod
    def of(cls, subject: Subject, images: int) -> Oracle:
        """Return the oracle of a subject for `images` of its test images, with their `indices`: see `chosen`."""
        indices = chosen(subject.test.labels, images)
        return cls(subject, subject.test.images[indices], indices)

    def _check(self) -> None:
        """Refuse a network that answers twice differently, or whose answer depends on the other images."""
        some = self.images[: min(8, len(self.images))]
        first = self.subject.logits(some)
        need_finite(first, self.indices)
        if not np.array_equal(first, self.subject.logits(some)):
            raise UserError(
                "the network is not deterministic: the same images gave other logits the second time; its forward pass "
                "may draw random numbers (a dropout that is left on) or change what it remembers"
            )
        # The others moved to other places, and brighter: what is in the batch changes, the first image does not.
        others = np.concatenate([1 - some[::-1], some[:1]])
        alone = self.subject.logits(others)[-1]
        if np.abs(alone - first[0]).max() > SAME * max(1e-30, float(np.abs(first).max())):
            raise UserError("the network's output for an image depends on the other images in the batch")

    def points(self, images: np.ndarray | None = None) -> Tensor:
        """Return images (N, H, W, 3), or the subject's, as points."""
        return torch.from_numpy(self.images if images is None else images).permute(0, 3, 1, 2)

    def logits(self, points: Tensor) -> np.ndarray:
        """Return the deployed network's logits."""
        images = np.ascontiguousarray(points.permute(0, 2, 3, 1).numpy())
        self.tick(len(points))
        return self.subject.logits(images).astype(np.float64)

    def pull(
        self,
        points: Tensor,
        weigh: Callable[[np.ndarray, slice], np.ndarray],
        rows: np.ndarray | None = None,
        surrogate: Surrogate = None,
    ) -> tuple[np.ndarray, Tensor]:
        """Return the logits of the gradient's own forward pass, and the gradient of sum_k u_k f_k at each point.

        u = `weigh(logits, where)` (n, classes) for each block `where` of the points. A `surrogate` window needs `rows`,
        the number of each point's image. Every pass has the block's full size, so that a gradient, too, is independent of
        the other images. Counts two passes a point: forward and backward.
        """
        values, gradients = [], []
        for start in range(0, len(points), self.block):
            n = min(self.block, len(points) - start)
            x = self._padded(points[start : start + n])
            near = torch.from_numpy(np.arange(n) if rows is None else rows[start : start + n]).to(self.device)

            def one(block: Tensor, start: int = start, n: int = n, x: Tensor = x, near: Tensor = near) -> None:
                first, last = int(block[0]), min(n, int(block[-1]) + 1)
                own = near[first:last]
                through = self._inputs().through(surrogate, own) if surrogate is not None else nullcontext()
                with through:
                    of = foreign.differentiated(self.subject.network, x[first : int(block[-1]) + 1])
                found = of.out[: len(own)].detach().double().cpu().numpy()
                u = torch.zeros_like(of.out)
                if len(own):
                    u[: len(own)] = torch.from_numpy(weigh(found, slice(start + first, start + last))).to(u)
                values.append(found)
                gradients.append(self._gradient(of, u, x)[: len(own)])

            # All at once, unless memory does not suffice.
            foreign.in_parts(one, torch.arange(len(x)))
        self.subject.passes += 2 * len(points)
        self.tick(2 * len(points))
        return np.concatenate(values), torch.cat(gradients)

    def first_signs(self) -> Tensor:
        """Return what the first signs see at the images (N, units, ...). The network has some: see `windows`."""
        return self._inputs().seen[self._inputs().first][0]

    def pull_sign(self, points: Tensor, units: np.ndarray) -> Tensor:
        """Return the gradient at each point of what one of the first signs sees; `units` (n) counts over all axes."""
        gradients = []
        inputs = self._inputs()
        for start in range(0, len(points), self.block):
            x = self._padded(points[start : start + self.block])
            n = min(self.block, len(points) - start)
            which = np.zeros(len(x), dtype=np.int64)
            which[:n] = units[start : start + n]

            def one(block: Tensor, x: Tensor = x, which: np.ndarray = which) -> Tensor:
                first, last = int(block[0]), int(block[-1]) + 1
                with inputs.first_seen() as seen:
                    of = foreign.differentiated(self.subject.network, x[first:last])
                z = seen[-1].flatten(1)
                u = torch.zeros_like(z)
                u[range(len(z)), which[first:last]] = 1
                return self._gradient(foreign.Differentiated(z, of.leaf), u, x)

            gradients.append(torch.cat(foreign.in_parts(one, torch.arange(len(x))))[:n])
        self.subject.passes += 2 * len(points)
        self.tick(2 * len(points))
        return torch.cat(gradients)

    def _padded(self, points: Tensor) -> Tensor:
        """Return a block of points on the device, filled up with black images."""
        padded = torch.zeros(self.block, *points.shape[1:]).to(memory_format=torch.channels_last)
        padded[: len(points)] = points
        return padded.to(self.device)

    def _inputs(self) -> Inputs:
        """Return what the signs see at the images, found once."""
        if self._seen is None:
            self._seen = Inputs(self.subject.network)
            x = self.points()
            for start in range(0, len(x), self.block):
                part = x[start : start + self.block]
                with torch.no_grad(), self._seen.recording(len(part)):
                    foreign.ran(self.subject.network, self._padded(part))
            self._seen.close()
        return self._seen

    @property
    def windows(self) -> bool:
        """Tell whether images meet signs of this suite, which windows are for."""
        return self._inputs().first >= 0

    def _gradient(self, of: foreign.Differentiated, u: Tensor, like: Tensor) -> Tensor:
        found = foreign.gradient(of, u)
        return torch.zeros(len(u), *like.shape[1:]) if found is None else found.float().cpu()


def checked(images: np.ndarray) -> np.ndarray:
    """Return images as float32 in [0, 1]: uint8 divided by 255, or floats in that range. Raises `UserError` otherwise."""
    if images.ndim != 4 or not len(images):
        raise UserError(f"images are an array (N, H, W, channels), not {images.shape}")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    scaled = images.astype(np.float32)
    if not (np.isfinite(scaled).all() and scaled.min() >= 0 and scaled.max() <= 1):
        raise UserError(
            "images must lie in [0, 1]: the measurement is in pixel space, normalization is the network's own"
        )
    return scaled


def need_finite(logits: np.ndarray, indices: np.ndarray) -> None:
    """Raise `UserError` where logits (n, classes) are infinite or no numbers, and name the images by their `indices`."""
    bad = np.flatnonzero(not_finite(logits))
    if not len(bad):
        return
    which = ", ".join(str(int(i)) for i in indices[bad[:NAMED]])
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    raise UserError(f"the network's logits are not finite on test image{'s' * (len(bad) > 1)} {which}{more}")


def chosen(labels: np.ndarray, images: int) -> np.ndarray:
    """Return the indices of `images` test images, evenly spaced in an order by class: each class has its share."""
    n = min(images, len(labels))
    by_class = np.argsort(labels, kind="stable")
    return np.asarray(by_class[np.linspace(0, len(labels) - 1, n).astype(int)])
