"""Estimators: values, sign(0) = +1, and each gradient against its written formula."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lcrbench import registry
from lcrbench.models.estimators import (
    clip,
    ede,
    set_progress,
    sign,
    without_scale,
)

# Of those that follow no schedule (the others' slopes: below and in test_formulas.py).
SLOPES = {
    "identity": lambda x: torch.ones_like(x),
    "clip": lambda x: (x.abs() <= 1).to(x.dtype),
    "polynomial": lambda x: (2 - 2 * x.abs()).clamp_min(0),
}
NAMES = [*registry.files("estimator")]


def made(name: str) -> torch.nn.Module:
    estimator: torch.nn.Module = registry.load("estimator", name).Estimator()
    return estimator


@pytest.mark.parametrize("name", NAMES)
def test_values_and_zero(name: str) -> None:
    estimator = made(name)
    x = torch.tensor([-2.0, -1e-38, -0.0, 0.0, 1e-38, 2.0, float("inf"), -float("inf")])
    assert estimator(x).tolist() == [-1, -1, 1, 1, 1, 1, 1, -1]
    assert estimator(x).dtype == x.dtype


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
def test_a_binarized_input_is_a_fixed_point(values: list[float]) -> None:
    once = sign(torch.tensor(values))
    assert set(once.tolist()) <= {-1.0, 1.0}
    assert torch.equal(sign(once), once)


def gradient(estimator: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    estimator(x).sum().backward()
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize("progress", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_idempotent_and_symmetric(name: str, progress: float) -> None:
    """A binarized input is its own image at any progress; slopes are even and never negative (but for a series)."""
    estimator = made(name)
    set_progress(estimator, progress)
    x = torch.linspace(-2, 2, 401, dtype=torch.float64)
    once = estimator(x)
    assert torch.equal(estimator(once), once)
    assert torch.equal(once, sign(x))
    slope = gradient(estimator, x)
    assert name == "fda" or (slope >= 0).all()
    torch.testing.assert_close(slope, slope.flip(0), rtol=1e-9, atol=1e-12)


def test_without_scale() -> None:
    """The value is the signs to the bit; times the scale, the gradient is the estimator's."""
    x, scale = torch.tensor([0.3, -2.0, 0.0], requires_grad=True), torch.tensor([0.1, 0.7, 3.0])
    bits = without_scale(clip.Estimator()(x), scale)
    assert bits.tolist() == [1, -1, 1]
    (bits * scale).backward(torch.tensor([1.0, 2.0, 3.0]))
    assert x.grad.tolist() == pytest.approx([1, 0, 3])


@pytest.mark.parametrize("name", SLOPES)
def test_gradient(name: str) -> None:
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    assert torch.equal(gradient(made(name), x), SLOPES[name](x))


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.75, 1.0])
def test_gradient_of_ede(progress: float) -> None:
    estimator = ede.Estimator(1e-3, 10.0)
    estimator.set_progress(progress)
    t = 10 ** (-3 + 4 * progress)
    k = max(1 / t, 1)
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    torch.testing.assert_close(gradient(estimator, x), k * t * (1 - torch.tanh(t * x) ** 2), rtol=1e-9, atol=1e-12)
    assert math.isclose(float(gradient(estimator, torch.zeros(1))), max(1.0, t), rel_tol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_copies(name: str) -> None:
    estimator = made(name)
    x = torch.randn(10, generator=torch.Generator().manual_seed(0))
    for other in (copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        assert torch.equal(gradient(other, x), gradient(estimator, x))
