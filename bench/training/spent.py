"""What a training uses up: images, steps, passes, compute and seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lcrbench.bench.training.prices import Prices

VALIDATION = "validation"


@dataclass
class Spent:
    """What a training used up, and the digests that prove what it was given.

    `forward` and `backward` count single images by network: "student" for the network's own passes, "validation" for
    those over the validation images, and what terms declare. `compute` is the price of all that was computed, validation
    included, in images of the plain network's training (see charge.py). `stages` holds the steps of each stage; `cpu` and
    `wall` are seconds, and `waited` those of `wall` in which a step waited for its images. `selected` is the number of steps
    after which the reported weights were taken, and `progress` in [0, 1) how far the last of them was in its stage. `made`
    tells how this process made its steps (steps.py).
    """

    images: int = 0
    steps: int = 0
    stages: list[int] = field(default_factory=list)
    compute: float = 0.0
    cpu: float = 0.0
    wall: float = 0.0
    waited: float = 0.0
    forward: dict[str, float] = field(default_factory=dict)
    backward: dict[str, float] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)
    progress: float = 0.0
    selected: int = 0
    made: str = ""
    data_order: Any = field(default_factory=hashlib.sha256)
    augmentation: Any = field(default_factory=hashlib.sha256)

    def charge(
        self, stage: int, count: int, made: Iterable[Mapping[str, tuple[float, float]]], prices: Prices, logged: bool
    ) -> None:
        """Add one step of a stage, of `count` images, with the passes that each of its terms made for an image."""
        passes = 0.0
        self.steps, self.images = self.steps + 1, self.images + count
        self.stages += [0] * (stage + 1 - len(self.stages))
        self.stages[stage] += 1
        self._add("student", count, count)
        for each in made:
            for name, (forward, backward) in each.items():
                passes += forward + backward
                self._add(name, forward * count, backward * count)
        self.compute += prices.step(stage, logged, passes)

    def validate(self, count: int, prices: Prices) -> None:
        """Add a forward pass over `count` validation images."""
        self.forward[VALIDATION] = self.forward.get(VALIDATION, 0) + count
        self.compute += prices.validated()

    def _add(self, network: str, forward: float, backward: float) -> None:
        self.forward[network] = self.forward.get(network, 0) + forward
        self.backward[network] = self.backward.get(network, 0) + backward
