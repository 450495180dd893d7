"""The training loop: one for all methods, so that a comparison differs in the method alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.bench.budget import Budget
from lcrbench.bench.data import Split
from lcrbench.bench.seeds import generator
from lcrbench.models.network import latent_weights

PAD = 4
LOGGED_STEPS = 100


class Diverged(Exception):
    """The loss is not finite any more; `step` is the step that found it."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the loss was {loss} at step {step}: try a smaller learning rate or regularizer weight")
        self.step = step


@dataclass
class Spent:
    """What a training used up, and the digests that prove what it was given."""

    images: int = 0
    steps: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    data_order: Any = field(default_factory=hashlib.sha256)
    augmentation: Any = field(default_factory=hashlib.sha256)


def train(
    network: nn.Module,
    split: Split,
    budget: Budget,
    seed: int,
    *,
    on_progress: Callable[[nn.Module, float], None] | None = None,
    regularizers: dict[str, Any] | None = None,
    device: str = "cpu",
    watch: Callable[[dict[str, float]], None] = lambda row: None,
) -> Spent:
    """Train `network` in place on `split` under `budget`; raises `Diverged` when the loss is not finite.

    Cross-entropy plus the regularizers' terms, SGD with Nesterov momentum. `watch` is called after each logged step with
    the log's new row: step, images, lr, loss (all terms), cross_entropy and accuracy (both means over the training images
    seen since the row before), and each regularizer's figures.
    """
    terms = {name: r.attach(network) for name, r in (regularizers or {}).items()}
    optimizer = make_optimizer(network, budget)
    every = max(1, budget.steps // LOGGED_STEPS)
    spent = Spent()
    network.train().to(device)
    sums = {"loss": 0.0, "cross_entropy": 0.0, "right": 0.0, "images": 0.0}
    try:
        for step, (images, labels) in enumerate(batches(split, budget, seed, spent, device)):
            if on_progress:
                on_progress(network, step / budget.steps)
            logged = (step + 1) % every == 0 or step == 0 or step + 1 == budget.steps
            for term in terms.values():
                term.begin(logged)
            rate = learning_rate(budget, step)
            for group in optimizer.param_groups:
                group["lr"] = rate

            logits = network(images)
            cross_entropy = F.cross_entropy(logits, labels)
            loss = cross_entropy
            for term in terms.values():
                extra = term.loss()
                # Adding a term times 0 would change bits: a regularizer with nothing to optimize adds nothing.
                loss = loss if extra is None else loss + extra
            if not math.isfinite(value := float(loss.detach())):
                raise Diverged(step, value)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

            spent.steps, spent.images = step + 1, spent.images + len(labels)
            sums["loss"] += value * len(labels)
            sums["cross_entropy"] += float(cross_entropy.detach()) * len(labels)
            sums["right"] += float((logits.detach().argmax(1) == labels).sum())
            sums["images"] += len(labels)
            if logged:
                seen = sums["images"]
                row: dict[str, float] = {
                    "step": step + 1,
                    "images": spent.images,
                    "lr": rate,
                    "loss": sums["loss"] / seen,
                    "cross_entropy": sums["cross_entropy"] / seen,
                    "accuracy": sums["right"] / seen,
                }
                for name, term in terms.items():
                    row |= {f"{name}.{k}": v for k, v in term.figures().items()}
                spent.log.append(row)
                watch(row)
                sums = dict.fromkeys(sums, 0.0)
    finally:
        for term in terms.values():
            term.detach()
    network.eval()
    return spent


def make_optimizer(network: nn.Module, budget: Budget) -> torch.optim.Optimizer:
    """Return SGD with weight decay on the latent weights alone, as the budget's `decay` says."""
    decayed = list(latent_weights(network).values())
    ids = {id(p) for p in decayed}
    rest = [p for p in network.parameters() if id(p) not in ids]
    groups = [{"params": decayed, "weight_decay": budget.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=budget.lr, momentum=budget.momentum, nesterov=budget.momentum > 0)


def learning_rate(budget: Budget, step: int) -> float:
    """Return the rate of a step: linear warm-up to `lr`, then lr (1 + cos(pi p)) / 2 down to 0."""
    warmup = round(budget.warmup * budget.steps)
    if step < warmup:
        return budget.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, budget.steps - warmup)
    return budget.lr * 0.5 * (1 + math.cos(math.pi * progress))


def batches(split: Split, budget: Budget, seed: int, spent: Spent, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches (N, 3, H, W) in [0, 1], channels last, with labels (N,): one endless shuffled stream, cut into batches.

    The order depends on (seed, epoch), the augmentation of an image on (seed, epoch, its index), and on nothing else.
    """
    images, labels = torch.from_numpy(split.images.copy()).to(device), torch.from_numpy(split.labels.copy()).to(device)
    n, size = len(labels), images.shape[1]
    order = np.empty(0, dtype=np.int64)
    draws = np.empty((0, 3), dtype=np.int64)
    epoch = 0
    for _ in range(budget.steps):
        while len(order) < budget.batch:
            shuffled = generator(seed, "data order", epoch).permutation(n)
            drawn = generator(seed, "augmentation", epoch)
            shifts = np.column_stack([drawn.integers(0, 2 * PAD + 1, size=(n, 2)), drawn.integers(0, 2, size=n)])
            order = np.concatenate([order, shuffled])
            draws = np.concatenate([draws, shifts[shuffled]])
            epoch += 1
        index, order = order[: budget.batch], order[budget.batch :]
        draw, draws = draws[: budget.batch], draws[budget.batch :]
        spent.data_order.update(index.astype("<i8").tobytes())
        where = torch.from_numpy(index).to(device)
        batch = images[where]
        if budget.augmentation == "crop-flip":
            spent.augmentation.update(draw.astype("<i8").tobytes())
            batch = crop_flip(batch, torch.from_numpy(draw).to(device), size)
        yield batch.permute(0, 3, 1, 2).float().div_(255), labels[where]


def crop_flip(images: Tensor, draw: Tensor, size: int) -> Tensor:
    """Zero-pad (N, H, W, 3) by 4, crop at the drawn (row, column) of 0..8, flip where the third draw is 1."""
    padded = F.pad(images, (0, 0, PAD, PAD, PAD, PAD))
    steps = torch.arange(size, device=images.device)
    rows = draw[:, 0, None] + steps
    columns = draw[:, 1, None] + torch.where(draw[:, 2, None] == 1, size - 1 - steps, steps)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]]
