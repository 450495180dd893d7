"""Whatever a forward does with types, memory, gradients or its input is measured, or refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lcrbench import registry
from lcrbench.bench import metrics
from lcrbench.errors import UserError

from .nets import subject
from .odd import ODD, Odd, constant, twin
from .searched import searched
from .truth import Bracket, Cells

METRICS = [name for name in registry.names("metric") if name.startswith("lipschitz_")]
SMALL = {
    "images": 4,
    "l2": (2.0, 8.0),
    "linf": (),
    "batches": 3,
    "batch": 4,
    "pool_factor": 2,
    "first": 10,
    "draws": 20,
}
RADII = (0.05, 0.1, 0.2, 0.4)
IMAGES = np.random.default_rng(0).uniform(0, 1, (8, 2, 2, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def exact() -> list[Cells]:
    return [Cells(twin(), image, "l2") for image in IMAGES]


@pytest.mark.parametrize("odd", [o for o in ODD if o.report == "measured"], ids=lambda o: o.name)
def test_an_odd_network_is_measured(odd: Odd, exact: list[Cells]) -> None:
    images = IMAGES.copy()
    found = searched(odd.make(), images, None, "l2", RADII)
    assert torch.is_grad_enabled(), "the network turned gradients off for everybody"
    assert np.array_equal(images, IMAGES), "the images were changed"
    flips: list[Bracket] = [e.flip_radius() for e in exact]
    radii = found.radii
    assert (radii >= np.array([f.limit for f in flips]) - odd.slack).all()
    for eps, omega in zip(RADII, found.omega / odd.scale, strict=True):
        limit = np.array([e.omega(eps + odd.slack).limit for e in exact])
        assert (omega <= limit * (1 + 1e-5 + odd.slack / 10) + 1e-5).all()
    reached = np.array([f.certain for f in flips]) < RADII[-1] / 2
    assert reached.sum() > 3
    assert np.isfinite(radii[reached]).mean() >= 0.5
    assert (found.omega[-1] > 0).all()


@pytest.mark.parametrize("name", ["torch.sign", "where", "double"])
def test_with_and_without_gradients_the_nearest_flip_is_found(name: str, exact: list[Cells]) -> None:
    """Two networks of equal logits, one of which has a gradient, must not differ by what the search makes of them."""
    (odd,) = [o for o in ODD if o.name == name]
    true = np.array([e.flip_radius().certain for e in exact])
    near = true < RADII[-1] / 2
    ratios = searched(odd.make(), IMAGES, None, "l2", RADII).radii[near] / true[near]
    assert np.median(ratios) <= 1.10, ratios


@pytest.mark.parametrize("odd", [o for o in ODD if o.report == "measured"], ids=lambda o: o.name)
def test_every_metric_measures_an_odd_network_or_leaves_it_out(odd: Odd) -> None:
    failed = {}
    for name in METRICS:
        metric = registry.load("metric", name)
        fields = metric.Options.__dataclass_fields__
        options = {f: getattr(metric.Options(), f) for f in fields} | {k: v for k, v in SMALL.items() if k in fields}
        try:
            found, left_out = metrics.measure(metric, name, subject(odd.make(), IMAGES), options)
            assert found or left_out, "nothing, and no reason"
            assert "\n" not in left_out
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        finally:
            torch.set_grad_enabled(True)
    assert not failed, failed


@pytest.mark.parametrize("odd", [o for o in ODD if o.report == "refused"], ids=lambda o: o.name)
def test_an_odd_network_is_refused_in_one_line(odd: Odd) -> None:
    with pytest.raises(UserError, match=odd.reason) as refused:
        searched(odd.make(), IMAGES, None, "l2", RADII)
    assert "\n" not in str(refused.value)


def test_a_constant_network_never_moves() -> None:
    found = searched(constant(), IMAGES, None, "l2", RADII)
    assert np.isinf(found.radii).all()
    assert (found.omega == 0).all()
    assert (found.kappa == 0).all()
