"""Training steps, priced in one run: ratios of interleaved rounds, so that the machine's load falls on all alike.

    tox run -e speed -- tests/speed/test_methods.py -s

Each method's and each regularizer's step against the full-precision step of the same backbone, and a regularizer's against
its method's. ResNet-20 at 32 px, batch 128, channels last, float32, one thread, CPU time of the process, halfway through the
training; the median of the rounds' ratios, with the quartiles, and the median microseconds. What a cache saves is priced
over the epochs of the quick preset, its filling included.
With LCRBENCH_PRICES=docs/step_prices.csv the rows that are measured replace those in the table of the page of methods.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.bench.processes import keep_memory
from lcrbench.models import network as networks
from lcrbench.models.api import observe

ROUNDS = 9
EPOCHS = 6  # of the quick preset
COMMAND = "LCRBENCH_PRICES=docs/step_prices.csv tox run -e speed -- tests/speed/test_methods.py"
Step = Callable[[], None]
Quartiles = tuple[float, float, float]


@pytest.fixture(scope="module")
def prices() -> Iterator[list[dict[str, object]]]:
    """Collect the rows, and write them where LCRBENCH_PRICES says."""
    rows: list[dict[str, object]] = []
    yield rows
    if path := os.environ.get("LCRBENCH_PRICES"):
        found = pd.DataFrame(rows).assign(measured=f"{datetime.now(UTC):%Y-%m-%d %H:%M}").set_index("method")
        if os.path.exists(path):
            found = found.combine_first(pd.read_csv(path, comment="#", index_col="method"))[found.columns]
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"# By `{COMMAND}`, {ROUNDS} rounds\n" + found.to_csv(float_format="%.3f"))


def stepper(method: str, backbone: str = "resnet20", batch: int = 128, epochs: int = 1) -> Step:
    """Return a function that trains on one batch once in each of some epochs; caches are empty before the first."""

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    def build(text: str) -> networks.Network:
        made = networks.build(networks.choose(text), backbone, 10, 32, [0.3] * 3, [0.4] * 3, generator)
        return made.to(memory_format=torch.channels_last)

    choice, net = networks.choose(method), build(method).train()
    # A power or a hyperbolic function costs less at the schedules' first values, where it may be constant.
    choice.method.on_progress(net, 0.5)
    terms = [r.attach(net, build(r.teacher)) if r.teacher else r.attach(net) for r in choice.regularizers.values()]
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    images = torch.rand(batch, 3, 32, 32, generator=generator("images")).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10

    def train() -> None:
        for term in terms:
            getattr(term, "known", {}).clear()
        for _ in range(epochs):
            step()

    def step() -> None:
        context = observe(net, terms, images, labels)
        loss = F.cross_entropy(context.logits, labels)
        for term in terms:
            if (extra := term.loss(context)) is not None:
                loss = loss + extra
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        choice.method.on_gradient(net)
        optimizer.step()

    return train


def seconds(*steps: Step) -> list[list[float]]:
    """Return each step's CPU seconds by round; the order turns from round to round."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_memory()  # as a process of a run does
    found: list[list[float]] = [[] for _ in steps]
    try:
        for f in steps:
            f()
        for k in range(ROUNDS):
            for i in [(k + j) % len(steps) for j in range(len(steps))]:
                began = time.process_time()
                steps[i]()
                found[i].append(time.process_time() - began)
    finally:
        torch.set_num_threads(threads)
    return found


def quartiles(times: list[float], base: list[float]) -> Quartiles:
    """Return the quartiles of the rounds' ratios."""
    low, middle, high = statistics.quantiles([t / b for t, b in zip(times, base, strict=True)], n=4)
    return low, middle, high


def test_a_step_takes_as_long_as_itself(benchmark) -> None:
    """What is measured is the step and not its place in the round."""
    _, middle, _ = quartiles(*seconds(stepper("irnet", batch=32), stepper("irnet", batch=32)))
    benchmark.extra_info["ratio"] = middle
    benchmark.pedantic(lambda: None, rounds=1)
    assert 0.85 < middle < 1.18


@pytest.mark.parametrize("method", [m for m in registry.names("method") if m != "full_precision"])
def test_a_methods_step(benchmark, prices: list[dict[str, object]], method: str) -> None:
    price(benchmark, prices, method, None, STEP_LIMITS.get(method))


# Of a method's step over the full-precision step; of a regularizer's over its method's.
STEP_LIMITS = {"adabin": 2.0, "rbnn": 1.8, "recu": 1.6, "reste": 1.45, "reactnet": 1.45, "dorefa": 1.45, "irnet": 1.3}
LIMITS = {"lcr": 1.3, "lcr_fixed": 1.5, "lcr_fixed:cache=true": 1.2}


@pytest.mark.parametrize(
    ("base", "regularizer"),
    [
        *(("irnet", r) for r in [*registry.names("regularizer"), "lcr_fixed:cache=true"]),
        ("bnn", "lcr"),
        ("recu", "lcr"),
    ],
)
def test_a_regularizers_step(benchmark, prices: list[dict[str, object]], base: str, regularizer: str) -> None:
    price(benchmark, prices, f"{base}+{regularizer}", base, LIMITS.get(regularizer))


def price(benchmark, prices: list[dict[str, object]], method: str, base: str | None, limit: float | None) -> None:
    epochs = EPOCHS if "cache" in method else 1
    step = stepper(method, epochs=epochs)
    names = ["full_precision", *([base] if base else [])]
    times = seconds(step, *(stepper(name, epochs=epochs) for name in names))
    found = [quartiles(times[0], base) for base in times[1:]]
    own, full = (1e6 * statistics.median(row) / epochs for row in times[:2])
    row: dict[str, object] = {"method": method, "microseconds": round(own), "full_precision_microseconds": round(full)}
    for column, three in zip(("full_precision", "own_base"), [*found, (None,) * 3], strict=False):
        row |= dict(zip((f"{column}_low", column, f"{column}_high"), three, strict=True))
    prices.append(row | {"limit": limit})
    for name, (low, middle, high) in zip(names, found, strict=True):
        print(f"\n{method:28} {middle:.2f} x {name} (quartiles {low:.2f} to {high:.2f}, {ROUNDS} rounds)", end="")
    print(f"\n{method:28} {own:,.0f} us, full precision {full:,.0f} us", end="")
    benchmark.extra_info |= row | {"ratio": found[-1][1]}  # what `lcrbench check-speed` compares
    benchmark.pedantic(step, rounds=1)
    if limit is not None:
        assert found[-1][1] <= limit
