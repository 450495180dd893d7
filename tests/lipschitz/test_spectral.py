"""Operator norms against dense matrices and closed forms, and the product bound against what it must bound."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.bench.lipschitz import search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.errors import UserError
from lcrbench.models import api, spectral
from lcrbench.models.binary import BinaryConv2d, binary_layers, deployed_weight
from lcrbench.models.estimators import clip

from .nets import Function, built, grey, subject


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(weight: Tensor, stride: int, padding: int, size: tuple[int, int]) -> Tensor:
    eye = torch.eye(weight.shape[1] * size[0] * size[1], dtype=torch.float64)
    columns = F.conv2d(eye.view(len(eye), weight.shape[1], *size), weight, stride=stride, padding=padding)
    return columns.flatten(1).T


CASES = [
    (8, 3, 3, 1, 1, (12, 12)),
    (8, 8, 3, 1, 1, (8, 8)),
    (12, 8, 3, 2, 1, (8, 8)),
    (12, 12, 3, 1, 1, (5, 6)),
    (6, 4, 1, 1, 0, (7, 7)),
    (6, 4, 1, 2, 0, (7, 8)),
    (6, 3, 5, 2, 2, (11, 9)),
    (6, 3, 7, 2, 3, (14, 14)),
    (4, 4, 2, 2, 0, (9, 8)),
    (4, 4, 3, 3, 0, (10, 11)),
]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(("out", "into", "k", "stride", "padding", "size"), CASES)
def test_bracket_against_dense_svd(
    out: int, into: int, k: int, stride: int, padding: int, size: tuple[int, int], binary: bool
) -> None:
    """T2: below to 1e-8, above never below."""
    w = randn(out, into, k, k)
    w = w.sign() * randn(out, 1, 1, 1, seed=1).abs() if binary else w
    exact = float(torch.linalg.matrix_norm(dense(w, stride, padding, size), ord=2))
    lower = spectral.conv_lower(w, stride, padding, size, iterations=200)
    assert lower == pytest.approx(exact, rel=1e-8)
    assert lower <= exact * (1 + 1e-12)
    assert spectral.conv_lower(w, stride, padding, size) <= exact * (1 + 1e-12)
    upper = spectral.conv_upper(w, stride, padding, size)
    assert exact <= upper <= 1.35 * exact


def test_against_scipy() -> None:
    w = randn(16, 16, 3, 3)
    shape = (1, 16, 14, 14)
    n = math.prod(shape)

    def apply(v: np.ndarray) -> np.ndarray:
        return F.conv2d(torch.from_numpy(v).double().view(shape), w, padding=1).flatten().numpy()

    def adjoint(v: np.ndarray) -> np.ndarray:
        return F.conv_transpose2d(torch.from_numpy(v).double().view(shape), w, padding=1).flatten().numpy()

    oracle = svds(LinearOperator((n, n), matvec=apply, rmatvec=adjoint), k=1, return_singular_vectors=False)[0]
    assert spectral.conv_lower(w, 1, 1, (14, 14), 100) == pytest.approx(oracle, rel=1e-9)


def test_closed_form_of_the_box_filter() -> None:
    """T3: all ones 3x3, padding 1, n x n: (1 + 2 cos(pi / (n + 1)))^2."""
    ones = torch.ones(1, 1, 3, 3)
    exact = (1 + 2 * math.cos(math.pi / 9)) ** 2
    assert exact == pytest.approx(8.2908593694, abs=5e-11)
    assert spectral.conv_lower(ones, 1, 1, (8, 8)) == pytest.approx(exact, abs=5e-11)
    upper = spectral.conv_upper(ones, 1, 1, (8, 8))
    assert upper == pytest.approx((1 + 2 * math.cos(math.pi / 10)) ** 2, rel=1e-9), "the half-step shift; 9 without"
    assert spectral.conv_upper(ones, 1, 1, (40, 40)) == pytest.approx(9, rel=1e-9)


def test_norms_that_are_one() -> None:
    """T4 and T14."""
    q = torch.linalg.qr(randn(6, 6))[0].view(6, 6, 1, 1)
    dirac = torch.zeros(6, 6, 3, 3, dtype=torch.float64)
    nn.init.dirac_(dirac)
    for w, stride, padding in ((q, 1, 0), (dirac, 1, 1), (dirac, 2, 1)):
        b = spectral.conv_bracket(w, stride, padding, (8, 8))
        assert b.lower == pytest.approx(1, abs=1e-9)
        assert b.upper == pytest.approx(1, abs=1e-9)


def test_groups_take_the_largest() -> None:
    w = randn(6, 2, 3, 3)
    whole = torch.zeros(6, 6, 3, 3, dtype=torch.float64)
    for g in range(3):
        whole[2 * g : 2 * g + 2, 2 * g : 2 * g + 2] = w[2 * g : 2 * g + 2]
    b = spectral.conv_bracket(w, 1, 1, (6, 6), groups=3)
    assert b.lower == pytest.approx(float(torch.linalg.matrix_norm(dense(whole, 1, 1, (6, 6)), ord=2)), rel=1e-8)


def test_symmetries_leave_the_norms() -> None:
    """T11: flipped signs of channels on either side, and their order."""
    w = randn(8, 8, 3, 3)
    flip = torch.tensor([1, -1, 1, 1, -1, -1, 1, -1], dtype=torch.float64)
    other = (flip.view(-1, 1, 1, 1) * w * flip.view(1, -1, 1, 1))[torch.randperm(8)]
    a, b = (spectral.conv_bracket(v, 1, 1, (6, 6)) for v in (w, other))
    assert a.lower == pytest.approx(b.lower, rel=1e-9)
    assert a.upper == pytest.approx(b.upper, rel=1e-9)


def test_lanczos_on_rank_one_and_zero() -> None:
    u, v = randn(30), randn(20, seed=1)
    found = spectral.lanczos(lambda x: u * (v @ x), lambda y: v * (u @ y), randn(20, seed=2))
    assert found == pytest.approx(float(u.norm() * v.norm()), rel=1e-12)
    assert spectral.lanczos(lambda x: 0 * x, lambda y: 0 * y, randn(20)) == 0


class Residual(nn.Module):
    """x + BN(conv(x)) with a batch norm that multiplies by 0: the identity."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.weight, gamma)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.norm(self.conv(x))
        return y


