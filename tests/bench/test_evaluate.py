"""Evaluation in blocks: an image's logits do not depend on its neighbours, to the bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from lcrbench import float32
from lcrbench.bench import data
from lcrbench.bench.evaluation import inference as evaluate
from lcrbench.models import network as networks


@pytest.fixture(scope="module", params=[("irnet", "vgg_tiny"), ("irnet", "resnet20"), ("full_precision", "vgg_tiny")])
def net(request: pytest.FixtureRequest) -> networks.Network:
    torch.set_num_threads(1)
    method, backbone = request.param

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    built = networks.build(networks.choose(method), backbone, 10, 32, [0.3] * 3, [0.4] * 3, generator)
    return built.to(memory_format=torch.channels_last).eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return data.load().test.images[:130]


def test_order_neighbours_and_number_do_not_matter(net: networks.Network, images: np.ndarray) -> None:
    whole = evaluate.logits(net, images, 50)
    order = np.random.default_rng(0).permutation(len(images))
    assert np.array_equal(evaluate.logits(net, images[order], 50), whole[order])
    for part in (slice(0, 1), slice(3, 10), slice(49, 52), slice(100, 130)):
        assert np.array_equal(evaluate.logits(net, images[part], 50), whole[part])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_an_accelerator_too(net: networks.Network, images: np.ndarray) -> None:
    """Neighbours do not matter there either, and the convolutions are float32's: TF32 would be 500 times off."""
    float32.exact()
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(50, 16, 32, 32, generator=rng), torch.randn(16, 16, 3, 3, generator=rng)
    exact = torch.nn.functional.conv2d(x.double(), w.double(), padding=1)
    there = torch.nn.functional.conv2d(x.cuda(), w.cuda(), padding=1).cpu()
    assert float((there - exact).abs().max() / exact.abs().max()) < 2e-6
    on_gpu = copy.deepcopy(net).cuda()
    whole = evaluate.logits(on_gpu, images, 50, "cuda")
    order = np.random.default_rng(0).permutation(len(images))
    assert np.array_equal(evaluate.logits(on_gpu, images[order], 50, "cuda"), whole[order])
    assert np.array_equal(evaluate.logits(on_gpu, images[3:10], 50, "cuda"), whole[3:10])


def test_uint8_and_float_agree(net: networks.Network, images: np.ndarray) -> None:
    scaled = images.astype(np.float32) / np.float32(255)
    assert np.array_equal(evaluate.logits(net, images, 50), evaluate.logits(net, scaled, 50))


def test_training_mode_is_left(net: networks.Network, images: np.ndarray) -> None:
    before = evaluate.logits(net, images[:10], 50)
    net.train()
    assert np.array_equal(evaluate.logits(net, images[:10], 50), before)
