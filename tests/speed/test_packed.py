"""Throughput of packed bits over torch, both as evaluations call them, in interleaved rounds.

    tox run -e speed -- tests/speed/test_packed.py -s

One thread, channels last, uint8 images in blocks of 100, CPU time of the process, the median of the rounds' ratios with the
quartiles. The bars are those of AVX-512 with a vector popcount, and lower ones elsewhere.
"""

from __future__ import annotations

import statistics
import time

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch

from lcrbench.bench.evaluation import inference
from lcrbench.models.packed.engine import Packed
from tests.packed.nets import make

WIDE = bool(llvm.get_host_cpu_features().get("avx512vpopcntdq"))


def ratios(method: str, backbone: str, size: int, block: int, rounds: int) -> tuple[list[float], float]:
    """Return the ratio of each round, and packed seconds an image."""
    net = make(method, backbone, size)
    images = np.random.default_rng(0).integers(0, 256, (block, size, size, 3), np.uint8)
    packed = Packed(net, size, size)
    found = packed.logits(images)
    assert found is not None
    np.testing.assert_array_equal(found, inference.logits(net, images, block))
    out, fast = [], []
    for _ in range(rounds):
        start = time.process_time()
        inference.logits(net, images, block)
        middle = time.process_time()
        for _ in range(3):
            packed.logits(images)
        taken = (time.process_time() - middle) / 3
        out.append((middle - start) / taken)
        fast.append(taken / block)
    return out, statistics.median(fast)


@pytest.mark.parametrize(
    ("method", "backbone", "size", "least", "elsewhere"),
    [
        ("irnet", "resnet20", 32, 10, 6),
        ("reactnet", "resnet20", 32, 12, 6),
        ("adabin", "resnet20", 32, 12, 6),
        ("rbnn", "resnet20", 32, 12, 6),
        ("irnet", "resnet18", 32, 10, 6),
        ("irnet", "vgg_small", 32, 10, 6),
        ("irnet", "vgg_tiny", 32, 5, 3),
        ("irnet", "resnet18", 224, 4, 2),
    ],
)
def test_packed_bits_are_faster(
    benchmark, method: str, backbone: str, size: int, least: float, elsewhere: float
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        small = size == 32
        found, image = ratios(method, backbone, size, 100 if small else 10, 9 if small else 5)
    finally:
        torch.set_num_threads(threads)
    low, middle, high = statistics.quantiles(found, n=4)
    print(
        f"\n{method} {backbone} {size} px: {middle:.1f} x torch (quartiles {low:.1f} to {high:.1f}, {len(found)} rounds; "
        f"{1e6 * image:,.0f} us an image)",
        end="",
    )
    benchmark.extra_info["throughput"] = middle
    benchmark.pedantic(lambda: None, rounds=1)
    assert middle >= (least if WIDE else elsewhere)
