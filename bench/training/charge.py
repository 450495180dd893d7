"""Counts what a training computes, by torch's FlopCounterMode, from steps on a few images.

Counted are convolutions and products of matrices, of matrices and vectors and of vectors, wherever they are: in layers, in
custom autograd functions, in regularizers and teachers, forward, backward and backward through a backward pass. Not counted
is elementwise work (norms, activations, signs, optimizers), decompositions such as an SVD, and what a method does between
the steps (`on_progress`: each of RBNN's 20 rotations of a training, 1 % of a step of 100 images on small networks and 7 % on
ResNet-18). A count is the same on every machine and for every precision: a product of signs counts like any other, since in
training it is one.

The unit is the plain network's step: forward and backward pass of the same backbone with the method `full_precision`.

A step is counted on 2, 3 and 4 images and continued to the batch as a polynomial of the second degree. That is exact where
an operation's cost is constant (it concerns the weights), proportional to the images, or to their pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lcrbench.bench.training.prices import Price, Prices
from lcrbench.bench.training.selection import BLOCK
from lcrbench.models import network as networks
from lcrbench.models.api import composed, observe

PLAIN = "full_precision"
SIZES = (2, 3, 4)
"""Numbers of images that are counted: consecutive, and a batch norm needs two at least."""


@lru_cache(maxsize=256)
def prices(
    label: str, backbone: str, classes: int, size: int, batch: int, validation: int = 0, shards: int = 1
) -> Prices:
    """Return the prices of a training of `label`, a method with its regularizers, by batches of `batch` images.

    Each of `shards` slices of a batch is computed by itself: what concerns the weights alone is computed so many times.
    The network is built for size x size images; a pass over `validation` held-out images is one in blocks, the last of them
    filled up, as the selection makes it. Counted once for the same arguments in a process. Raises `UserError` for what does
    not fit.
    """
    choice = networks.choose(label)
    made = _Counted(choice, backbone, classes, size)
    steps = []
    for stage in range(max(1, len(choice.method.stages))):
        step = _continued([made.step(stage, n, False) for n in SIZES], batch, shards)
        # Only terms measure.
        logged = _continued([made.step(stage, n, True) for n in SIZES], batch, shards) if choice.regularizers else step
        steps.append((step, logged))
    blocks = -(-validation // BLOCK)
    one_pass = _at([made.validation(n) for n in SIZES], BLOCK) if blocks else 0
    if label == PLAIN:
        plain = steps[0][0].full
    else:  # with the same arguments as a teacher's, so that both are counted once
        plain = prices(PLAIN, backbone, classes, size, batch, validation, shards).plain
    return Prices(plain, batch, tuple(steps), blocks * one_pass)


class _Counted:
    """A network of a choice, with teachers, whose steps are counted. Its latent weights stay as they start."""

    def __init__(self, choice: networks.Choice, backbone: str, classes: int, size: int) -> None:
        def build(one: networks.Choice) -> networks.Network:
            return networks.build(one, backbone, classes, size, [0.5] * 3, [0.25] * 3, _generator)

        self.choice, self.classes, self.size = choice, classes, size
        # torch's layers draw initial weights that are not used.
        with torch.random.fork_rng(devices=[]):
            self.network = build(choice)
            self.teachers = {text: build(networks.choose(text)) for text in networks.teachers(choice)}

    def step(self, stage: int, images: int, measure: bool) -> Price:
        """Count a step whose terms are new, and with a teacher the same step again: what it says may have been kept."""
        terms = networks.attach(self.choice, self.network, self.teachers)
        try:
            self.network.train()
            self.choice.method.on_stage(self.network, stage)
            self.choice.method.on_progress(self.network, 0.0)
            found = []
            for _ in range(2 if self.teachers else 1):
                operations = counted(lambda: self._step(terms.values(), images, measure))
                found.append((operations, sum(f + b for t in terms.values() for f, b in t.passes.values())))
        finally:
            for term in terms.values():
                term.detach()
        (full, passes), (again, fewer) = found[0], found[-1]
        if again == full or passes == fewer:
            return Price(full, full, passes)
        # In proportion to the passes that are left: none of them were, if all could be kept.
        return Price(full, round(full - (full - again) * passes / (passes - fewer)), passes)

    def _step(self, terms: Any, images: int, measure: bool) -> None:
        x = torch.rand(images, 3, self.size, self.size, generator=_generator("images"))
        labels = torch.arange(images) % self.classes
        context = observe(self.network, terms, x, labels, measure)
        loss, _ = composed(context, terms, F.cross_entropy(context.logits, labels))
        if measure:
            for term in terms:
                term.figures()
        self.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]

    def validation(self, images: int) -> int:
        """Count a pass of validation."""
        x = torch.zeros(images, 3, self.size, self.size)
        self.network.eval()
        with torch.no_grad():
            return counted(lambda: self.network(x))


def counted(work: Callable[[], Any]) -> int:
    """Return the operations of some work in this thread, two for each multiply-accumulate."""
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    # By module it cannot count beside a gradient with respect to the images, and no budget needs that.
    counter.mod_tracker = _Whole()  # type: ignore[assignment]
    with counter:
        work()
    return int(counter.get_total_flops())


class _Whole(AbstractContextManager[None]):
    """Stands in for FlopCounterMode's tracker of modules: all operations belong to the whole."""

    parents = ("Global",)

    def __exit__(self, *_: object) -> None:
        pass


def _continued(found: Sequence[Price], batch: int, shards: int) -> Price:
    full, least = (_at(numbers, batch // shards) for numbers in ([p.full for p in found], [p.least for p in found]))
    return Price(full * shards, least * shards, found[-1].passes)


def _at(values: Sequence[int], n: int) -> int:
    """Return the polynomial of the second degree through the values at 2, 3 and 4, at n."""
    a, b, c = values
    k = n - SIZES[0]
    return a + (b - a) * k + (c - 2 * b + a) * k * (k - 1) // 2


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(sum(map(ord, name)))


def _convolution_backward(grad: Any, x: Any, weight: Any, *rest: Any, **_: Any) -> int:
    """Count as many operations for each gradient as the forward pass has: torch's own formula leaves groups out of account.

    `rest` is bias, stride, padding, dilation, transposed, output_padding, groups, output_mask.
    """
    transposed, mask = rest[4], rest[7]
    forward = 2 * grad[0] * prod(x[2:] if transposed else grad[2:]) * prod(weight)
    return int(forward * sum(mask[:2]))


def _product(first: Any, *_: Any, **__: Any) -> int:
    return int(2 * prod(first))


def _added_product(_: Any, first: Any, *__: Any, **___: Any) -> int:
    return int(2 * prod(first))


aten = torch.ops.aten
FORMULAS: dict[Any, Any] = {
    aten.convolution_backward: _convolution_backward,
    aten.mv: _product,
    aten.addmv: _added_product,
    aten.dot: _product,
    aten.vdot: _product,
}
