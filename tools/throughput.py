"""Prints how many images a second the training loop trains on, by backbone, method and kind of step, as Markdown tables.

python tools/throughput.py [--device cuda] [--steps 40] [--batch 128] [--backbones "resnet20 resnet18 resnet18@224"]
                           [--methods "full_precision bnn irnet irnet+lcr"] [--kinds "plain captured bf16"] [--at-once 4]

Kinds of step: "plain", in float32; "captured", the same bits from a replayed CUDA graph; "bf16", captured too on a device.
`--at-once N` adds a table of N processes that train beside each other, the sum of their images. It means something only
with so many steps that all of them are at work most of the time (--steps 400).

The images are random, and lie in memory: what is measured is the loop with its augmentation, and no decoder. The first
steps, in which kernels are chosen and loaded, are not counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import sys
import time
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import numpy as np
import torch

from lcrbench.bench import device as devices
from lcrbench.bench.data.arrays import Split
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.training import pace
from lcrbench.bench.training.loop import train
from lcrbench.models import network as networks

METHODS = "full_precision bnn irnet irnet+lcr"
BACKBONES = "resnet20 resnet18 resnet18@224"
KINDS = "plain captured bf16"
FIRST = 8


def rate(method: str, backbone: str, batch: int, kind: str, device: str, steps: int, ready: Any = None) -> str:
    """Return the images a second of `steps` steps of a training, after its first ones; or what it did instead."""
    if device != "cpu":
        devices.prepare(device)
    name, _, size = backbone.partition("@")
    choice, side = networks.choose(method), int(size or 32)
    network = networks.build(
        choice, name, 10, side, [0.5] * 3, [0.25] * 3, lambda part: torch.Generator().manual_seed(0)
    ).to(memory_format=torch.channels_last)
    n = batch * 2
    images = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    at: list[float] = []

    def watched(network: torch.nn.Module, t: float) -> None:
        choice.method.on_progress(network, t)
        counted = len(at)
        if counted in (FIRST, FIRST + steps):
            devices.wait(device)
            # Of several processes none begins before all have taken their first steps.
            if ready is not None and counted == FIRST:
                ready.wait(timeout=120)
        at.append(time.perf_counter())

    # Else all steps of so short a training would be logged, and none captured.
    with mock.patch.object(pace, "LOGGED_STEPS", 1):
        spent = train(
            network,
            Split(images, np.arange(n) % 10),
            Budget(images=(FIRST + steps + 2) * batch),
            Recipe(batch=batch, precision="bf16" if kind == "bf16" else "fp32"),
            0,
            on_progress=watched,
            on_gradient=choice.method.on_gradient,
            regularizers=dict(choice.regularizers),
            device=device,
            capturable=choice.method.capturable and kind != "plain",
        )
    if device != "cpu" and kind != "plain" and spent.made != "captured":
        return spent.made
    return f"{steps * batch / (at[FIRST + steps] - at[FIRST]):,.0f}"


def _beside(out: Any, ready: Any, *what: Any) -> None:
    out.put(rate(*what, ready))


def together(at_once: int, *what: Any) -> str:
    """Return the sum of the images a second of some processes that train at the same time, each as `rate` does."""
    context = multiprocessing.get_context("spawn")
    out, ready = context.Queue(), context.Barrier(at_once)
    processes = [context.Process(target=_beside, args=(out, ready, *what)) for _ in range(at_once)]
    for process in processes:
        process.start()
    found = [out.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    numbers = [float(text.replace(",", "")) for text in found if text[0].isdigit()]
    return f"{sum(numbers):,.0f}" if len(numbers) == at_once else found[0]


def main(words: list[str]) -> None:
    """Print the tables."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    reader.add_argument("--steps", type=int, default=40)
    reader.add_argument("--batch", type=int, default=128)
    reader.add_argument("--backbones", default=BACKBONES)
    reader.add_argument("--methods", default=METHODS)
    reader.add_argument("--kinds")
    reader.add_argument("--at-once", type=int, default=1)
    given = reader.parse_args(words)
    kinds = (given.kinds or ("plain bf16" if given.device == "cpu" else KINDS)).split()
    name = platform.machine() if given.device == "cpu" else torch.cuda.get_device_name(given.device)
    print(f"Images a second in training, batches of {given.batch}, {given.steps} steps: {name}, torch {torch.__version__}, "
          f"{datetime.now(UTC):%Y-%m-%d}")  # fmt: skip
    for processes in sorted({1, given.at_once}):
        print(f"\n{processes} at once" if processes > 1 else "")
        print(f"| backbone | method | {' | '.join(kinds)} |\n|---|---|{'---|' * len(kinds)}")
        for backbone in given.backbones.split():
            for method in given.methods.split():
                found = []
                for kind in kinds:
                    what = (method, backbone, given.batch, kind, given.device, given.steps)
                    found.append(rate(*what) if processes == 1 else together(processes, *what))
                print(f"| {backbone} | {method} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
