"""Throughput of training in bfloat16 over float32, by the loop itself, in interleaved rounds.

    tox run -e speed -- tests/speed/test_precision.py -s

One thread, channels last, 32 px, batch 128 for ResNet-20 and 32 or 64 for ResNet-18, CPU time of the process, the median
of the rounds' ratios with the quartiles. It asks for a processor that multiplies bfloat16, and is skipped on another.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.together import ALONE
from lcrbench.bench.training.parts import make_optimizer
from lcrbench.bench.training.precision import widened
from lcrbench.bench.training.shards import Shards
from lcrbench.bench.training.state import State
from lcrbench.bench.training.steps import Steps
from lcrbench.bench.training.tally import Tally
from lcrbench.models import network as networks

ROUNDS = 9
pytestmark = pytest.mark.skipif(
    not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()),
    reason="the processor multiplies no bfloat16",
)


def stepper(method: str, backbone: str, batch: int, precision: Any, ends: ExitStack) -> Callable[[], None]:
    """Return one step of the loop on one batch, as it is until `ends`."""

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    choice = networks.choose(method)
    net = networks.build(choice, backbone, 10, 32, [0.3] * 3, [0.4] * 3, generator)
    net = net.to(memory_format=torch.channels_last).train()
    recipe = Recipe(precision=precision, lr=1e-3, batch=batch)
    state = State(net, make_optimizer(net, recipe), [{}], Shards(net, recipe, 0, ALONE))
    images = torch.rand(batch, 3, 32, 32, generator=generator("images")).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10
    ends.enter_context(widened(net, precision))

    steps = Steps(state, recipe, "cpu", choice.method.on_gradient, choice.method.capturable)

    def step() -> None:
        steps.make(images, labels, 0, recipe.lr, False)
        state.tally = Tally()

    return step


@pytest.mark.parametrize(
    ("method", "backbone", "batch", "least"),
    [
        ("full_precision", "resnet20", 128, 1.2),
        ("bnn", "resnet20", 128, 1.2),
        ("irnet", "resnet20", 128, 1.2),
        ("full_precision", "resnet18", 32, 1.5),
        ("bnn", "resnet18", 32, 1.5),
        # Binarization of 11 million weights stays in float32; its share falls with the batch (1.46 to 1.56 at 32).
        ("irnet", "resnet18", 64, 1.5),
    ],
)
def test_bfloat16_is_faster(benchmark, method: str, backbone: str, batch: int, least: float) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ends = ExitStack()
    try:
        wide, narrow = (stepper(method, backbone, batch, p, ends) for p in ("fp32", "bf16"))
        wide(), narrow()
        found, seconds = [], []
        for k in range(ROUNDS):
            taken = {}
            for step in (wide, narrow) if k % 2 else (narrow, wide):
                began = time.process_time()
                step()
                taken[step] = time.process_time() - began
            found.append(taken[wide] / taken[narrow])
            seconds.append(taken[wide])
    finally:
        ends.close()
        torch.set_num_threads(threads)
    low, middle, high = statistics.quantiles(found, n=4)
    print(
        f"\n{method} {backbone}, batch {batch}: {middle:.2f} x the throughput of float32 (quartiles {low:.2f} to "
        f"{high:.2f}, {ROUNDS} rounds; float32 {1e6 * statistics.median(seconds) / batch:,.0f} us an image)",
        end="",
    )
    benchmark.extra_info["throughput"] = middle
    benchmark.pedantic(lambda: None, rounds=1)
    assert middle >= least


@pytest.mark.parametrize(("channels", "size"), [(16, 32), (32, 16), (64, 8)])
def test_a_convolution_of_signs_in_bfloat16(benchmark, channels: int, size: int) -> None:
    """What a training step's forward convolutions could gain: signs in, float32 out, with both conversions.

    bfloat16 has eight bits, so whole numbers are exact up to 256, and even ones up to 512: the sums of 32 channels are, and
    those of 64 are not where they exceed 512.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shapes = (128, channels, size, size), (channels, channels, 3, 3)
    x, w = (torch.randn(shape, generator=generator).sign() for shape in shapes)
    x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
    x[0], w[0] = 1, 1
    w[0, 0, 1, 1] = -1  # nearly the largest sum: 142, 286 and 574
    found, exact = [], True
    try:
        for _ in range(ROUNDS):
            began = time.process_time()
            wide = F.conv2d(x, w, None, 1, 1)
            middle = time.process_time()
            narrow = F.conv2d(x.bfloat16(), w.bfloat16(), None, 1, 1).float()
            found.append((time.process_time() - middle) / (middle - began))
            exact &= torch.equal(wide, narrow)
    finally:
        torch.set_num_threads(threads)
    low, share, high = statistics.quantiles(found, n=4)
    told = f"{share:.2f} of float32's time (quartiles {low:.2f} to {high:.2f}, {ROUNDS} rounds)"
    print(f"\n{channels} channels: {told}, exact: {exact}", end="")
    benchmark.extra_info["share"] = share
    benchmark.pedantic(lambda: None, rounds=1)
    assert exact == (channels * 9 <= 512)
