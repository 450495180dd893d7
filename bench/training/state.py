"""All that the rest of a training depends on, and how it is saved and put back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lcrbench.bench.together import Saved
from lcrbench.bench.training.average import Average
from lcrbench.bench.training.reading import Chain
from lcrbench.bench.training.selection import Best
from lcrbench.bench.training.shards import Shards
from lcrbench.bench.training.spent import Spent
from lcrbench.bench.training.tally import Tally
from lcrbench.models.api import Term

KEPT = ("images", "steps", "stages", "progress", "compute", "cpu", "wall", "waited", "forward", "backward", "log")
"""The fields of `Spent` that a save holds; digests follow from the seed and the steps, or of streamed images are chains."""


class Checkpoint(Protocol):
    """Where a training saves itself, and who may ask it to stop (see checkpoint.py)."""

    def load(self) -> Saved | None:
        """Return the tensors and the rest of the last save, or None."""

    def save(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        """Save, whole or not at all."""

    def due(self) -> bool:
        """Tell whether it is time to save."""

    def stopping(self) -> bool:
        """Tell whether the training is to save and stop."""


@dataclass
class State:
    """A training between two steps. The learning rate follows from the step, the data stream from the seed and the step.

    `terms` are the regularizers' by name, for each slice of a batch that this process computes. `tally` holds the sums of
    the log's unfinished row; `average` is that of the weights, if the recipe asks for one; `stage` is -1 before the first.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    terms: list[dict[str, Term]]
    shards: Shards
    spent: Spent = field(default_factory=Spent)
    best: Best = field(default_factory=Best)
    tally: Tally = field(default_factory=Tally)
    average: Average | None = None
    stage: int = -1


def pack(state: State) -> Saved:
    """Return the tensors and the rest of a save, which each process of a group does, and gets the same.

    Raises `Diverged` if a loss that has not been read is not finite, and `RuntimeError` if the processes' networks differ.
    """
    state.tally.read()
    _agree(state)
    tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in state.best.weights.items()}
    if state.average:
        tensors |= {f"average.{k}": v for k, v in state.average.tensors.items()}
    plain: dict[str, dict[str, Any]] = {}
    for i, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in moments.items() if isinstance(v, Tensor)}
        plain[str(i)] = {k: v for k, v in moments.items() if not isinstance(v, Tensor)}
    shards = state.shards
    kept: dict[str, Tensor] = {}
    for shard, terms in zip(shards.own, state.terms, strict=True):
        for name, term in terms.items():
            kept |= {f"{_place(name, shard, shards)}{k}": v for k, v in term.state().items()}
    for found in shards.group.collect(kept):
        tensors |= found
    best = {k: v for k, v in vars(state.best).items() if k != "weights"}
    groups = [{k: v for k, v in g.items() if isinstance(v, (bool, int, float))} for g in state.optimizer.param_groups]
    rest = {"sums": state.tally.sums(), "best": best, "optimizer": plain, "groups": groups}
    if isinstance(state.spent.data_order, Chain):
        rest["chains"] = [state.spent.data_order.saved(), state.spent.augmentation.saved()]
    return tensors, {**rest, **{k: getattr(state.spent, k) for k in KEPT}}


def restore(state: State, saved: Saved) -> None:
    """Put a save back into a state whose network, optimizer and terms are those of the training's begin."""
    tensors, rest = saved
    state.network.load_state_dict(_under("network.", tensors))
    _restore_optimizer(state.optimizer, _under("optimizer.", tensors), rest)
    for shard, terms in zip(state.shards.own, state.terms, strict=True):
        for name, term in terms.items():
            term.restore(_under(_place(name, shard, state.shards), tensors))
    state.best = Best(**rest["best"], weights=_under("best.", tensors))
    if state.average:
        state.average.restore(_under("average.", tensors))
    state.tally = Tally(**rest["sums"])
    state.stage = len(rest["stages"]) - 1
    for key in KEPT:
        setattr(state.spent, key, rest[key])
    if "chains" in rest:
        state.spent.data_order, state.spent.augmentation = (Chain(*saved) for saved in rest["chains"])


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Any]] = {int(i): dict(values) for i, values in rest["optimizer"].items()}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        # In the parameter's own memory layout, because another one may be summed in another order.
        like = parameters[int(index)]
        same = value.shape == like.shape
        moments.setdefault(int(index), {})[name] = torch.empty_like(like).copy_(value) if same else value
    fresh = optimizer.state_dict()
    groups = [own | held for own, held in zip(fresh["param_groups"], rest["groups"], strict=True)]
    optimizer.load_state_dict({"param_groups": groups, "state": moments})


def _place(name: str, shard: int, shards: Shards) -> str:
    """Return what the names of a term's tensors begin with in a save."""
    return f"term.{name}." if shards.number == 1 else f"term.{name}.{shard}."


def _agree(state: State) -> None:
    if state.shards.group.world == 1:
        return
    digest = hashlib.sha256()
    for value in state.network.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    # As much of the hash as a float64 holds.
    if len({n for (n,) in state.shards.group.numbers([float(int(digest.hexdigest()[:12], 16))])}) > 1:
        raise RuntimeError("the processes of one training came to different weights: are their machines of one kind?")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
