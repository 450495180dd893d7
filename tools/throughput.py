"""Prints how many images a second the training loop trains on, by backbone, method and precision, as a Markdown table.

python tools/throughput.py [--device cuda] [--steps 40] [--batch 128] [--backbones "resnet20 resnet18 resnet18@224"]
                           [--methods "full_precision bnn irnet irnet+lcr"] [--precisions "fp32 bf16"]

The images are random, and lie in memory: what is measured is the loop with its augmentation, and no decoder. The first
steps, in which kernels are chosen and loaded, are not counted.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from datetime import UTC, datetime

import numpy as np
import torch

from lcrbench.bench.data.arrays import Split
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.training.loop import train
from lcrbench.models import network as networks

METHODS = "full_precision bnn irnet irnet+lcr recu adabin reactnet"
BACKBONES = "resnet20 resnet18 resnet18@224"
FIRST = 5


def seconds(method: str, backbone: str, size: int, recipe: Recipe, device: str, steps: int) -> float:
    """Return the wall seconds of a training of so many steps, from a fresh network on."""
    choice = networks.choose(method)
    network = networks.build(
        choice, backbone, 10, size, [0.5] * 3, [0.25] * 3, lambda name: torch.Generator().manual_seed(0)
    )
    network = network.to(memory_format=torch.channels_last)
    n = recipe.batch * 2
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8), np.arange(n) % 10)
    before = time.perf_counter()
    train(
        network,
        split,
        Budget(images=steps * recipe.batch),
        recipe,
        0,
        on_progress=choice.method.on_progress,
        on_gradient=choice.method.on_gradient,
        regularizers=dict(choice.regularizers),
        device=device,
    )
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - before


def main(words: list[str]) -> None:
    """Print the table."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    reader.add_argument("--steps", type=int, default=40)
    reader.add_argument("--batch", type=int, default=128)
    reader.add_argument("--backbones", default=BACKBONES)
    reader.add_argument("--methods", default=METHODS)
    reader.add_argument("--precisions", default="fp32 bf16")
    given = reader.parse_args(words)
    name = platform.machine() if given.device == "cpu" else torch.cuda.get_device_name(given.device)
    print(f"Images a second in training, batches of {given.batch}, {given.steps} steps: {name}, torch {torch.__version__}, "
          f"{datetime.now(UTC):%Y-%m-%d}\n")  # fmt: skip
    precisions = given.precisions.split()
    print(f"| backbone | method | {' | '.join(precisions)} |\n|---|---|{'---|' * len(precisions)}")
    for text in given.backbones.split():
        backbone, _, size = text.partition("@")
        for method in given.methods.split():
            found = []
            for precision in precisions:
                recipe = Recipe(batch=given.batch, precision=precision)
                part = (method, backbone, int(size or 32), recipe, given.device)
                seconds(*part, FIRST)
                more = seconds(*part, FIRST + given.steps) - seconds(*part, FIRST)
                found.append(f"{given.steps * given.batch / more:,.0f}" if more > 0 else "too few steps")
            print(f"| {text} | {method} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