def test_residual_identity_has_bound_one() -> None:
    """T13."""
    assert spectral.product_bound(Residual(0.0).eval(), (3, 8, 8)).bound == pytest.approx(1, abs=1e-12)
    assert spectral.product_bound(Residual(1.0).eval(), (3, 8, 8)).bound > 1.1


def test_pools_and_norm_alone() -> None:
    net = nn.Sequential(nn.AvgPool2d(2), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([1.0, -3.0, 2.0]))
        net[1].running_var.fill_(4.0)
    expected = 1 / 2 * 3 / math.sqrt(4 + net[1].eps) / 4
    assert spectral.product_bound(net, (3, 8, 8)).bound == pytest.approx(expected, rel=1e-6)


def test_linear_chain_folds_its_norm() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4)).eval()
    with torch.no_grad():
        net[2].weight.copy_(torch.rand(5))
    bounds = spectral.product_bound(net, (3, 2, 2))
    folded = spectral.norm_scale(net[2])[:, None] * net[1].weight.double()
    parts = [float(torch.linalg.matrix_norm(m.detach().double(), ord=2)) for m in (folded, net[4].weight)]
    assert [layer.bracket.upper for layer in bounds.layers] == pytest.approx(parts, rel=1e-6)
    assert bounds.bound == pytest.approx(math.prod(parts), rel=1e-6)


