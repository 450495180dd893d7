"""Whatever a forward does with types, memory, gradients or its input is measured, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lcrbench import registry
from lcrbench.bench import metrics
from lcrbench.bench.lipschitz import foreign, gradients
from lcrbench.errors import NotMeasurable, UserError

from .nets import built, grey, subject
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


def of(report: str) -> list[Any]:
    """Return the odd networks with that report."""
    return [pytest.param(o, id=o.name) for o in ODD if o.report == report]


IMAGES = np.random.default_rng(0).uniform(0, 1, (8, 2, 2, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def exact() -> list[Cells]:
    return [Cells(twin(), image, "l2") for image in IMAGES]


@pytest.mark.parametrize("odd", of("measured"))
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


SEARCHED = [name for name in METRICS if registry.load("metric", name).INFO.searched]


def faults(
    make: Callable[[], nn.Module], names: Iterable[str], images: np.ndarray = IMAGES, together: bool = False
) -> dict[str, str]:
    """Return, by metric, what goes wrong: an exception, or neither a number nor a reason in one line.

    Each has a network of its own, or all have one `together`, as in a run: those of the search share it then.
    """
    failed = {}
    one = subject(make(), images) if together else None
    for name in names:
        metric = registry.load("metric", name)
        fields = metric.Options.__dataclass_fields__
        options = {f: getattr(metric.Options(), f) for f in fields} | {k: v for k, v in SMALL.items() if k in fields}
        try:
            found, left_out = metrics.measure(metric, name, one or subject(make(), images), options)
            assert found or left_out, "nothing, and no reason"
            assert "\n" not in left_out
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        finally:
            torch.set_grad_enabled(True)
    return failed


@pytest.mark.parametrize("odd", of("measured"))
def test_every_metric_measures_an_odd_network_or_leaves_it_out(odd: Odd) -> None:
    assert not faults(odd.make, [name for name in METRICS if name not in SEARCHED])


@pytest.mark.parametrize("odd", of("measured"))
def test_every_metric_of_the_search_does_too(odd: Odd) -> None:
    assert not faults(odd.make, SEARCHED, together=True)


class Around(nn.Module):
    """A network of the suite inside an odd forward: metrics of binary layers have something to say about it."""

    def __init__(self, how: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.how = built("irnet", "vgg_tiny"), how
        self.seen = 0
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def _without_gradients(m: Around, x: Tensor) -> Tensor:
    with torch.no_grad():
        return m.net(x)  # type: ignore[no-any-return]


def _one_batch_size(m: Around, x: Tensor) -> Tensor:
    m.seen = m.seen or len(x)
    if len(x) != m.seen:
        raise ValueError(f"batches of {m.seen}, not {len(x)}")
    return m.net(x)  # type: ignore[no-any-return]


def _hungry(m: Around, x: Tensor) -> Tensor:
    if x.requires_grad and torch.is_grad_enabled() and len(x) > 2:
        raise torch.OutOfMemoryError("needs 640 GiB")
    return m.net(x)  # type: ignore[no-any-return]


AROUND: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "float": lambda m, x: m.net((x > 0.5).float()),
    "where": lambda m, x: m.net(torch.where(x > 0.5, 1.0, 0.0)),
    "no gradients": _without_gradients,
    "one batch size": _one_batch_size,
    "hungry": _hungry,
    "in place": lambda m, x: m.net(x.mul_(2).div_(2)),
    "detach": lambda m, x: m.net(x.detach()),
    "numpy": lambda m, x: m.net(torch.from_numpy(x.numpy().copy())),
    "view": lambda m, x: m.net(x.view(len(x), -1).view(x.shape)),
    "resets": lambda m, x: m.net(x.requires_grad_(False)),
}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(
            how,
            id=name,
            marks=[pytest.mark.slow] * (name in ("where", "detach", "resets", "numpy", "in place", "view")),
        )
        for name, how in AROUND.items()
    ],
)
def test_every_metric_measures_binary_layers_in_an_odd_forward_or_leaves_them_out(
    how: Callable[[Any, Tensor], Tensor],
) -> None:
    assert not faults(lambda: Around(how), [name for name in METRICS if name not in SEARCHED], grey(4, 16))


def test_a_gradient_is_that_of_the_network_itself_however_its_forward_is_written() -> None:
    x = torch.from_numpy(grey(5, 16)).permute(0, 3, 1, 2)
    plain = gradients.jacobian_norms(Around(lambda m, x: m.net(x)), x, "straight")
    assert (plain > 0).all()
    for name in ("in place", "view", "hungry"):
        np.testing.assert_allclose(gradients.jacobian_norms(Around(AROUND[name]), x, "straight"), plain, rtol=1e-4)
    for name in ("float", "detach", "numpy", "no gradients"):
        with pytest.raises(NotMeasurable, match="no gradient comes back"):
            foreign.need_gradient(Around(AROUND[name]), x)


@pytest.mark.parametrize("odd", of("refused"))
def test_an_odd_network_is_refused_in_one_line(odd: Odd) -> None:
    with pytest.raises(UserError, match=odd.reason) as refused:
        searched(odd.make(), IMAGES, None, "l2", RADII)
    assert "\n" not in str(refused.value)


def test_a_constant_network_never_moves() -> None:
    found = searched(constant(), IMAGES, None, "l2", RADII)
    assert np.isinf(found.radii).all()
    assert (found.omega == 0).all()
    assert (found.kappa == 0).all()
