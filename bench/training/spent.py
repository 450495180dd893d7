"""What a training uses up: images, steps, passes, compute and seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lcrbench.models.api import Term

VALIDATION = "validation"


@dataclass
class Spent:
    """What a training used up, and the digests that prove what it was given.

    `forward` and `backward` count single images by network: "student" for the network's own passes, "validation" for
    those over the validation images, and what terms declare. `compute` is all of them but validation by their
    multiply-accumulates, a backward pass as two forward ones, over those of a plain step for one image. `stages` holds
    the steps of each stage; `cpu` and `wall` are seconds. `selected` is the number of steps after which the reported
    weights were taken, and `progress` in [0, 1) how far the last of them was in its stage.
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
    selected: int = 0
    data_order: Any = field(default_factory=hashlib.sha256)
    augmentation: Any = field(default_factory=hashlib.sha256)

    def charge(self, stage: int, count: int, terms: Iterable[Term]) -> None:
        """Add one step of a stage, of `count` images, with the passes that its terms made."""
        terms = list(terms)
        self.steps, self.images = self.steps + 1, self.images + count
        self.stages += [0] * (stage + 1 - len(self.stages))
        self.stages[stage] += 1
        self.compute += relative_cost(terms) * count
        self._add("student", count, count)
        for term in terms:
            for name, (forward, backward, _) in term.passes.items():
                self._add(name, forward * count, backward * count)

    def validate(self, count: int) -> None:
        """Add a forward pass over `count` validation images."""
        self.forward[VALIDATION] = self.forward.get(VALIDATION, 0) + count

    def _add(self, network: str, forward: float, backward: float) -> None:
        self.forward[network] = self.forward.get(network, 0) + forward
        self.backward[network] = self.backward.get(network, 0) + backward


def relative_cost(terms: Iterable[Term]) -> float:
    """Return the compute of a step with these terms over that of the plain network's step.

    A term's `passes` are by network its forward and backward passes for each training image, and that network's
    multiply-accumulates over the student's. A backward pass counts as two forward ones.
    """
    extra: float = sum((f + 2 * b) * macs for term in terms for f, b, macs in term.passes.values())
    return 1 + extra / 3
