"""The training loop: one for all methods, so that a comparison differs in the method alone."""

from __future__ import annotations

import hashlib
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.bench.data import Split
from lcrbench.bench.records.budget import Budget
from lcrbench.bench.seeds import generator
from lcrbench.models.api import observe
from lcrbench.models.network import latent_weights

PAD = 4
LOGGED_STEPS = 100


class Diverged(Exception):
    """The loss or the network's state is not finite any more; `step` is the step that found it."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} at step {step}: try a smaller learning rate or regularizer weight")
        self.step = step


class Stopped(Exception):
    """The training was asked to stop and has saved a checkpoint."""


class Checkpoint(Protocol):
    """Where a training saves itself, and who may ask it to stop (see checkpoint.py)."""

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and the rest of the last save, or None."""

    def save(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        """Save, whole or not at all."""

    def due(self) -> bool:
        """Tell whether it is time to save."""

    def stopping(self) -> bool:
        """Tell whether the training is to save and stop."""


@dataclass
class Spent:
    """What a training used up, and the digests that prove what it was given.

    `forward` and `backward` count single images by network: the student's own passes and those that terms declare.
    `compute` is all of them by their multiply-accumulates, a backward pass as two forward ones, over those of a plain step
    for one image. `stages` holds the steps of each stage; `cpu` and `wall` are seconds.
    """

    images: int = 0
    steps: int = 0
    stages: list[int] = field(default_factory=list)
    compute: float = 0.0
    cpu: float = 0.0
    wall: float = 0.0
    forward: dict[str, float] = field(default_factory=dict)
    backward: dict[str, float] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)
    progress: float = 0.0
    data_order: Any = field(default_factory=hashlib.sha256)
    augmentation: Any = field(default_factory=hashlib.sha256)