@pytest.mark.parametrize("backbone", ["vgg_tiny", "resnet20"])
def test_the_bound_is_above_what_is_found(backbone: str) -> None:
    """T7, on a network without signs, whose own bound it is."""
    net = built("full_precision:nonlinearity=hardtanh", backbone)
    found = search.modulus(subject(net, grey(4, 16, low=0, high=1)), Options(l2=(1, 32), images=4))
    bound = spectral.product_bound(net, (3, 16, 16)).bound
    for f in found.found:
        assert (f.gain <= bound).all()
        assert (f.gain > 0).all()


class TestRange:
    """T7: how far apart the outputs of a network of signs can be at all."""

    def test_closed_form_behind_a_hardtanh_and_a_pool(self) -> None:
        """2 sqrt(C) ||W||_2, whatever stands before the hardtanh."""
        head = nn.Linear(8, 5)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Hardtanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
        ).eval()
        with torch.no_grad():
            net[0].weight.mul_(1e4)
        expected = 2 * math.sqrt(8) * float(torch.linalg.matrix_norm(head.weight.detach().double(), ord=2))
        assert spectral.range_bound(net, (3, 6, 6)).bound == pytest.approx(expected, rel=1e-6)
        assert spectral.product_bound(net, (3, 6, 6)).bound > 100 * expected

    def test_signs_that_can_all_turn_reach_it(self) -> None:
        """A black and a white image turn every sign of an identity, so the bound is exact."""
        layer = BinaryConv2d(3, 3, 1, 1, 0, sign=clip.Estimator(), binarizer=Scaled(0.5, torch.eye(3)))
        net = nn.Sequential(Shifted(-0.5), layer, nn.Flatten()).eval()
        black, white = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
        reached = float((net(white) - net(black)).double().norm())
        assert reached == pytest.approx(2 * math.sqrt(48) * 0.5)
        assert spectral.range_bound(net, (3, 4, 4)).bound == pytest.approx(reached, rel=1e-6)

    def test_signs_alone_and_their_levels(self) -> None:
        """n signs are 2 sqrt(n) apart, and those that stand for a s + c are 2 a sqrt(n)."""
        alone = nn.Sequential(Shifted(-0.5), clip.Estimator())
        assert spectral.range_bound(alone, (3, 4, 4)).bound == pytest.approx(2 * math.sqrt(48))

        class Levels(clip.Estimator):
            def levels(self) -> tuple[float, float]:
                return -0.25, 3.0

        layer = BinaryConv2d(3, 3, 1, 1, 0, sign=Levels(), binarizer=Scaled(0.5, torch.eye(3)))
        net = nn.Sequential(Shifted(-0.5), layer).eval()
        reached = float((net(torch.zeros(1, 3, 4, 4)) - net(torch.ones(1, 3, 4, 4))).double().norm())
        assert reached == pytest.approx(2 * 0.25 * math.sqrt(48) * 0.5)
        assert spectral.range_bound(net, (3, 4, 4)).bound == pytest.approx(reached, rel=1e-6)

    @pytest.mark.parametrize("end", ["hardtanh", "sign", "binary"])
    def test_a_shape_that_depends_on_the_image_has_no_range(self, end: str) -> None:
        """A black image leaves nothing of x[x > 1/2]: its shape bounds nothing."""
        ends: dict[str, nn.Module] = {
            "hardtanh": nn.Hardtanh(),
            "sign": clip.Estimator(),
            "binary": BinaryConv2d(1, 1, 1, 1, 0, sign=clip.Estimator(), binarizer=Scaled(1, torch.eye(1))),
        }
        bright = Function(lambda x: x[x > 0.5].view(-1, 1, 1, 1))
        assert math.isinf(spectral.range_bound(nn.Sequential(bright, ends[end]).eval(), (3, 4, 4)).bound)

    def test_a_small_linear_network_is_bounded_by_the_box(self) -> None:
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 12, bias=False), nn.Hardtanh()).eval()
        with torch.no_grad():
            net[1].weight.copy_(0.1 * torch.eye(12))
        assert spectral.range_bound(net, (3, 2, 2)).bound == pytest.approx(0.1 * math.sqrt(12), rel=1e-6)

    @pytest.mark.parametrize(
        "method", ["full_precision", "bnn", "irnet", "reactnet", "adabin", "rbnn", "bi_real", "reste"]
    )
    @pytest.mark.parametrize("backbone", ["vgg_tiny", "resnet20"])
    def test_no_two_images_are_further_apart(self, method: str, backbone: str) -> None:
        net = built(method, backbone)
        found = spectral.range_bound(net, (3, 16, 16))
        assert not found.reason
        assert math.isfinite(found.bound)
        draw = torch.Generator().manual_seed(0)
        x = torch.rand(24, 3, 16, 16, generator=draw)
        x[:12] = x[:12].round()
        with torch.no_grad():
            out = net(x).double()
        assert 0 < float(torch.cdist(out, out).max()) <= found.bound

    def test_the_search_stays_below_it(self) -> None:
        net = built("bnn", "vgg_tiny")
        images = grey(4, 16, low=0, high=1)
        found = search.modulus(subject(net, images), Options(l2=(255, 2550), images=4))
        bound = spectral.range_bound(net, (3, 16, 16)).bound
        assert all((f.omega > 0).all() and (f.omega <= bound).all() for f in found.found)


