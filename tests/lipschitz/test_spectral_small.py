"""Maps smaller than the kernel, and batch norms that stand before a layer: bounds against dense matrices."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from lcrbench.models import api, spectral
from lcrbench.models.binary import BinaryConv2d, deployed_weight
from lcrbench.models.estimators import clip
from lcrbench.models.spectral import operators

from .nets import built
from .test_spectral import dense, randn

SMALLER = [
    (4, 3, 3, 1, 1, (1, 1)),
    (4, 3, 3, 1, 1, (2, 2)),
    (3, 4, 3, 1, 1, (1, 9)),
    (4, 3, 3, 2, 1, (2, 2)),
    (4, 3, 5, 1, 2, (2, 3)),
    (3, 2, 7, 1, 3, (1, 1)),
    (3, 2, 7, 2, 3, (2, 4)),
    (3, 2, 7, 2, 3, (5, 5)),
    (2, 2, 11, 4, 5, (3, 3)),
]


@pytest.mark.parametrize(("out", "into", "k", "stride", "padding", "size"), SMALLER)
def test_a_map_smaller_than_the_kernel_has_the_norm_of_its_matrix(
    out: int, into: int, k: int, stride: int, padding: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    w = randn(out, into, k, k)
    exact = float(torch.linalg.matrix_norm(dense(w, stride, padding, size), ord=2))
    assert spectral.conv_upper(w, stride, padding, size) == pytest.approx(exact, rel=1e-9)
    assert exact <= spectral.conv_upper(w, stride, padding, size)
    # Where that matrix would be too large: still a bound, and of the taps that meet the map alone.
    monkeypatch.setattr(operators, "DENSE", 0)
    cut = spectral.conv_upper(w, stride, padding, size)
    assert exact <= cut <= 3 * exact


def test_taps_that_never_meet_the_map_do_not_count() -> None:
    """Of a 7x7 kernel on one pixel the middle counts; the torus of 7 x 7 positions sees all of it."""
    w = torch.full((1, 1, 7, 7), 10.0, dtype=torch.float64)
    w[0, 0, 3, 3] = 1
    assert spectral.conv_upper(w, 1, 3, (1, 1)) == pytest.approx(1, rel=1e-9)


def norm_of(channels: int, flat: bool = False) -> nn.Module:
    """A batch norm with scales from 0.1 to 10 and of either sign."""
    made = nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)
    scale = torch.logspace(-1, 1, channels) * torch.tensor([1.0, -1.0]).repeat(channels)[:channels]
    made.weight.data.copy_(scale[torch.randperm(channels, generator=torch.Generator().manual_seed(1))])
    made.running_var.copy_(randn(channels, seed=2).abs() + 0.5)
    made.running_mean.copy_(randn(channels, seed=3))
    return made.eval()


def jacobian(network: nn.Module, shape: tuple[int, ...]) -> Tensor:
    network = copy.deepcopy(network).double().eval()
    columns = torch.autograd.functional.jacobian(lambda x: network(x).flatten(), randn(1, *shape, seed=9))
    return columns.reshape(len(columns), -1)


LINEAR = {
    "conv": (lambda: nn.Sequential(norm_of(4), nn.Conv2d(4, 5, 3, 1, 1)), (4, 6, 6), 1.35),
    "conv without padding": (lambda: nn.Sequential(norm_of(4), nn.Conv2d(4, 5, 1)), (4, 6, 6), 1),
    "groups": (lambda: nn.Sequential(norm_of(4), nn.Conv2d(4, 6, 1, groups=2)), (4, 3, 3), 1),
    "between two": (lambda: nn.Sequential(norm_of(4), nn.Conv2d(4, 6, 1), norm_of(6)), (4, 3, 3), 1),
    "linear": (lambda: nn.Sequential(nn.Flatten(), norm_of(8, True), nn.Linear(8, 5)), (8, 1, 1), 1),
    "flattened": (lambda: nn.Sequential(norm_of(4), nn.Flatten(), nn.Linear(36, 5)), (4, 3, 3), 1),
    "two in a row": (lambda: nn.Sequential(norm_of(4), norm_of(4), nn.Flatten(), nn.Linear(36, 5)), (4, 3, 3), 1),
    "pooled": (
        lambda: nn.Sequential(norm_of(4), nn.AvgPool2d(3), nn.Flatten(), nn.Dropout(), nn.Linear(4, 5)),
        (4, 3, 3),
        1,
    ),
}


@pytest.mark.parametrize(("make", "shape", "loose"), LINEAR.values(), ids=[*LINEAR])
def test_a_batch_norm_before_a_layer_is_folded(make, shape: tuple[int, ...], loose: float) -> None:  # type: ignore[no-untyped-def]
    """The bound of a linear network is its norm, where no torus stands for a zero padding; never below it."""
    torch.manual_seed(0)
    network = make().eval()
    exact = float(torch.linalg.matrix_norm(jacobian(network, shape), ord=2))
    bound = spectral.product_bound(network, shape).bound
    assert exact * (1 - 1e-12) <= bound <= loose * exact * (1 + 1e-6)
    box = spectral.range_bound(network, shape).bound
    assert box == pytest.approx(bound * math.sqrt(math.prod(shape)))


def test_the_layers_own_norm_is_without_what_stands_before_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), norm_of(8, True), nn.Linear(8, 5))
    (layer,) = spectral.product_bound(network, (8, 1, 1)).layers
    own = float(torch.linalg.matrix_norm(network[2].weight.detach().double(), ord=2))
    assert layer.bracket.upper == pytest.approx(own)


@pytest.mark.parametrize("between", [nn.ReLU, nn.Hardtanh, lambda: nn.MaxPool2d(2)])
def test_through_what_acts_on_each_channel_it_stays_a_bound(between) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    network = nn.Sequential(norm_of(4), between(), nn.Conv2d(4, 5, 2), nn.Flatten()).eval()
    bound = spectral.product_bound(network, (4, 4, 4)).bound
    scale = spectral.norm_scale(network[0]).abs().max()
    plain = spectral.product_bound(network[2], (4, *network[1](torch.zeros(1, 4, 4, 4)).shape[2:])).bound
    assert bound < 0.9 * scale * plain, "tighter than the product of the norms"
    network.double()
    for k in range(20):
        x = randn(64, 4, 4, 4, seed=k)
        y = x + 1e-3 * randn(64, 4, 4, 4, seed=99 + k)
        moved = (network(x) - network(y)).flatten(1).norm(dim=1)
        assert (moved <= bound * (x - y).flatten(1).norm(dim=1) * (1 + 1e-9)).all()


def test_behind_a_batch_norm_signs_of_a_binary_layer_are_folded_in_the_surrogate() -> None:
    class Bits(api.Binarizer):
        def forward(self, w: Tensor) -> tuple[Tensor, None]:
            return w.sign(), None

    torch.manual_seed(0)
    layer = BinaryConv2d(4, 5, 1, 1, 0, sign=clip.Estimator(), binarizer=Bits())
    network = nn.Sequential(norm_of(4), layer).eval()
    weight = deployed_weight(layer).detach().double().flatten(1) * spectral.norm_scale(network[0])
    assert spectral.product_bound(network, (4, 3, 3)).bound == pytest.approx(
        float(torch.linalg.matrix_norm(weight, ord=2))
    )
    # Deployed, signs are as far apart whatever stands before them.
    signs = (
        2 * math.sqrt(36) * float(torch.linalg.matrix_norm(deployed_weight(layer).detach().double().flatten(1), ord=2))
    )
    assert spectral.range_bound(network, (4, 3, 3)).bound == pytest.approx(signs)


def test_our_heads_are_bounded_closer() -> None:
    """The head of a network of the suite: hardtanh, pool over C channels, batch norm d, linear W."""
    network = built("irnet", "vgg_tiny")
    norm, linear = network.body.head[2:]
    assert isinstance(norm, nn.BatchNorm1d)
    folded = linear.weight.detach().double() * spectral.norm_scale(norm)
    exact = 2 * math.sqrt(linear.in_features) * float(torch.linalg.matrix_norm(folded, ord=2))
    found = spectral.range_bound(network, (3, 16, 16)).bound
    assert found == pytest.approx(exact)
    apart = float(torch.linalg.matrix_norm(linear.weight.detach().double(), ord=2)) * float(
        spectral.norm_scale(norm).abs().max()
    )
    assert apart * 2 * math.sqrt(linear.in_features) > 1.1 * found
