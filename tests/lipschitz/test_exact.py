"""The exact answers of `truth` against whatever could refute them: samples, ascent, other solvers, and their own points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from . import enumerable, truth
from .cases import JUMPS, NORMS, SMOOTH
from .truth import Cells


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", JUMPS)
def test_no_dense_sample_beats_them(kind: str, norm: str) -> None:
    for k, make in enumerate(JUMPS[kind]):
        network, draw = make(), np.random.default_rng(k)
        for image in draw.uniform(0, 1, (3, *network.size, 3)).astype(np.float32):
            cells = Cells(network, image, norm)
            radius = cells.flip_radius().limit
            assert np.isfinite(radius)
            for eps in (0.3 * radius, 0.999 * radius, 1.5 * radius, 4 * radius):
                omega, kappa = _best_sample(network, image, norm, eps, draw)
                assert omega <= cells.omega(eps).limit + 1e-9
                assert kappa <= cells.kappa(eps).limit + 1e-9
                assert (kappa < 1) or eps > radius


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", JUMPS)
def test_every_claim_holds_at_its_point(kind: str, norm: str) -> None:
    """Also where the point is rounded to float32: what is claimed can be found."""
    narrow = []
    for k, make in enumerate(JUMPS[kind]):
        network, draw = make(), np.random.default_rng(k)
        for image in draw.uniform(0, 1, (4, *network.size, 3)).astype(np.float32):
            cells = Cells(network, image, norm)
            radius = cells.flip_radius()
            claims = [(radius.certain, radius.point, "kappas", 1.0)]
            for part in (0.7, 1.5, 3.0):
                eps = part * radius.certain
                for name in ("omega", "kappa"):
                    bracket = getattr(cells, name)(eps)
                    narrow.append(bracket.limit - bracket.certain < 1e-9)
                    claims.append((eps, bracket.point, f"{name}s", bracket.certain))
            narrow.append(radius.certain - radius.limit < 2e-5)
            for reach, point, name, value in claims:
                if point is None:
                    continue
                for dtype in (np.float64, np.float32):
                    at = point.astype(dtype).astype(np.float64)
                    assert _length(at - cells.x, norm) <= reach * (1 + 1e-6) + 1e-7
                    assert ((at >= -1e-9) & (at <= 1 + 1e-9)).all()
                    omega, kappa = _moved(network, image, at[None])
                    assert {"omegas": omega, "kappas": kappa}[name][0] >= value - 1e-9
    assert np.mean(narrow) > 0.95, "brackets are wide"


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", JUMPS)
def test_cells_that_are_passed_over_change_nothing(kind: str, norm: str) -> None:
    """The distance to each cell, one by one: the largest networks in l2, where that is cheap, and small ones in both."""
    compared = 0
    for k, make in enumerate(JUMPS[kind]):
        network, draw = make(), np.random.default_rng(k)
        if norm == "linf" and len(network.cells()[0]) > 256:
            continue
        for image in draw.uniform(0, 1, (2, *network.size, 3)).astype(np.float32):
            cells, compared = Cells(network, image, norm), compared + 1
            distances = np.array([cells.distance(cell)[0] for cell in range(len(cells.patterns))])
            assert cells.flip_radius().limit == distances[cells.flips].min()
            assert (distances >= cells.bounds - 1e-9).all()
            for eps in np.quantile(distances[np.isfinite(distances)], [0.02, 0.1, 0.3]):
                assert cells.omega(eps).limit == cells.omegas[distances <= eps].max()
                assert cells.kappa(eps).limit == cells.kappas[distances <= eps].max()
    assert compared or kind == "binary convolutions"


def test_the_logits_of_a_network_are_those_of_its_cells() -> None:
    for make in (one for kind in JUMPS.values() for one in kind):
        network = make()
        w, b = network.first()
        patterns, logits = network.cells()
        points = np.random.default_rng(0).uniform(0, 1, (200, w.shape[1]))
        signs = np.where(points @ w.T + b >= 0, 1, -1)
        rows = (signs[:, None] == patterns[None]).all(2).argmax(1)
        np.testing.assert_allclose(_logits(network, points, network.size), logits[rows], atol=1e-12)
        assert len(np.unique(rows)) > 10
        assert len(np.unique(logits.argmax(1))) > 1


@pytest.mark.parametrize("norm", NORMS)
def test_one_unit_flips_at_the_distance_of_its_plane(norm: str) -> None:
    network = enumerable.sign_mlp((1,), seed=3)
    w, b = network.first()
    images = np.random.default_rng(0).uniform(0.3, 0.7, (20, 2, 2, 3)).astype(np.float32)
    seen = 0
    for image in images:
        at = abs(float(w[0] @ image.ravel().astype(float) + b[0])) / np.linalg.norm(w[0], 2 if norm == "l2" else 1)
        if at < 0.3:
            cells, seen = Cells(network, image, norm), seen + 1
            assert cells.omega(at * 1.01).limit > 0
            assert cells.omega(at * 0.99).limit == 0
            assert cells.distance(1 - cells.home)[0] == pytest.approx(at, abs=1e-9)
    assert seen > 3


def test_nearest_points_against_a_general_solver() -> None:
    draw = np.random.default_rng(0)
    compared = 0
    for _ in range(40):
        a, b, x = draw.standard_normal((4, 6)), draw.standard_normal(4), draw.uniform(0, 1, 6)
        at, _ = truth.nearest(a, b, x, "l2")
        other = minimize(
            lambda d: d @ d,
            np.zeros(6),
            jac=lambda d: 2 * d,
            bounds=list(zip(-x, 1 - x, strict=True)),
            constraints={"type": "ineq", "fun": lambda d, a=a, b=b: a @ d - b, "jac": lambda d, a=a: a},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        if other.success and np.isfinite(at):
            compared += 1
            assert at == pytest.approx(np.sqrt(other.fun), abs=1e-5)
        else:
            assert not other.success
            assert np.isinf(at)
            assert np.isinf(truth.nearest(a, b, x, "linf")[0])
    assert 10 < compared < 40


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", SMOOTH)
def test_closed_forms_against_samples_and_ascent(kind: str, norm: str) -> None:
    """Nothing found by chance or by ascent is above a closed form, and ascent comes near to it."""
    make, exact = SMOOTH[kind]
    near = []
    for k in range(2):
        network, draw = make(k), np.random.default_rng(k)
        for image in draw.uniform(0.42, 0.58, (3, 2, 2, 3)).astype(np.float32):
            answers = exact(network, image, norm)
            radius = answers.flip_radius()
            assert radius.point is not None
            beyond = answers.x + (radius.point - answers.x) * (1 + 1e-6)
            assert _moved(network, image, beyond[None])[1][0] >= 1
            assert _length(radius.point - answers.x, norm) == pytest.approx(radius.certain)
            if radius.certain < 0.42:
                assert answers.kappa(radius.certain).limit == pytest.approx(1, abs=1e-6)
            for eps in (0.1, 0.2, 0.4):
                omega, kappa = _best_sample(network, image, norm, eps, draw)
                assert omega <= answers.omega(eps).limit * (1 + 1e-9)
                assert kappa <= answers.kappa(eps).limit * (1 + 1e-9)
                assert kappa < 1 or eps >= radius.limit
                climbed = _ascended(network, image, norm, eps)
                assert climbed <= answers.omega(eps).limit * (1 + 1e-6)
                near.append(climbed / answers.omega(eps).limit)
    assert np.median(near) > 0.99, np.median(near)


def _length(d: np.ndarray, norm: str) -> float:
    return float(np.linalg.norm(d, 2 if norm == "l2" else np.inf))


def _logits(network: nn.Module, points: np.ndarray, size: tuple[int, int] = (2, 2)) -> np.ndarray:
    with torch.no_grad():
        out: Tensor = network(torch.from_numpy(points).view(-1, *size, 3).permute(0, 3, 1, 2))
    return out.numpy()


def _moved(network: nn.Module, image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return omega and kappa of flat points (n, d), from the network's logits alone."""
    size = image.shape[:2]
    logits = _logits(network, points, size)
    start = _logits(network, image.astype(np.float64).reshape(1, -1), size)[0]
    c, others = start.argmax(), np.arange(len(start)) != start.argmax()
    made_up = 1 + (logits - logits[:, [c]])[:, others] / (start[c] - start)[others]
    return np.linalg.norm(logits - start, axis=1), made_up.max(1)