class Shifted(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


class Scaled(api.Binarizer):
    """A binarizer with bits that are given, one scale for all."""

    def __init__(self, scale: float, bits: Tensor) -> None:
        super().__init__()
        self.scale, self.bits = torch.tensor([scale]), bits.view(*bits.shape, 1, 1)

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.bits, self.scale


def test_binary_layers_are_measured_with_scale_and_norm() -> None:
    net = built("irnet", "vgg_tiny")
    layers = {layer.name: layer for layer in spectral.product_bound(net, (3, 16, 16)).layers}
    name, conv = list(binary_layers(net).items())[-1]
    scale = spectral.norm_scale(net.body.blocks[-1][2])
    assert layers[name].binary
    exact = torch.linalg.matrix_norm(
        dense((deployed_weight(conv).double() * scale.view(-1, 1, 1, 1)).detach(), 1, 1, (4, 4)), ord=2
    )
    assert layers[name].bracket.lower <= float(exact) * (1 + 1e-9)
    assert layers[name].bracket.upper >= float(exact)


def test_what_has_no_rule_is_named() -> None:
    class Softmaxed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).softmax(1)

    bounds = spectral.product_bound(nn.Sequential(nn.Conv2d(3, 4, 1), Softmaxed()), (3, 2, 2))
    assert math.isinf(bounds.bound)
    assert "softmax" in bounds.reason
    assert [layer.name for layer in bounds.layers] == ["0"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv2d(3, 4, 3, dilation=2), "dilated convolution"),
        (nn.Conv2d(3, 4, 3, stride=(1, 2)), "unequal strides or paddings"),
        (nn.Conv2d(3, 4, 3, padding=(0, 1)), "unequal strides or paddings"),
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), "circular padding"),
        (nn.MaxPool2d(2, dilation=2), "dilated pool"),
        (nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), "whole window"),
        (nn.AvgPool2d(2, divisor_override=1), "whole window"),
        (nn.AvgPool2d(3, 2, ceil_mode=True), "whole window"),
        (Function(lambda x: F.max_pool2d(x, 2, dilation=2)), "dilated pool"),
        (Function(lambda x: F.avg_pool2d(x, 2, divisor_override=1)), "whole window"),
        (Function(lambda x: F.avg_pool2d(x, 3, 2, 1, False, False)), "whole window"),
        (Function(lambda x: x + F.avg_pool2d(x, 8)), "broadcasts"),
        (Function(lambda x: x + x.flatten(1).view(-1, 3, 8, 8)[:, :1]), "broadcasts"),
        (Function(lambda x: x[:, :1] * torch.ones(1, 3, 1, 1)), "broadcasts"),
        (Function(lambda x: torch.add(x, x, alpha=3)), "alpha"),
        (Function(lambda x: F.pad(x, (1, 1, 1, 1), "reflect")), "constant"),
    ],
)
def test_what_would_not_be_a_bound_is_refused(layer: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        spectral.product_bound(nn.Sequential(layer, nn.ReLU()).eval(), (3, 8, 8))
    assert "\n" not in str(error.value)


def test_what_is_infinite_stays_so_times_zero() -> None:
    net = nn.Sequential(Function(lambda x: x.softmax(1)), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    nn.init.zeros_(net[2].weight)
    assert spectral.product_bound(net, (3, 4, 4)).bound == math.inf


def test_an_input_used_twice_counts_twice() -> None:
    assert spectral.product_bound(Function(lambda x: x + x), (3, 8, 8)).bound == 2
    assert spectral.product_bound(Function(lambda x: torch.cat([x, x], 1)), (3, 8, 8)).bound == math.sqrt(2)


def changed_in_place(x: Tensor) -> Tensor:
    x.view(-1).mul_(5)
    return x


def changed_by_a_second_name(x: Tensor) -> Tensor:
    y = x * 2
    z = y
    y += x
    return z


@pytest.mark.parametrize("bound", [spectral.product_bound, spectral.range_bound])
@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda x: (x * 255).to(torch.int32).float(), "'to' with a result of type int32"),
        (lambda x: x.to(torch.bool).float(), "'to' with a result of type bool"),
        (lambda x: x.to(torch.float16).float(), "'to' with a result of type float16"),
        (lambda x: x.view(torch.float64), "'view' as another type"),
        (lambda x: x[:, [0, 0, 0, 0]], "'getitem' by anything but"),
        (lambda x: x[:, torch.tensor([0, 0])], "'getitem' by anything but"),
        (lambda x: F.hardtanh(x[x > 0.5]), "'gt'"),
        (lambda x: x * 3 + x.flatten()[0].item(), "'item'"),
        (lambda x: torch.cat(x.chunk(3, 1), 1) * 0, "'chunk'"),
        (lambda x: x.split(1, 1)[0], "'split'"),
        (lambda x: x.unbind(1)[0].flatten(1), "'unbind'"),
        (lambda x: x.max(1)[0], "'max'"),
        (lambda x: x.flatten().tolist(), "'tolist'"),
        (lambda x: x * x, "'mul'"),
        (lambda x: x * F.avg_pool2d(x, 8), "'mul'"),
        (lambda x: x / (x + 1), "'truediv'"),
        (lambda x: 1 / (x + 1), "'truediv'"),
        (lambda x: torch.div(x, 0.1, rounding_mode="floor"), "'div'"),
        (lambda x: x.clamp(min=3 * x), "'clamp'"),
        (lambda x: F.prelu(x, x[0, :, 0, 0]), "'prelu'"),
        (lambda x: (x, 2 * x), "several outputs"),
        (changed_in_place, "'mul_'"),
        (lambda x: x.softmax(1).tanh(), "'softmax'"),
        (lambda x: x.softmax(1) * 0, "'softmax'"),
        (lambda x: x * x.nonzero().size(0), "'nonzero'"),
    ],
)
def test_what_has_no_bound_is_infinite_and_named(
    function: Callable[[Tensor], Tensor], named: str, bound: Callable[..., spectral.Bounds]
) -> None:
    """Jumps, products of two values, repeated channels, numbers taken out of tensors: by constants and by distances."""
    found = bound(Function(function), (3, 8, 8))
    assert math.isinf(found.bound)
    assert named in found.reason


