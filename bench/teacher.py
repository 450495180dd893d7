"""Trains the network that a regularizer looks up to: the same data, topology and budget, another seed, charged in full."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lcrbench.bench.data import Dataset
from lcrbench.bench.seeds import derive
from lcrbench.bench.spec import RunSpec
from lcrbench.bench.train import Spent, train
from lcrbench.models import network as networks


@dataclass(frozen=True)
class Guided:
    """A regularizer with its teacher, to be attached like any other."""

    regularizer: Any
    teacher: nn.Module

    def attach(self, network: nn.Module) -> Any:
        """Attach the regularizer with a teacher of its own: one may set it to training mode, another to evaluation."""
        return self.regularizer.attach(network, copy.deepcopy(self.teacher))


def guide(
    regularizers: dict[str, Any],
    spec: RunSpec,
    dataset: Dataset,
    device: str,
    watch: Callable[[dict[str, float], float], None] = lambda row, progress: None,
) -> tuple[dict[str, Any], dict[str, Spent]]:
    """Return the regularizers, each that needs a teacher with a trained one, and what training each teacher took.

    Each teacher is trained on `images` under the run's own budget, by the same loop. Its seeds are derived from the run's.
    """
    teachers: dict[str, nn.Module] = {}
    spent: dict[str, Spent] = {}
    for text in dict.fromkeys(r.teacher for r in regularizers.values() if hasattr(r, "teacher")):
        choice = networks.choose(text)

        def weights(name: str, text: str = text) -> torch.Generator:
            return torch.Generator().manual_seed(derive(spec.seed, "teacher's weights", text, name))

        mean, std = dataset.mean.tolist(), dataset.std.tolist()
        network = networks.build(choice, spec.backbone, len(dataset.classes), spec.data.size, mean, std, weights)
        teachers[text] = network.to(memory_format=torch.channels_last)
        spent[text] = train(
            teachers[text],
            dataset.train,
            spec.budget,
            derive(spec.seed, "teacher's training", text),
            on_progress=getattr(choice.method, "on_progress", None),
            device=device,
            watch=watch,
        )
    bound = {k: Guided(r, teachers[r.teacher]) if hasattr(r, "teacher") else r for k, r in regularizers.items()}
    return bound, spent
