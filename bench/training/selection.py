"""Selection of the reported weights by their accuracy on images that were held out of the training."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.bench.data.arrays import Split
from lcrbench.bench.together import ALONE, Group

BLOCK = 100


@dataclass
class Best:
    """The weights of the highest accuracy so far (of equal ones, the first), and where in the training they were.

    `mark` counts the measurements that were due so far; `step` is the number of steps before the weights, `progress` that
    of the last of them.
    """

    accuracy: float = -1.0
    step: int = 0
    progress: float = 0.0
    mark: int = 0
    measured: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def measure(
        self, network: nn.Module, held: Split, device: str, step: int, progress: float, group: Group = ALONE
    ) -> float:
        """Measure the network after `step` steps, keep its weights if they are the best, and return the accuracy."""
        found = accuracy(network, held, device, group)
        self.measured = step
        if found > self.accuracy:
            self.accuracy, self.step, self.progress = found, step, progress
            self.weights = {k: v.detach().clone() for k, v in network.state_dict().items()}
        return found


def accuracy(network: nn.Module, split: Split, device: str, group: Group = ALONE) -> float:
    """Return the accuracy in [0, 1] of a network in evaluation mode, in float32; the network is in training mode after it.

    The network gets blocks of exactly 100 images, the last one filled up with black ones, because rounding depends on
    the batch and can flip a sign. The group's processes take turns at the blocks.
    """
    network.eval()
    right = 0
    with torch.no_grad():
        for start in range(group.rank * BLOCK, len(split), group.world * BLOCK):
            part = split.images[start : start + BLOCK]
            block = np.zeros((BLOCK, *part.shape[1:]), np.uint8)
            block[: len(part)] = part
            images = torch.from_numpy(block).to(device).permute(0, 3, 1, 2).float() / 255
            classes = network(images).argmax(1)[: len(part)].cpu().numpy()
            right += int((classes == split.labels[start : start + BLOCK]).sum())
    network.train()
    return int(sum(n for (n,) in group.numbers([right]))) / len(split)
