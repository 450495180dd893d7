"""The exponential moving average of a network's weights.

After step n of a stage, from n = 1, with decay d and the weights w_n,

    a_n = a_{n-1} + (1 - d) / (1 - d^n) (w_n - a_{n-1})  =  sum_i d^(n-i) w_i / sum_i d^(n-i),        i = 1 .. n

so the average begins at the first step's weights, and initial weights have no share in it (the correction of Adam).
A stage begins an average of its own. What is averaged: every parameter, and the running mean and variance of batch norm,
because the statistics of the averaged network are closer to these averages than to the last step's. Every other buffer
(counters, rotations, vectors of an iteration) stays the network's own. Binary layers deploy the sign of the average.

The average is what is evaluated, and what a selection looks at; training goes on with the weights themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Average:
    """The average of one network's weights; `tensors` by their names in the network's state."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._own = _averaged(network)
        self.tensors = {name: t.detach().clone() for name, t in self._own.items()}

    @torch.no_grad()
    def update(self, n: int) -> None:
        """Take up the weights after step n of the stage, from 1."""
        share = (1 - self.decay) / (1 - self.decay**n)
        torch._foreach_lerp_([*self.tensors.values()], [t.detach() for t in self._own.values()], share)

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` was."""
        for name, t in self.tensors.items():
            t.copy_(tensors[name])

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let the network have the averaged weights inside the block, and its own again after it."""
        kept = {name: t.detach().clone() for name, t in self._own.items()}
        self.settle()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, t in self._own.items():
                    t.copy_(kept[name])

    @torch.no_grad()
    def settle(self) -> None:
        """Give the network the averaged weights."""
        for name, t in self._own.items():
            t.copy_(self.tensors[name])


def _averaged(network: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = dict(network.named_parameters())
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            for which in ("running_mean", "running_var"):
                if (statistic := getattr(module, which)) is not None:
                    found[f"{name}.{which}".removeprefix(".")] = statistic
    return found