@pytest.mark.parametrize(
    ("function", "factor"),
    [
        (lambda x: x.view(x.size(0), -1), 1),
        (lambda x: x.view(x.shape[0], x.numel()).flatten(1), 1),
        (lambda x: x[:, : x.size(1) - 1, None, ..., 0].to(x.dtype), 1),
        (lambda x: F.avg_pool2d(x, x.shape[2:]), 1 / 8),
        (lambda x: F.avg_pool2d(x, x.size()[3]), 1 / 8),
        (lambda x: torch.reshape(x, (x.size(0), -1)), 1),
        (lambda x: x - 3 * x, 4),
        (lambda x: x + torch.ones(1, 3, 8, 8), 1),
        (lambda x: F.pad(x, (1, 1, 1, 1), value=7), 1),
        (lambda x: torch.ones(1, 3), 0),
        (lambda x: x.size(1), 0),
    ],
)
def test_sizes_and_constants_are_no_values(function: Callable[[Tensor], Tensor], factor: float) -> None:
    constant, apart = (b(Function(function), (3, 8, 8)) for b in (spectral.product_bound, spectral.range_bound))
    assert constant.bound == pytest.approx(factor)
    assert apart.bound == pytest.approx(factor * math.sqrt(192))
    assert constant.reason == apart.reason == ""


