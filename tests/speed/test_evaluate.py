"""What `evaluate` adds to a network's own forward passes, corruption included: ratios of interleaved rounds, by CPU time.

tox run -e speed -- tests/speed/test_evaluate.py -s
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import lcrbench
from lcrbench import corruptions
from lcrbench.bench import data
from lcrbench.corruption_names import COMMON
from tests.networks.cifar_resnet import make

IMAGES, ROUNDS, BLOCK = 400, 3, 100


def bare(network: nn.Module, images: np.ndarray, labels: np.ndarray, stream: str, indices: np.ndarray) -> float:
    """Return the error over 75 cells, as a script of one's own finds it."""
    wrong = 0
    with torch.inference_mode():
        network(torch.from_numpy(images[:BLOCK].copy()).permute(0, 3, 1, 2).float() / 255)
        for name in COMMON:
            for severity in range(1, 6):
                shown = corruptions.corrupt(images, name, severity, seed=0, stream=stream, indices=indices)
                for start in range(0, len(shown), BLOCK):
                    x = torch.from_numpy(shown[start : start + BLOCK]).permute(0, 3, 1, 2).float() / 255
                    found = network(x).argmax(1).numpy()
                    wrong += int((found != labels[start : start + BLOCK]).sum())
    return wrong / (75 * len(images))


def test_75_cells_take_little_more_than_the_bare_passes(benchmark: Callable[..., object]) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    network = make().to(memory_format=torch.channels_last)
    some = data.take(data.load(), None, IMAGES, seed=0)
    # `Protocol.noise`: the first 16 digits of the hash of the data.
    given = some.test.images.copy(), some.test.labels, some.whole_sha256[:16], some.test_indices
    asked = {"corruptions": "common", "test": IMAGES, "block": BLOCK, "metrics": "accuracy corruption_error"}
    # Which is first takes turns, and a round of one cell compiles.
    lcrbench.evaluate(network, **{**asked, "corruptions": "fog"}, severities=(1,))  # type: ignore[arg-type]
    bare(network, given[0][:BLOCK], given[1][:BLOCK], given[2], given[3][:BLOCK])
    found = []
    for round_ in range(ROUNDS):
        times = {}
        for ours in (True, False) if round_ % 2 else (False, True):
            start = time.process_time()
            if ours:
                table = lcrbench.evaluate(network, **asked).table()  # type: ignore[arg-type]
            else:
                error = bare(network, *given)
            times[ours] = time.process_time() - start
        found.append(times[True] / times[False])
    row = table.query("metric == 'corruption_error' and corruption == 'common'")
    assert row.value.iloc[0] == pytest.approx(error)
    print(f"\nevaluate over 75 cells of {IMAGES} images: {statistics.median(found):.3f} of the bare passes {found}")
    benchmark.pedantic(lambda: None, rounds=1)  # type: ignore[attr-defined]
    assert statistics.median(found) <= 1.10
