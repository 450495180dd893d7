"""A batch as consecutive slices, so that any number of processes computes one training to the same bits.

With `recipe.shards` = S a global batch of B images is S slices of B / S. Each slice has its own forward and backward pass:
batch norm's batch statistics are its own, so are the regularizers' terms, and random numbers are keyed by (seed, step,
slice). Every slice begins from the buffers with which the step began. Then, in the order of the slices and on every process,

    gradient            ((g_0 + g_1) + g_2 + ...) / S
    a buffer            ((b_0 + b_1) + b_2 + ...) / S, if a pass changed it and it holds real numbers: running statistics
                        are so (1 - m) old + m times the ordered mean of the slices' statistics
    loss, figures       as the gradient; they are measured in the slices, before the optimizer's step

and each process makes the optimizer's step by itself. A buffer of whole numbers, such as a counter, is changed alike by each
slice. A slice belongs to the processes in order: of w processes, each has S / w slices, one after the other. Nothing depends
on w, because only gathered numbers are summed, never partial sums. The result depends on S, which is a part of the recipe.

What a term keeps from step to step belongs to a slice: there is a term for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase

from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.seeds import derive
from lcrbench.bench.together import Group
from lcrbench.bench.training.precision import cast_of
from lcrbench.models.api import Term, composed, observe
from lcrbench.models.binary import Shared, sharing

Passes = Mapping[str, tuple[float, float]]
"""The passes of one term in a step: forward and backward, for each image, by network."""


def own(shards: int, group: Group) -> range:
    """Return the slices of this process; raises `ValueError` if the processes do not divide them."""
    if shards % group.world:
        raise ValueError(f"{shards} slices cannot be divided among {group.world} processes")
    each = shards // group.world
    return range(group.rank * each, (group.rank + 1) * each)


def backward(
    network: nn.Module,
    terms: Iterable[Term],
    recipe: Recipe,
    images: Tensor,
    labels: Tensor,
    measure: bool,
    *,
    last: bool = True,
    shared: Shared | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Make the forward and backward pass of some images; return the loss, the cross-entropy and how many were right.

    The gradients are added to those that the parameters have. Passes of the same weights share in `shared` what concerns the
    weights alone (`binary.sharing`), up to the `last` one.
    """
    terms = list(terms)
    with nullcontext() if shared is None else sharing(network, shared):
        context = observe(network, terms, images, labels, measure, cast_of(recipe.precision))
    logits = context.logits
    cross_entropy = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    loss, _ = composed(context, terms, cross_entropy)
    del context  # the activations in it
    loss.backward(retain_graph=bool(shared) and not last)  # type: ignore[no-untyped-call,unused-ignore]
    return loss.detach(), cross_entropy.detach(), (logits.detach().argmax(1) == labels).sum()


