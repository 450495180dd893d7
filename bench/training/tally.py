"""The sums of the log's unfinished row, read from the device where they are needed and not at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor


class Diverged(Exception):
    """The loss or the network's state is not finite any more; `step` is the step that found it."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} at step {step}: try a smaller learning rate or regularizer weight")
        self.step = step


@dataclass
class Tally:
    """Sums over the images since the log's last row; `pending` are steps that the device may still be working on."""

    loss: float = 0.0
    cross_entropy: float = 0.0
    right: float = 0.0
    images: float = 0.0
    pending: list[tuple[int, int, tuple[Tensor, ...]]] = field(default_factory=list)

    def add(self, step: int, count: int, loss: Tensor, cross_entropy: Tensor, right: Tensor) -> None:
        """Add a step of `count` images: means of the losses over them, and how many were right."""
        self.pending.append((step, count, (loss, cross_entropy, right)))

    def read(self) -> None:
        """Wait for the device, and sum up what is pending in its order; raises `Diverged` for the first infinite loss."""
        if not self.pending:
            return
        numbers = torch.stack([t.double() for _, _, found in self.pending for t in found]).tolist()
        for k, (step, count, _) in enumerate(self.pending):
            loss, cross_entropy, right = numbers[3 * k : 3 * k + 3]
            if not math.isfinite(loss):
                raise Diverged(step, f"the loss was {loss}")
            self.loss += loss * count
            self.cross_entropy += cross_entropy * count
            self.right += right
            self.images += count
        self.pending = []

    def sums(self) -> dict[str, float]:
        """Return the sums as a save holds them, once all has been read."""
        return {name: getattr(self, name) for name in ("loss", "cross_entropy", "right", "images")}