def test_a_network_that_is_not_its_graph_is_refused() -> None:
    with pytest.raises(UserError, match="another function"):
        spectral.product_bound(Function(changed_by_a_second_name), (3, 8, 8))


def test_a_second_argument_at_its_default_is_a_constant() -> None:
    class Scaling(nn.Module):
        def forward(self, x: Tensor, by: float = 2.0) -> Tensor:
            return x * by

    assert spectral.product_bound(Scaling(), (3, 2, 2)).bound == 2


class Normalized(nn.Module):
    """As `models.network.Network` has it: (x - mean) / std by channel, before the body."""

    def __init__(self, body: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.body((images - self.mean) / self.std)
        return out


def test_the_normalization_divides() -> None:
    """sigma / std where all deviations are equal, sigma / the smallest where not."""
    linear = nn.Linear(12, 5)
    sigma = float(torch.linalg.matrix_norm(linear.weight.detach().double(), ord=2))
    for std, least in (([0.25, 0.25, 0.25], 0.25), ([0.5, 0.2, 1.0], 0.2)):
        net = Normalized(nn.Sequential(nn.Flatten(), linear), [0.5, 0.4, 0.3], std)
        assert spectral.product_bound(net, (3, 2, 2)).bound == pytest.approx(sigma / least, rel=1e-6)
        expected = sigma / least * math.sqrt(12)
        assert spectral.range_bound(net, (3, 2, 2)).bound == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("slope", "expected"), [(-3.0, 3.0), (0.2, 1.0), (4.0, 4.0)])
def test_a_prelu_is_as_steep_as_its_steeper_half(slope: float, expected: float) -> None:
    by_channel = torch.tensor([0.1, slope, 0.0])
    one = torch.tensor([slope])
    for layer in (
        nn.Sequential(nn.PReLU(init=slope)),
        Function(lambda x: F.prelu(x, one)),
        Function(lambda x: F.prelu(x, weight=by_channel)),
    ):
        assert spectral.product_bound(layer, (3, 4, 4)).bound == pytest.approx(expected)
        assert spectral.range_bound(layer, (3, 4, 4)).bound == pytest.approx(expected * math.sqrt(48))


class TestRows:
    """A linear layer on (N, L, C) and a batch norm over L, which are different axes."""

    @pytest.mark.parametrize("width", [24, 5])
    def test_a_batch_norm_over_rows_is_not_folded(self, width: int) -> None:
        linear, norm = nn.Linear(8, width, bias=False), nn.BatchNorm1d(24)
        with torch.no_grad():
            norm.weight[0] = 100.0
            linear.weight.zero_()
            linear.weight[1] = 1.0
        net = nn.Sequential(nn.Flatten(1, 2), linear, norm).eval()
        black, white = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
        white[0, 0, 0] = 1.0
        secant = float((net(white) - net(black)).detach().double().norm() / (white - black).norm())
        assert secant == pytest.approx(100 * math.sqrt(8), rel=1e-4)
        found = spectral.product_bound(net, (3, 8, 8))
        assert secant * (1 - 1e-6) <= found.bound == pytest.approx(secant, rel=1e-4)
        assert found.layers[0].bracket.upper == pytest.approx(math.sqrt(8))