def _best_sample(
    network: nn.Module, image: np.ndarray, norm: str, eps: float, draw: np.random.Generator
) -> tuple[float, float]:
    """Return the largest omega and kappa over 20,000 points of ball and box: most of them on the sphere, some inside."""
    x = image.astype(np.float64).ravel()
    d = draw.standard_normal((20_000, len(x))) if norm == "l2" else draw.uniform(-1, 1, (20_000, len(x)))
    # Few pixels moved far, many moved little.
    d *= draw.uniform(0, 1, (20_000, len(x))) ** draw.choice([0, 1, 4], (20_000, 1))
    if norm == "linf":
        d[::2] = np.sign(d[::2])
    d *= (
        eps * draw.uniform(0, 1, (20_000, 1)) ** 0.1 / np.linalg.norm(d, 2 if norm == "l2" else np.inf, axis=1)[:, None]
    )
    omega, kappa = _moved(network, image, np.clip(x + d, 0, 1))
    return float(omega.max()), float(kappa.max())


def _ascended(network: nn.Module, image: np.ndarray, norm: str, eps: float) -> float:
    """Return the largest change of the logits that gradient ascent reaches from 64 starts."""
    x = torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None]
    draw = torch.Generator().manual_seed(0)
    start = network(x).detach()
    d = 0.1 * eps * torch.randn(64, *x.shape[1:], generator=draw, dtype=torch.float64)

    def inside(d: Tensor) -> Tensor:
        if norm == "linf":
            return d.clamp(-eps, eps)
        return d * (eps / d.flatten(1).norm(dim=1).view(-1, 1, 1, 1))

    for k in range(300):
        d = inside(d).detach().requires_grad_()
        change = (network((x + d).clamp(0, 1)) - start).norm(dim=1)
        (g,) = torch.autograd.grad(change.sum(), d)
        step = g.sign() if norm == "linf" else g / g.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        d = d.detach() + eps * 0.5 * 0.98**k * step
    with torch.no_grad():
        return float((network((x + inside(d)).clamp(0, 1)) - start).norm(dim=1).max())
