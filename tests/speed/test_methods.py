"""Training steps, priced in one run: ratios of interleaved pairs, so that the machine's load falls on both alike.

    tox run -e speed -- tests/speed/test_methods.py -s

ResNet-20 at 32 px, batch 128, channels last, float32, one thread, CPU time of the process; the median of the pairs' ratios,
with the quartiles.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.models import network as networks

PAIRS = 7
Step = Callable[[], None]


def stepper(method: str, backbone: str = "resnet20", batch: int = 128) -> Step:
    """Return a function that takes one training step on the same images each time."""

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    def build(text: str) -> networks.Network:
        made = networks.build(networks.choose(text), backbone, 10, 32, [0.3] * 3, [0.4] * 3, generator)
        return made.to(memory_format=torch.channels_last)

    choice, net = networks.choose(method), build(method).train()
    terms = [
        r.attach(net, build(r.teacher)) if hasattr(r, "teacher") else r.attach(net)
        for r in choice.regularizers.values()
    ]
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    images = torch.rand(batch, 3, 32, 32, generator=generator("images")).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10

    def step() -> None:
        for term in terms:
            term.begin(False)
        loss = F.cross_entropy(net(images), labels)
        for term in terms:
            if (extra := term.loss()) is not None:
                loss = loss + extra
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def ratio(step: Step, base: Step) -> tuple[float, float, float]:
    """Return the quartiles of step's time over base's, in pairs whose order alternates."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        base(), step()
        found = []
        for k in range(PAIRS):
            seconds = {}
            for f in (base, step) if k % 2 else (step, base):
                began = time.process_time()
                f()
                seconds[f] = time.process_time() - began
            found.append(seconds[step] / seconds[base])
    finally:
        torch.set_num_threads(threads)
    low, middle, high = statistics.quantiles(found, n=4)
    return low, middle, high


@pytest.mark.parametrize(
    ("method", "base", "limit"),
    [
        ("irnet+lcr", "irnet", 1.5),
        ("irnet+lcr_fixed", "irnet", 1.5),
        ("irnet+lcr_fixed:cache=true", "irnet", 1.2),
        ("irnet+lcr_released", "irnet", None),
        ("irnet+jacobian_penalty", "irnet", None),
        ("irnet+spectral_norm", "irnet", None),
        ("irnet+spectral_penalty", "irnet", None),
        ("irnet+parseval", "irnet", None),
    ],
)
def test_a_regularizers_step(benchmark, method: str, base: str, limit: float | None) -> None:
    priced(benchmark, method, base, limit)


@pytest.mark.parametrize("method", [m for m in registry.names("method") if m != "full_precision"])
def test_a_methods_step_against_full_precision(benchmark, method: str) -> None:
    priced(benchmark, method, "full_precision", None)


def priced(benchmark, method: str, base: str, limit: float | None) -> None:
    step = stepper(method)
    low, middle, high = ratio(step, stepper(base))
    print(f"\n{method:32} {middle:.2f} x {base} (quartiles {low:.2f} to {high:.2f}, {PAIRS} pairs)")
    benchmark.extra_info |= {"ratio": middle, "quartiles": [low, high], "base": base}
    benchmark.pedantic(step, rounds=1)
    if limit is not None:
        assert middle <= limit
