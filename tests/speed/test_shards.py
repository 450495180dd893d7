"""The time of a step in slices over that of a plain step, by the loop itself, in interleaved rounds.

    tox run -e speed -- tests/speed/test_shards.py -s

One process of one thread, channels last, ResNet-20 at 32 px, batch 128, CPU time of the process, the median of the rounds'
ratios with the quartiles.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
import torch

from lcrbench.bench.processes import keep_memory
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.together import ALONE
from lcrbench.bench.training.parts import make_optimizer
from lcrbench.bench.training.shards import Shards
from lcrbench.bench.training.state import State
from lcrbench.bench.training.steps import Steps
from lcrbench.bench.training.tally import Tally
from lcrbench.models import network as networks

ROUNDS, BATCH, SHARDS, MOST = 9, 128, 4, 1.15


def stepper(method: str, shards: int) -> Callable[[], None]:
    """Return one step of the loop on one batch."""

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    choice = networks.choose(method)
    net = networks.build(choice, "resnet20", 10, 32, [0.3] * 3, [0.4] * 3, generator)
    net = net.to(memory_format=torch.channels_last).train()
    recipe = Recipe(lr=1e-3, batch=BATCH, shards=shards)
    slices = Shards(net, recipe, 0, ALONE)
    terms = [{name: r.attach(net) for name, r in choice.regularizers.items()} for _ in slices.own]
    state = State(net, make_optimizer(net, recipe), terms, slices)
    images = torch.rand(BATCH, 3, 32, 32, generator=generator("images")).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 10

    steps = Steps(state, recipe, "cpu", choice.method.on_gradient, choice.method.capturable)

    def step() -> None:
        steps.make(images, labels, 0, recipe.lr, False)
        state.tally = Tally()

    return step


@pytest.mark.parametrize("method", ["full_precision", "bnn", "irnet", "irnet+lcr"])
def test_slices_cost_little_in_one_process(benchmark, method: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_memory()  # as a process of a run does
    try:
        plain, sliced = stepper(method, 1), stepper(method, SHARDS)
        plain(), sliced()
        found, seconds = [], []
        for k in range(ROUNDS):
            taken = {}
            for step in (plain, sliced) if k % 2 else (sliced, plain):
                began = time.process_time()
                step()
                taken[step] = time.process_time() - began
            found.append(taken[sliced] / taken[plain])
            seconds.append(taken[plain])
    finally:
        torch.set_num_threads(threads)
    low, middle, high = statistics.quantiles(found, n=4)
    print(
        f"\n{method} resnet20, batch {BATCH}, {SHARDS} slices: {middle:.3f} x the time of a plain step (quartiles {low:.3f} "
        f"to {high:.3f}, {ROUNDS} rounds; plain {1e6 * statistics.median(seconds) / BATCH:,.0f} us an image)",
        end="",
    )
    benchmark.extra_info["time"] = middle
    benchmark.pedantic(lambda: None, rounds=1)
    assert middle <= MOST
