"""Networks with ties, and with logits that are infinite or no numbers: measured, or refused before the search."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lcrbench import registry
from lcrbench.bench import metrics
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import rays, search
from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.results import Start, kappas_of, omega_of
from lcrbench.bench.lipschitz.tally import Tally
from lcrbench.errors import UserError

from .nets import Function, Linear, grey, subject

SEARCHED = [name for name in registry.names("metric") if registry.load("metric", name).INFO.searched]
BEYOND = 0.6
"""Value of the first pixel's red above which the networks here fail."""


def failing(value: float, wide: bool) -> nn.Module:
    """Return a linear network whose logits, all or one, are `value` where the first pixel is bright."""
    plain = Linear(np.random.default_rng(3).standard_normal((3, 48)))

    def forward(x: torch.Tensor) -> torch.Tensor:
        y = plain(x)
        bad = x[:, :1, 0, 0] > BEYOND
        if not wide:
            bad = bad & (torch.arange(3) == 1)
        return torch.where(bad, torch.full_like(y, value), y)

    return Function(forward)


FAILING = [
    pytest.param(value, wide, id=f"{value} {'all' if wide else 'one'}")
    for value in (math.nan, math.inf, -math.inf)
    for wide in (True, False)
]


def dim(n: int) -> np.ndarray:
    """Return images whose first pixels are not beyond, though near."""
    return grey(n, low=0.4, high=0.58)


def measured(s: Subject, options: dict[str, object]) -> dict[str, tuple[list[float], str]]:
    """Return the values of each metric of the search, and why it left something out; a record could not hold others."""
    found = {}
    for name in SEARCHED:
        metric = registry.load("metric", name)
        numbers, left_out = metrics.measure(metric, name, s, options)
        found[name] = [m.value for m in numbers], left_out
    return found


@pytest.mark.parametrize(("value", "wide"), FAILING)
@pytest.mark.parametrize("gradients", [True, False])
def test_points_without_finite_logits_are_worth_nothing(value: float, wide: bool, gradients: bool) -> None:
    s = subject(failing(value, wide), dim(6))
    options = {"l2": (8, 128, 255), "linf": (40,), "images": 6, "gradients": gradients}
    found = measured(s, options)
    for name, (values, left_out) in found.items():
        assert values, name
        assert np.isfinite(values).all(), name
        assert "gave logits that are not finite" in left_out, name
        assert "\n" not in left_out
    result = search.modulus(s, Options(**options))  # type: ignore[arg-type]
    for f in result.found:
        for points in (f.omega_points, f.kappa_points):
            assert (points[:, 0, 0, 0] <= BEYOND).all(), "a point without finite logits was kept"
        assert (f.omega > 0).all()
    # Elsewhere it is linear, and found as well as there.
    plain = search.modulus(subject(failing(0, wide=False), dim(6)), Options(**options))  # type: ignore[arg-type]
    assert np.median(result.found[0].omega / plain.found[0].omega) > 0.5


def test_a_network_that_is_finite_has_no_such_note() -> None:
    s = subject(Linear(np.random.default_rng(3).standard_normal((3, 48))), dim(6))
    for name, (_, left_out) in measured(s, {"l2": (8, 128), "images": 6}).items():
        assert "finite" not in left_out, name


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_point_without_finite_logits_is_a_flip(value: float) -> None:
    start = Start(np.arange(3), np.array([[2.0, 1.0, 0.0]] * 3), torch.full((3, 3, 2, 2), 0.5))
    logits = np.array([[value, 3.0, 0.0], [2.0, value, 0.0], [0.0, 3.0, 0.0]])
    assert omega_of(start, logits).tolist() == pytest.approx([0, 0, np.sqrt(8)])
    assert (kappas_of(start, logits).max(1) >= 1).tolist() == [False, False, True]
    tally = Tally(start, [Ball("l2", 1.0)])
    tally.offer(np.arange(3), start.x + 0.01, logits, "walk")
    assert np.isfinite(tally.radius).tolist() == [False, False, True]
    assert tally.not_finite == 2
    for best in (tally.omega[0], tally.kappa[0], *tally.beyond.values()):
        assert (best.value > 0).tolist() == [False, False, True]


def test_a_resumed_search_knows_how_many_points_said_nothing() -> None:
    options = Options(l2=(128,), images=6)
    oracle, start = search.begin(subject(failing(math.nan, wide=True), dim(6)), options)
    whole = list(search.rounds(oracle, start, options))
    again = list(search.rounds(oracle, start, options, [whole[0].state]))
    assert search.gathered(start, again).not_finite == search.gathered(start, whole).not_finite > 0


def test_a_constant_network_has_its_ties_named() -> None:
    _, left_out = measured(subject(Function(lambda x: torch.zeros(len(x), 3)), dim(6)), {"l2": (8,), "images": 6})[
        "lipschitz_kappa"
    ]
    assert "6 of 6 images are ties of classes" in left_out


def test_a_network_that_changes_during_the_search_is_refused() -> None:
    plain, calls = Linear(np.random.default_rng(3).standard_normal((3, 48))), []

    def forward(x: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        return plain(x) + (0.01 * len(calls) if len(calls) > 40 else 0)

    with pytest.raises(UserError, match="not deterministic: the same images give other logits after the search"):
        search.modulus(subject(Function(forward), dim(6)), Options(l2=(8,), images=6))


@pytest.mark.parametrize("at", [0, 10])
def test_an_image_without_finite_logits_is_named_before_the_search(at: int) -> None:
    images = dim(12)
    images[at, 0, 0, 0] = 0.9
    with pytest.raises(UserError, match=rf"not finite on test image {at}$"):
        search.modulus(subject(failing(math.nan, wide=True), images), Options(images=12))


def test_of_many_images_without_finite_logits_some_are_named() -> None:
    images = dim(30)
    images[8:, 0, 0, 0] = 0.9
    with pytest.raises(UserError, match=r"test images 8, 9, 10, 11, 12, 13, 14, 15 and 14 more$"):
        search.modulus(subject(failing(math.inf, wide=True), images), Options(images=30))


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_metrics_measure_a_network_of_ties_or_leave_them_out(share: float) -> None:
    """Three logits are three pixels: black ones are a tie, and any change of them moves it infinitely far."""
    images = grey(8)
    images[: int(share * 8), 0] = 0
    s = subject(Function(lambda x: x[:, 0, 0, :3]), images)
    found = measured(s, {"l2": (8, 128), "linf": (8,), "images": 8})
    assert any(np.isinf(f.kappa).any() for f in search.modulus(s, Options(l2=(8, 128), linf=(8,), images=8)).found)
    for name, (values, left_out) in found.items():
        assert values or left_out, name
        assert np.isfinite(values).all(), name
        assert ("ties" in left_out) == (name in ("lipschitz_kappa", "lipschitz_convergence")), name


def test_a_shell_has_no_gain_where_logits_are_not_finite() -> None:
    options = Options(l2=(64, 128), images=4)
    s = subject(failing(math.inf, wide=True), dim(4))
    result = search.modulus(s, options)
    for gains in rays.shell_gains(s, result, "l2"):
        assert np.isfinite(gains).all()
        assert (gains > 0).all()