def test_no_layer_is_missing() -> None:
    """Layers behind and before an operation without a rule are in the table, in order, with their batch norm if folded."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.gate, self.alone = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.first(x))
            x = self.alone(x) * self.gate(x).sigmoid()
            out: Tensor = self.last(x.mean((2, 3)))
            return out

    net = Gated().eval().requires_grad_(False)
    net.norm.weight.fill_(3.0)
    found = spectral.product_bound(net, (3, 8, 8))
    assert math.isinf(found.bound)
    assert [layer.name for layer in found.layers] == ["first", "alone", "gate", "last"]
    folded = net.first.weight.double() * spectral.norm_scale(net.norm).view(-1, 1, 1, 1)
    assert found.layers[0].bracket == spectral.conv_bracket(folded, 1, 0, (8, 8))
    assert found.layers[1].bracket == spectral.conv_bracket(net.alone.weight, 1, 0, (6, 6))
    assert found.layers[3].bracket == spectral.matrix_bracket(net.last.weight)


def test_a_batch_norm_by_the_batch_has_no_bound() -> None:
    found = spectral.product_bound(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)).eval(), (3, 4, 4))
    assert math.isinf(found.bound)
    assert "BatchNorm2d" in found.reason


def test_a_path_that_depends_on_the_image_is_refused() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UserError, match="cannot be followed") as error:
        spectral.product_bound(Branch(), (3, 2, 2))
    assert "\n" not in str(error.value)


LARGE = [pytest.param(b, marks=pytest.mark.slow) for b in ("vgg_small", "resnet18")]


@pytest.mark.parametrize("backbone", ["resnet20", "resnet20:convs=2", "vgg_tiny", *LARGE])
def test_an_activation_before_the_batch_norm_is_bounded(backbone: str) -> None:
    """ReSTE's blocks: the batch norm's scale is folded into the convolution through ReLU, which moves no number by more."""
    net, size = built("reste", backbone, 8), (3, 8, 8)
    bounds = spectral.product_bound(net, size)
    assert not bounds.reason
    assert math.isfinite(bounds.bound)
    layers = {layer.name: layer for layer in bounds.layers}
    assert {k for k, layer in layers.items() if layer.binary} == set(binary_layers(net))
    x = torch.rand(6, *size, generator=torch.Generator().manual_seed(0))
    seen: dict[str, Tensor] = {}
    parts = dict(net.named_modules())
    norms = {k: parts[_norm_of(k)] for k in binary_layers(net)}
    for k in layers.keys() & norms.keys():
        parts[k].register_forward_hook(lambda m, i, o, k=k: seen.__setitem__(f"{k} in", m.sign(i[0])))
        norms[k].register_forward_hook(lambda m, i, o, k=k: seen.__setitem__(f"{k} out", o))
    with torch.no_grad():
        net(x)
    for k in norms:
        given, out = (seen[f"{k} {what}"].flatten(1).double() for what in ("in", "out"))
        moved = torch.cdist(out, out) - layers[k].bracket.upper * torch.cdist(given, given)
        assert moved.max() <= 1e-4, k


def _norm_of(conv: str) -> str:
    """Return the name of the batch norm behind a convolution and its activation."""
    above, _, own = conv.rpartition(".")
    return f"{above}.norm" if own == "conv" else f"{above}.2"


def test_a_sign_that_standardizes_has_no_finite_bound() -> None:
    bounds = spectral.product_bound(built("rbnn"), (3, 16, 16))
    assert math.isinf(bounds.bound)
    assert "surrogate" in bounds.reason
    assert len(bounds.layers) == 6