class Shards:
    """The slices of a batch that this process computes, and how all of them become one step."""

    def __init__(self, network: nn.Module, recipe: Recipe, seed: int, group: Group) -> None:
        self.network, self.recipe, self.seed, self.group = network, recipe, seed, group
        self.number, self.own = recipe.shards, own(recipe.shards, group)
        self.figures: dict[str, float] = {}
        self.parameters: list[nn.Parameter] = []
        self.places: list[tuple[nn.Module, str]] = []
        self._rows = torch.empty(0)
        self._layout: list[tuple[Any, ...]] = []
        self._views: list[list[Tensor]] = []

    def part(self) -> slice:
        """Return which images of a batch this process computes."""
        size = self.recipe.batch // self.number
        return slice(self.own.start * size, self.own.stop * size)

    def backward(
        self, terms: Sequence[Mapping[str, Term]], images: Tensor, labels: Tensor, step: int, measure: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give the parameters their gradients of the global batch, and the buffers their values after it.

        `images` and `labels` are those of this process's slices, and `terms` theirs. Returns the mean loss and cross-entropy
        of the global batch, and how many of its images were right. With `measure` the terms' figures are in `figures`.
        """
        size = self.recipe.batch // self.number
        # At each step, because a stage may begin with other parts.
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.places = [(m, name) for m in self.network.modules() for name, _ in m.named_buffers(recurse=False)]
        before = self._buffers()
        with torch.no_grad():
            kept = [b.clone() for b in before]
        # A norm's pass changes its statistics without a trace in the tensor's version.
        norms = {i for i, (m, _) in enumerate(self.places) if isinstance(m, _NormBase) and m.training}
        changed = sorted(norms)
        found: list[dict[str, float]] = []
        shared: Shared = {}
        for k, shard in enumerate(self.own):
            if k:
                self._put_back(changed, before, kept)
            versions = [b._version for b in before]
            seed = derive(self.seed, "slice", step, shard)
            # `torch.manual_seed` would keep a stack trace for each kind of device that is not there.
            torch.default_generator.manual_seed(seed)
            if images.is_cuda:
                torch.cuda.manual_seed(seed)
            for term in terms[k].values():
                term.reseed(seed)
            part = slice(k * size, (k + 1) * size)
            told = backward(
                self.network,
                terms[k].values(),
                self.recipe,
                images[part],
                labels[part],
                measure,
                last=k == len(self.own) - 1,
                shared=shared if len(self.own) > 1 else None,
            )
            after = self._buffers()
            moved = [i for i, b in enumerate(after) if b is not before[i] or b._version != versions[i]]
            # A pass that changed fewer buffers than another has left the rest as they were.
            changed = sorted({*changed, *moved})
            self._keep(k, [after[i] for i in changed if after[i].is_floating_point()], told)
            if measure:
                found.append({f"{n}.{f}": v for n, term in terms[k].items() for f, v in term.figures().items()})
        if measure:
            names = list(found[0])
            self.figures = dict(zip(names, self._mean([[one[n] for n in names] for one in found]), strict=True))
        return self._total([b for b in (self._buffers()[i] for i in changed) if b.is_floating_point()])

    def passes(self, terms: Sequence[Mapping[str, Term]]) -> list[Passes]:
        """Return the passes that each term made in the last step, the mean of the slices'."""
        each = [[term.passes for term in one.values()] for one in terms]
        if self.number == 1:
            return list(each[0])
        means = iter(self._mean([[n for passes in one for pair in passes.values() for n in pair] for one in each]))
        return [{name: (next(means), next(means)) for name in passes} for passes in each[0]]

    def _mean(self, own: list[list[float]]) -> list[float]:
        """Return the mean over all slices of numbers of this process's slices."""
        each = len(own[0])
        if not each:
            return []
        rows = self.group.numbers([n for row in own for n in row])
        slices = [row[k : k + each] for row in rows for k in range(0, len(row), each)]
        return [sum(column) / self.number for column in zip(*slices, strict=True)]

    def _buffers(self) -> list[Tensor]:
        return [m._buffers[name] for m, name in self.places]  # type: ignore[misc]

    @torch.no_grad()
    def _put_back(self, changed: list[int], before: list[Tensor], kept: list[Tensor]) -> None:
        """Let the network have the buffers again with which the step began."""
        for i in changed:
            module, name = self.places[i]
            module._buffers[name] = before[i]
            before[i].copy_(kept[i])

    @torch.no_grad()
    def _keep(self, k: int, buffers: list[Tensor], told: Sequence[Tensor]) -> None:
        """Put what slice k found into its row, and take the gradients from the parameters."""
        grads = [p.grad for p in self.parameters]
        held = [g for g in grads if g is not None] + buffers
        layout = [tuple(g is not None for g in grads), *((b.shape, b.stride()) for b in buffers)]
        if layout != self._layout:
            if k:
                raise RuntimeError(
                    "the slices of a batch give gradients or statistics to different parts of the network"
                )
            self._layout = layout
            like = [p for p, g in zip(self.parameters, grads, strict=True) if g is not None] + buffers
            size = sum(t.numel() for t in like) + len(told)
            dtype = torch.float64 if any(t.dtype == torch.float64 for t in like) else torch.float32
            self._rows = torch.zeros(len(self.own), size, dtype=dtype, device=told[0].device)
            self._views = [_views(row, like) for row in self._rows]
        torch._foreach_copy_(self._views[k], held)
        self._rows[k, -len(told) :] = torch.stack([t.to(self._rows.dtype) for t in told])
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def _total(self, buffers: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Give parameters and buffers the ordered means over all slices; return those of what was told."""
        rows = self.group.gather(self._rows)
        total = rows[0].clone()
        for row in rows[1:]:
            total += row
        right = total[-1].clone()
        total /= self.number
        present = [p for p, there in zip(self.parameters, self._layout[0], strict=True) if there]
        views = _views(total, [*present, *buffers])
        for p, view in zip(present, views, strict=False):
            p.grad = view if view.dtype == p.dtype else view.to(p.dtype)
        if buffers:
            torch._foreach_copy_(buffers, views[len(present) :])
        return total[-3].clone(), total[-2].clone(), right


def _views(row: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return parts of a row (N,), one after the other, in the shapes and memory layouts of tensors."""
    found, start = [], 0
    for t in like:
        part, start = row[start : start + t.numel()], start + t.numel()
        dense = t.is_contiguous() or (t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last))
        # In the tensor's own layout: it is copied faster, and another one may be summed in another order.
        found.append(part.as_strided(t.shape, t.stride()) if dense else part.view(t.shape))
    return found
