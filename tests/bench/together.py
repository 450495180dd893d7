"""Trains in several processes of a group, by the training function itself, and returns what must not differ."""

from __future__ import annotations

import hashlib
import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from lcrbench.bench import device as devices
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.together import ALONE, Group
from lcrbench.bench.training import group, teacher
from lcrbench.bench.training.loop import train
from lcrbench.models import network as networks


def train_once(text: str, dataset: Dataset, recipe: Recipe, steps: int, of: Group = ALONE) -> dict[str, Any]:
    """Train in this process, a part of the group; return the hashes of all state, the ledger's digests, and the log."""

    def built(one: networks.Choice) -> networks.Network:
        def generator(name: str) -> torch.Generator:
            return torch.Generator().manual_seed(sum(map(ord, name)))

        made = networks.build(one, "vgg_tiny", len(dataset.classes), 16, [0.3] * 3, [0.4] * 3, generator)
        return made.to(memory_format=torch.channels_last)

    choice = networks.choose(text)
    network = built(choice)
    teachers = {t: built(networks.choose(t)) for t in networks.teachers(choice)}
    teacher.start(choice.regularizers, network, teachers)
    spent = train(
        network,
        dataset.train,
        Budget(images=steps * recipe.batch),
        recipe,
        3,
        on_progress=choice.method.on_progress,
        stages=max(1, len(choice.method.stages)),
        on_stage=choice.method.on_stage,
        on_gradient=choice.method.on_gradient,
        capturable=choice.method.capturable,
        regularizers=teacher.guide(choice.regularizers, teachers),
        group=of,
    )
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    ledger = {
        name: getattr(spent, name) for name in ("images", "steps", "stages", "compute", "forward", "backward", "log")
    }
    digests = [spent.data_order.hexdigest(), spent.augmentation.hexdigest()]
    return {"state": digest.hexdigest(), "digests": digests, **ledger}


def _member(path: str, rank: int, world: int, answers: Any, work: list[Any]) -> None:
    devices.prepare("cpu")
    of = group.Processes(dist.FileStore(path, world), rank, world, "cpu")
    try:
        answers.put((rank, [train_once(*each, of) for each in work]))
    finally:
        of.close()


def everywhere(world: int, work: list[Any]) -> list[list[dict[str, Any]]]:
    """Return what each process of a group of `world` finds for each piece of `work`, arguments of `train_once`."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        answers = context.SimpleQueue()
        path = str(Path(folder, "store"))
        members = [context.Process(target=_member, args=(path, k, world, answers, work)) for k in range(world)]
        for each in members:
            each.start()
        found = dict(answers.get() for _ in members)
        for each in members:
            each.join(60)
            assert each.exitcode == 0, "a process has not left the group"
    return [found[k] for k in range(world)]
