"""A training's steps: plain ones, and on an accelerator one that is captured once and replayed.

A step of a small binary network is some thousand operations of a few microseconds each. Python starts them one by one, more
slowly than an accelerator does them. There the step is captured as a CUDA graph after a few plain ones, and started as one:

    forward and backward pass, terms, `on_gradient`, the optimizer's step

Batches, schedules, averages of weights, logs and saves stay outside. What a captured step reads lies in tensors of fixed
places: the batch, the learning rate and the numbers of the estimators, which the loop fills in before each step. Plain
steps on the accelerator read the same tensors, so that the two differ in nothing.

Plain steps are: those that are logged, because terms then measure; all steps of a batch in slices; all where a method, a
term, a backbone or an optimizer does not declare that it can be captured. The first two captured steps are compared with
plain ones, all bits of the network and the optimizer: if they differ, the training goes on with plain steps. `Steps.told`
says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.training.shards import backward
from lcrbench.bench.training.state import State
from lcrbench.models.api import Backbone, Estimator, Number

WARM = 3
"""Plain steps before one is captured: libraries load kernels and take their workspaces in the first ones."""

PROOFS = 2
"""Captured steps that are compared with plain ones. The second shows what the first cannot: a tensor that a step replaces,
and the next one would have to look for in its new place."""


class Numbers:
    """The learning rate and what the estimators' slopes depend on; on an accelerator in one tensor there."""

    def __init__(self, network: nn.Module, device: str) -> None:
        self.device = device
        self._estimators = [m for m in network.modules() if isinstance(m, Estimator) and m.numbers]
        self._own: list[tuple[Number, ...]] = [m.numbers for m in self._estimators]
        self._there: Tensor | None = None
        self._views: list[tuple[Tensor, ...]] = []

    def put(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        """Give the rate to the optimizer, and the estimators their numbers as they were set last."""
        there = self._on_device(rate) if self.device != "cpu" else None
        for group in optimizer.param_groups:
            group["lr"] = there if isinstance(group["lr"], Tensor) and there is not None else rate

    def _on_device(self, rate: float) -> Tensor:
        for k, m in enumerate(self._estimators):
            if self._there is None or m.numbers is not self._views[k]:
                self._own[k] = m.numbers
        # From pinned memory, or the copy would wait for all that the device still has to do.
        values = torch.tensor([rate, *(n for own in self._own for n in own)], dtype=torch.float32).pin_memory()
        if self._there is None:
            self._there = torch.empty(len(values), device=self.device)
            each = iter(self._there[1:].unbind())
            self._views = [tuple(next(each) for _ in own) for own in self._own]
        self._there.copy_(values, non_blocking=True)
        for m, views in zip(self._estimators, self._views, strict=True):
            m.numbers = views
        return self._there[0]

    def leave(self) -> None:
        """Give the estimators numbers of Python's again, as the last step had them."""
        for m, own, views in zip(self._estimators, self._own, self._views, strict=False):
            if m.numbers is views:
                m.numbers = own


class Steps:
    """Makes the steps of one training, and adds to its tally what the log shows of them; none waits for an accelerator."""

    def __init__(
        self, state: State, recipe: Recipe, device: str, on_gradient: Callable[[nn.Module], None], capturable: bool
    ) -> None:
        self.state, self.recipe, self.device, self.on_gradient = state, recipe, device, on_gradient
        self.capturable = capturable
        self.reason = ""
        self.captured = 0
        self.stage: int | None = None
        self.numbers = Numbers(state.network, device)
        self._warm = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._unproved = PROOFS
        self._found = self._images = self._labels = torch.empty(0)

    def leave(self) -> None:
        """Give the network numbers of Python's again, with which it works anywhere."""
        self.numbers.leave()

    @property
    def told(self) -> str:
        """Return how the steps were made: "captured", or "plain" with the reason if there is one to tell."""
        return f"plain: {self.reason}" if self.reason else "captured" if self.captured else "plain"

    def make(self, images: Tensor, labels: Tensor, step: int, rate: float, measure: bool) -> None:
        """Make one step at a learning rate; `images` and `labels` are those of this process's slices of the batch."""
        if self.stage != self.state.stage:
            # Another stage may have other parts, and has an optimizer of its own.
            self.stage, self._warm, self._graph = self.state.stage, 0, None
            self.numbers.leave()
            self.numbers = Numbers(self.state.network, self.device)
            self.reason = self._hindrance()
        self.numbers.put(self.state.optimizer, rate)
        if self.device != "cpu":
            images = images.contiguous(memory_format=layout(self.recipe.precision))
        if self._warm == WARM and not (measure or self.reason or self._graph):
            self._images, self._labels = images.clone(), labels.clone()
            self._capture(step)
        if self._graph and not measure:
            told = self._prove(images, labels, step) if self._unproved else self._replay(images, labels)
        else:
            self._warm = min(self._warm + 1, WARM)
            told = self._plain(images, labels, step, measure)
        self.state.tally.add(step, self.recipe.batch, *told)

    def _hindrance(self) -> str:
        """Return why no step can be captured, or an empty text."""
        if self.device == "cpu":
            return "on a processor"
        if self.recipe.shards > 1:
            return "a batch in slices"
        if not self.capturable:
            return "the method does not declare that it can be captured"
        if not all(m.capturable for m in self.state.network.modules() if isinstance(m, Backbone)):
            return "the backbone does not declare that it can be captured"
        for name, term in self.state.terms[0].items():
            if not term.capturable:
                return f"{name} does not declare that it can be captured"
        if not all(isinstance(group["lr"], Tensor) for group in self.state.optimizer.param_groups):
            return "the optimizer takes no tensor as its learning rate"
        return ""

    def _plain(self, images: Tensor, labels: Tensor, step: int, measure: bool) -> tuple[Tensor, Tensor, Tensor]:
        state = self.state
        # What is captured, before or after this, reads the buffers where they lie now.
        keeping = nullcontext() if self.device == "cpu" else _in_place(state.network)
        with keeping:
            return self._made(images, labels, step, measure)

    def _made(self, images: Tensor, labels: Tensor, step: int, measure: bool) -> tuple[Tensor, Tensor, Tensor]:
        state = self.state
        state.optimizer.zero_grad(set_to_none=True)
        if self.recipe.shards == 1:
            told = backward(state.network, state.terms[0].values(), self.recipe, images, labels, measure)
        else:
            told = state.shards.backward(state.terms, images, labels, step, measure)
        self.on_gradient(state.network)
        state.optimizer.step()
        return told

    def _capture(self, step: int) -> None:
        """Record a step as a graph, which changes nothing; where that fails, say why."""
        before = self._copies()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads go on: they load images.
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
                found = self._plain(self._images, self._labels, step, False)
                self._found = torch.stack([t.double() for t in found])
            self._graph, self._unproved = graph, PROOFS
        except RuntimeError as error:
            self.reason = f"the capture failed: {str(error).strip().splitlines()[0]}"
        self._set(before)

    def _prove(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, ...]:
        """Make a step as a plain one and as a captured one from the same state, and drop the graph if they differ."""
        before = self._copies()
        plain = self._plain(images, labels, step, False)
        after = self._copies()
        self._set(before)
        told = self._replay(images, labels)
        expected = [*after, *(t.double() for t in plain)]
        if all(torch.equal(a, b) for a, b in zip(expected, [*self._tensors(), *told], strict=True)):
            self._unproved -= 1
            return told
        self._graph, self.reason = None, "a captured step differed from the plain one"
        self._set(after)
        return plain

    def _replay(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        assert self._graph is not None
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        self.captured += 1
        # The next replay overwrites them.
        return self._found.clone().unbind()

    def _copies(self) -> list[Tensor]:
        return [t.clone() for t in self._tensors()]

    def _tensors(self) -> list[Tensor]:
        """Return all that a step changes and the next one reads."""
        found = [*self.state.network.parameters(), *self.state.network.buffers()]
        moments = (v for m in self.state.optimizer.state.values() for v in m.values() if isinstance(v, Tensor))
        kept = (t for term in self.state.terms[0].values() for t in term.state().values())
        return [t.detach() for t in (*found, *moments, *kept)]

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for t, value in zip(self._tensors(), values, strict=True):
            t.copy_(value)


@contextmanager
def _in_place(network: nn.Module) -> Iterator[None]:
    """Let buffers that a part replaces inside the block keep their tensors, with the new values."""
    before = [(m, name, b) for m in network.modules() for name, b in m._buffers.items() if b is not None]
    yield
    with torch.no_grad():
        for m, name, b in before:
            new = m._buffers[name]
            if new is not None and new is not b:
                b.copy_(new)
                m._buffers[name] = b


def layout(precision: str) -> torch.memory_format:
    """Return the memory layout of images and weights that trains faster on an accelerator.

    There cuDNN has no kernels of float32 for channels last, and copies to and fro; those of bfloat16 are for it.
    """
    return torch.contiguous_format if precision == "fp32" else torch.channels_last


@contextmanager
def stream_of(device: str) -> Iterator[None]:
    """Work on a stream of the training's own inside the block, because no graph is captured on the default one."""
    if device == "cpu":
        yield
        return
    own = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    outer = torch.cuda.current_stream()
    own.wait_stream(outer)
    try:
        with torch.cuda.stream(own):
            yield
    finally:
        outer.wait_stream(own)
