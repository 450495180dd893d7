"""Trained networks of each method, on clean and corrupted photographs: no logit on packed bits differs from torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lcrbench.bench import data
from lcrbench.bench.data.arrays import Split
from lcrbench.bench.evaluation import inference
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.training.loop import train
from lcrbench.corruptions import corrupt
from lcrbench.models import network as networks
from lcrbench.models.packed.engine import Packed

from .nets import METHODS

SIZE, STEPS, BATCH, TEST = 16, 200, 50, 1000
SHOWN = (("", 0), ("gaussian_noise", 3), ("fog", 5), ("contrast", 5), ("jpeg_compression", 3))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_no_logit_of_a_trained_network_differs(method: str) -> None:
    choice, found = networks.choose(method), data.load(size=SIZE)
    mean, std = [float(found.train.images.mean() / 255)] * 3, [float(found.train.images.std() / 255)] * 3

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    net = networks.build(choice, "vgg_tiny", 10, SIZE, mean, std, generator).to(memory_format=torch.channels_last)
    few = Split(found.train.images[: STEPS * BATCH], found.train.labels[: STEPS * BATCH])
    recipe = Recipe(batch=BATCH, lr=0.05, validation=0, selection="last")
    train(net, few, Budget(images=STEPS * BATCH), recipe, 0, on_progress=choice.method.on_progress)
    net.eval()
    packed, compared, clean = Packed(net, SIZE, SIZE), 0, found.test.images[:TEST]
    for name, severity in SHOWN:
        images = corrupt(clean, name, severity) if name else clean
        wanted = inference.logits(net, images, 100)
        if not name:
            assert (wanted.argmax(1) == found.test.labels[:TEST]).mean() > 0.2, "little more than chance was learned"
        for start in range(0, TEST, 100):
            got = packed.logits(images[start : start + 100])
            assert got is not None
            np.testing.assert_array_equal(got, wanted[start : start + 100])
            compared += got.size
    assert compared == 10 * TEST * len(SHOWN)