def train(
    network: nn.Module,
    split: Split,
    budget: Budget,
    seed: int,
    *,
    on_progress: Callable[[nn.Module, float], None] | None = None,
    stages: int = 1,
    on_stage: Callable[[nn.Module, int], None] | None = None,
    regularizers: dict[str, Any] | None = None,
    device: str = "cpu",
    watch: Callable[[dict[str, float], float], None] = lambda row, progress: None,
    checkpoint: Checkpoint | None = None,
) -> Spent:
    """Train `network` in place on `split` under `budget`, which is one of images or of seconds.

    Cross-entropy plus the regularizers' terms (a term may take a share of the cross-entropy's place), SGD with Nesterov
    momentum. Each of several `stages` has an equal part of the budget, a schedule of its own with warm-up, and a fresh
    optimizer; it begins with `on_stage(network, k)`, and goes on with the weights and the data stream of the one
    before. `on_progress(network, t)` is called before each step with the progress t in [0, 1) within the stage. `watch`
    is called after each logged step with the log's new row and the progress in [0, 1]: step, images, lr, loss (all
    terms), cross_entropy and accuracy (both means over the training images seen since the row before), and each
    regularizer's figures.

    With a `checkpoint` it goes on from the last save, to the same bits as if it had never stopped (not under a budget
    in seconds). Raises `Diverged` when the loss is not finite, or weights and statistics are not where a row is logged,
    and `Stopped` after saving when it was asked to stop.
    """
    terms = {name: r.attach(network) for name, r in (regularizers or {}).items()}
    steps = budget.steps()
    spent, sums = Spent(), dict.fromkeys(("loss", "cross_entropy", "right", "images"), 0.0)
    network.train().to(device)
    optimizer = make_optimizer(network, budget)
    first, stage = 0, -1
    if checkpoint and (saved := checkpoint.load()):
        stage = len(saved[1]["stages"]) - 1
        # What the network holds beside its state, as the step before the save left it; then the state, over all else.
        if on_stage:
            on_stage(network, stage)
        if on_progress:
            on_progress(network, saved[1]["progress"])
        sums = _restore(network, optimizer, terms, spent, *saved)
        first = spent.steps
    # Each step waits for its loss, so that on an accelerator the wall shows the device's seconds.
    cpu, wall = time.process_time() - spent.cpu, time.perf_counter() - spent.wall
    kept = 1.0 - sum(t.replaces for t in terms.values())
    try:
        for step, (images, labels) in enumerate(batches(split, budget, seed, spent, device, first), start=first):
            spent.cpu, spent.wall = time.process_time() - cpu, time.perf_counter() - wall
            elapsed = (spent.cpu if device == "cpu" else spent.wall) / (budget.seconds or 1.0)
            if step == steps or (steps is None and elapsed >= 1 and step):
                break
            now, progress = _place(step, steps, elapsed, stages)
            if now > stage:
                if stage >= 0:
                    optimizer = make_optimizer(network, budget)
                stage = now
                if on_stage:
                    on_stage(network, stage)
            spent.progress = progress
            if on_progress:
                on_progress(network, progress)
            every = max(1, (steps or 100 * LOGGED_STEPS) // LOGGED_STEPS)
            logged = (step + 1) % every == 0 or step == 0 or step + 1 == steps
            rate = learning_rate(budget, progress)
            for group in optimizer.param_groups:
                group["lr"] = rate

            context = observe(network, terms.values(), images, labels, logged)
            logits = context.logits
            cross_entropy = F.cross_entropy(logits, labels)
            # Times 1, or plus a term times 0, would change bits: what has nothing to say is left out.
            loss = cross_entropy if kept == 1 else kept * cross_entropy
            for term in terms.values():
                extra = term.loss(context)
                loss = loss if extra is None else loss + extra
            del context  # the activations in it
            if not math.isfinite(value := float(loss.detach())):
                raise Diverged(step, f"the loss was {value}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
            optimizer.step()

            # A sign hides what is no number from the loss, but weights and batch norm's statistics keep it.
            if logged and not all(t.isfinite().all() for t in network.state_dict().values()):
                raise Diverged(step, "a weight or statistic of the network was not finite")

            count = len(labels)
            spent.steps, spent.images = step + 1, spent.images + count
            spent.stages += [0] * (stage + 1 - len(spent.stages))
            spent.stages[stage] += 1
            _charge(spent, terms, count)
            sums["loss"] += value * count
            sums["cross_entropy"] += float(cross_entropy.detach()) * count
            sums["right"] += float((logits.detach().argmax(1) == labels).sum())
            sums["images"] += count
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
                if stages > 1:
                    row["stage"] = stage + 1
                for name, term in terms.items():
                    row |= {f"{name}.{k}": v for k, v in term.figures().items()}
                spent.log.append(row)
                watch(row, (step + 1) / steps if steps else max(elapsed, 1e-9))
                sums = dict.fromkeys(sums, 0.0)
            if checkpoint and (checkpoint.stopping() or checkpoint.due()):
                spent.cpu, spent.wall = time.process_time() - cpu, time.perf_counter() - wall
                checkpoint.save(*_state(network, optimizer, terms, spent, sums))
                if checkpoint.stopping():
                    raise Stopped
        if checkpoint and spent.steps > first:
            checkpoint.save(*_state(network, optimizer, terms, spent, sums))
    finally:
        for term in terms.values():
            term.detach()
    network.eval()
    return spent


def _place(step: int, steps: int | None, elapsed: float, stages: int) -> tuple[int, float]:
    """Return the stage that a step belongs to, and the progress in [0, 1) within it."""
    if steps is None:
        stage = min(stages - 1, int(elapsed * stages))
        return stage, min(elapsed * stages - stage, 1 - 1e-9)
    ends = [steps * (k + 1) // stages for k in range(stages)]
    stage = bisect_right(ends, step)
    begin = ends[stage - 1] if stage else 0
    # The middle of the step, so that the first and the last step have a learning rate above 0.
    return stage, (step - begin + 0.5) / (ends[stage] - begin)


def relative_cost(terms: dict[str, Any]) -> float:
    """Return the compute of a step with these terms over that of the plain network's step.

    A term may have `passes`: by network, its forward and backward passes for each training image and the network's
    multiply-accumulates over the student's. A backward pass counts as two forward ones.
    """
    extra: float = sum((f + 2 * b) * macs for t in terms.values() for f, b, macs in t.passes.values())
    return 1 + extra / 3


def _charge(spent: Spent, terms: dict[str, Any], count: int) -> None:
    spent.forward["student"] = spent.forward.get("student", 0) + count
    spent.backward["student"] = spent.backward.get("student", 0) + count
    spent.compute += relative_cost(terms) * count
    for term in terms.values():
        for name, (forward, backward, _) in term.passes.items():
            spent.forward[name] = spent.forward.get(name, 0) + forward * count
            spent.backward[name] = spent.backward.get(name, 0) + backward * count


def _state(
    network: nn.Module, optimizer: torch.optim.Optimizer, terms: dict[str, Any], spent: Spent, sums: dict[str, float]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return all that the rest of the training depends on. Schedules follow from the step, the data stream from the seed."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in moments.items() if isinstance(v, Tensor)}
    for name, term in terms.items():
        tensors |= {f"term.{name}.{k}": v for k, v in term.state().items()}
    keep = ("images", "steps", "stages", "progress", "compute", "cpu", "wall", "forward", "backward", "log")
    return tensors, {"sums": sums, **{k: getattr(spent, k) for k in keep}}


def _restore(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    terms: dict[str, Any],
    spent: Spent,
    tensors: dict[str, Tensor],
    rest: dict[str, Any],
) -> dict[str, float]:
    """Put a saved state back; return the sums of the log's unfinished row."""
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            # In the parameter's own memory layout: another one may be summed in another order.
            like = parameters[int(index)]
            moments.setdefault(int(index), {})[name] = (
                torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            )
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    for name, term in terms.items():
        prefix = f"term.{name}."
        term.restore({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    sums: dict[str, float] = rest.pop("sums")
    for key, value in rest.items():
        setattr(spent, key, value)
    return sums


def make_optimizer(network: nn.Module, budget: Budget) -> torch.optim.Optimizer:
    """Return SGD with weight decay on the latent weights alone, or on all parameters, as the budget's `decay` says."""
    decayed = list(latent_weights(network).values() if budget.decay == "weights" else network.parameters())
    ids = {id(p) for p in decayed}
    rest = [p for p in network.parameters() if id(p) not in ids]
    groups = [{"params": decayed, "weight_decay": budget.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=budget.lr, momentum=budget.momentum, nesterov=budget.momentum > 0)


def learning_rate(budget: Budget, progress: float) -> float:
    """Return the rate at `progress` in [0, 1]: linear warm-up to `lr`, then lr (1 + cos(pi p)) / 2 down to 0."""
    if progress < budget.warmup:
        return budget.lr * progress / budget.warmup
    return budget.lr * 0.5 * (1 + math.cos(math.pi * (progress - budget.warmup) / (1 - budget.warmup)))


def stream(n: int, budget: Budget, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each step the images' indices (batch,) and their augmentation (batch, 3): row, column, flip. Endless.

    One shuffled epoch after the other, cut into batches. The order depends on (seed, epoch), the augmentation of an image
    on (seed, epoch, its index), and on nothing else.
    """
    order, draws, epoch = np.empty(0, np.int64), np.empty((0, 3), np.int64), 0
    while True:
        while len(order) < budget.batch:
            shuffled = generator(seed, "data order", epoch).permutation(n)
            drawn = generator(seed, "augmentation", epoch)
            shifts = np.column_stack([drawn.integers(0, 2 * PAD + 1, size=(n, 2)), drawn.integers(0, 2, size=n)])
            order, draws = np.concatenate([order, shuffled]), np.concatenate([draws, shifts[shuffled]])
            epoch += 1
        yield order[: budget.batch], draws[: budget.batch]
        order, draws = order[budget.batch :], draws[budget.batch :]


def batches(
    split: Split, budget: Budget, seed: int, spent: Spent, device: str, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches (N, 3, H, W) in [0, 1], channels last, with labels (N,), from step `first` on; endless.

    The digests in `spent` cover the stream up to the last batch that was asked for and used, from step 0 on.
    """
    images, labels = torch.from_numpy(split.images.copy()).to(device), torch.from_numpy(split.labels.copy()).to(device)
    for step, (index, draw) in enumerate(stream(len(labels), budget, seed)):
        if step >= first:
            where = torch.from_numpy(index).to(device)
            batch = images[where]
            if budget.augmentation == "crop-flip":
                batch = crop_flip(batch, torch.from_numpy(draw).to(device), images.shape[1])
            yield batch.permute(0, 3, 1, 2).float().div_(255), labels[where]
        # After the yield: a batch that the loop only looked at, and left, is not charged.
        spent.data_order.update(index.astype("<i8").tobytes())
        if budget.augmentation == "crop-flip":
            spent.augmentation.update(draw.astype("<i8").tobytes())


def crop_flip(images: Tensor, draw: Tensor, size: int) -> Tensor:
    """Zero-pad (N, H, W, 3) by 4, crop at the drawn (row, column) of 0..8, flip where the third draw is 1."""
    padded = F.pad(images, (0, 0, PAD, PAD, PAD, PAD))
    steps = torch.arange(size, device=images.device)
    rows = draw[:, 0, None] + steps
    columns = draw[:, 1, None] + torch.where(draw[:, 2, None] == 1, size - 1 - steps, steps)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]]
