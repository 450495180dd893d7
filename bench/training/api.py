"""The parts of a recipe that can be named: the classes that optimizers, schedules and transforms inherit from.

An entry is a frozen dataclass called `Optimizer`, `Schedule` or `Transform` in a module of its own. Its fields are its
options, each with a default, and are written as `sgd:nesterov=false`. A public attribute that is no field and is not
declared here is refused when the entry is loaded; helpers of an entry's own begin with an underscore.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.records.budget import Recipe

Group = dict[str, Any]


def rate(groups: list[Group], recipe: Recipe) -> float | Tensor:
    """Return the recipe's rate as an optimizer gets it: a tensor () on an accelerator, where a captured step reads it."""
    device = next((p.device for group in groups for p in group["params"] if p.is_cuda), None)
    return recipe.lr if device is None else torch.tensor(recipe.lr, device=device)


@dataclass(frozen=True)
class Optimizer(ABC):
    """Makes the optimizer of one stage of a training.

    `flips`: the optimizer has no latent weights. It changes weights of binary layers by flipping their sign, and gets them
    in a group of their own. Only methods that use a binary weight as it is are trained with it.
    """

    flips: ClassVar[bool] = False

    @abstractmethod
    def make(self, groups: list[Group], recipe: Recipe) -> torch.optim.Optimizer:
        """Return an optimizer over two groups of parameters, each {"params": [...], "weight_decay": float}.

        The first group decays as the recipe says, the second not at all. With `flips` a third one follows if the network
        has binary layers: their weights, with "flips": True; neither of the others holds these. `recipe.lr` and
        `recipe.momentum` are given; the loop sets "lr" of each group before each step. The optimizer keeps its state in
        `state_dict()`, so that a training resumes to the same bits, and draws no random numbers. Where its groups hold "lr"
        as a tensor (`rate`), the loop puts each step's rate there as a tensor, and steps may be captured (steps.py). What
        the optimizer keeps is then changed in place.
        """


@dataclass(frozen=True)
class Schedule(ABC):
    """The learning rate over a stage of a training, once the recipe's warm-up is over."""

    @abstractmethod
    def factor(self, progress: float, warmup: float) -> float:
        """Return the rate over the peak rate, in [0, 1].

        `progress` in [warmup, 1] is the share of the stage that is done, `warmup` in [0, 1) the share of the warm-up.
        The factor depends on these alone.
        """


@dataclass(frozen=True)
class Transform(ABC):
    """An augmentation of training images."""

    @property
    def originals(self) -> bool:
        """Whether it takes images of any size, and crops before it resizes; others take them resized and cropped.

        It matters for images that are streamed from their files; those in memory are resized and cropped already.
        """
        return False

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int, size: int) -> np.ndarray:
        """Return what is drawn for n images in one epoch: int64 (n, k), row i for image i; k is the same in each epoch.

        `rng` depends on the seed and the epoch. `size` is the side of the network's input in pixels. The ledger's hash
        of the augmentation is of these numbers.
        """

    @abstractmethod
    def apply(self, images: Tensor, draws: Tensor, size: int) -> Tensor:
        """Return augmented images (N, size, size, 3) for images (N, H, W, 3), both uint8, and their draws (N, k).

        All are on the device of the training; streamed images come one by one, on the processor. An image's result
        depends on the image and its row of `draws` alone; the given images stay as they are.
        """
