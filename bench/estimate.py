"""What a grid costs on this machine: a few steps of each method are measured, and counted up; memory and disk follow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from lcrbench.bench import device as devices
from lcrbench.bench.data.arrays import Dataset, Split, Streamed
from lcrbench.bench.evaluation.cells import LIMIT
from lcrbench.bench.evaluation.engine import Choice, Inference
from lcrbench.bench.evaluation.shown import MOST_BYTES
from lcrbench.bench.planning import Lacking
from lcrbench.bench.records.budget import Budget
from lcrbench.bench.records.spec import TrainSpec
from lcrbench.bench.training import parts
from lcrbench.bench.training.loop import train
from lcrbench.bench.training.reading import Reader, keys
from lcrbench.bench.training.run import allot, priced
from lcrbench.errors import UserError
from lcrbench.models import network as networks

_STEPS, _BLOCK, _READ = 2, 100, 32
_AHEAD = 64
"""Batches that a run's readers hold at most: four each, of sixteen."""

_WEIGHTS = 4
"""Bytes of a weight."""


class Cost(NamedTuple):
    """What a grid costs: runs to be done, images seen in training and shown in evaluation, seconds, and bytes."""

    runs: int
    trained: int
    shown: int
    seconds: float
    memory: int
    disk: int

    def text(self, workers: int) -> str:
        """Return the cost in one line, for so many runs at once."""
        hours = self.seconds / 3600 / max(1, min(workers, self.runs))
        minutes = hours * 60
        told = (
            f"{hours:.1f} hours" if hours >= 1 else f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute or less"
        )
        return (
            f"{self.runs} run{'s' * (self.runs != 1)} to do: {self.trained:,} images trained on, {self.shown:,} shown; "
            f"about {told} with {workers} at once, by a few steps measured now, Lipschitz metrics and waits not included; "
            f"{self.memory / 1e9:.1f} GB of memory, {self.disk / 1e9:.1f} GB of disk"
        )


def cost(
    found: Sequence[Lacking], dataset: Dataset, device: str, workers: int, *, engine: Choice = "auto", readers: int = 0
) -> Cost:
    """Return what is left to do of a grid, by steps, and by forward passes of this engine, that are measured here.

    So is the reading of streamed images. Each run's `readers` do that beside its steps, and the slower of the two counts;
    without any, the steps wait for it. An evaluation reads for itself, each image once for all cells.
    """
    todo = [lacking for lacking in found if not lacking.nothing]
    steps: dict[str, tuple[float, float, float]] = {}
    seconds, trained, shown = 0.0, 0, 0
    for lacking in todo:
        spec = lacking.spec.training
        if spec.label not in steps:
            step, image = _measured(spec, dataset, device, engine)
            reading, decoding = _reading(spec, dataset)
            reading *= spec.recipe.batch
            steps[spec.label] = max(step, reading / readers) if readers else step + reading, image, decoding
        step, image, decoding = steps[spec.label]
        if lacking.training:
            budget = allot(spec, networks.choose(spec.method.text))[1]
            if budget.seconds is not None:
                seconds += budget.seconds
            else:
                trained += budget.images or 0
                seconds += (budget.images or 0) / spec.recipe.batch * step
        images = len(lacking.cells) * lacking.spec.protocol.test.count
        shown += images
        seconds += images * image + (decoding * lacking.spec.protocol.test.count if images else 0)
    train, shown_at_once = dataset.train.images, dataset.test.images.nbytes
    if isinstance(train, Streamed):
        # Reading processes hold a few batches, and an evaluation a part of a cell.
        batch = max((lacking.spec.training.recipe.batch for lacking in todo), default=0)
        held = _AHEAD * batch * train.nbytes // len(train) + min(shown_at_once, MOST_BYTES)
    else:
        held = train.nbytes + shown_at_once
    cells = max((len(lacking.cells) for lacking in todo), default=0) * dataset.test.images.nbytes
    kept = sum(2 * len(one.cells) * one.spec.protocol.test.count + _kept(one) for one in todo)
    return Cost(len(todo), trained, shown, seconds, held * max(1, min(workers, len(todo))), min(cells, LIMIT) + kept)


def _kept(lacking: Lacking) -> int:
    """Return the bytes of a run's weights in the store."""
    spec = lacking.spec.training
    with torch.device("meta"):
        made = networks.body(networks.choose(spec.method.text), spec.backbone, len(spec.data.classes), spec.data.size)
    return _WEIGHTS * sum(p.numel() for p in made.parameters())


def _measured(spec: TrainSpec, dataset: Dataset, device: str, engine: Choice) -> tuple[float, float]:
    """Return the seconds of a training step, and of an image in an evaluation.

    The method's own steps are measured. What its regularizers add is charged by their operations.
    """
    devices.prepare(device)
    choice = networks.choose(spec.method.text)
    net = networks.build(
        choice, spec.backbone, len(dataset.classes), spec.data.size, [0.5] * 3, [0.25] * 3, lambda name: _generator()
    ).to(memory_format=torch.channels_last)
    batch = spec.recipe.batch
    # Decoded: the reading of images is measured by itself.
    few = Split(dataset.train.images[: 2 * batch], dataset.train.labels[: 2 * batch])
    recipe = spec.recipe.model_copy(update={"validation": 0, "selection": "last"})

    def timed(steps: int) -> float:
        start = time.perf_counter()
        train(net, few, Budget(images=steps * batch), recipe, 0, device=device, on_progress=choice.method.on_progress)
        devices.wait(device)
        return time.perf_counter() - start

    timed(1)  # compiles, allocates
    step = timed(_STEPS) / _STEPS
    base = spec.model_copy(update={"method": spec.method.model_copy(update={"regularizers": {}})})
    step *= priced(spec.label, spec).step(0, False, 0.0) / priced(base.label, base).step(0, False, 0.0)
    shown = dataset.test.images[:_BLOCK]
    inference = Inference(net.eval(), len(shown), device, engine)
    inference.logits(shown)  # compiles, and compares a block with torch
    start = time.perf_counter()
    inference.logits(shown)
    return step, (time.perf_counter() - start) / len(shown)


def _reading(spec: TrainSpec, dataset: Dataset) -> tuple[float, float]:
    """Return the seconds that one process takes to read and augment a training image, and to read a test image."""
    train, test = dataset.train.images, dataset.test.images
    training = shown = 0.0
    if isinstance(train, Streamed):
        reader = Reader(train, parts.load(spec.recipe).augmentation, 0)
        start = time.perf_counter()
        if isinstance(wrong := reader.__getitems__(keys(len(train), _READ, 0, 0)), str):
            raise UserError(wrong)
        training = (time.perf_counter() - start) / _READ
    if isinstance(test, Streamed):
        start = time.perf_counter()
        number = len(test[:_READ])
        shown = (time.perf_counter() - start) / number
    return training, shown


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
