"""What the search finds against exact answers, and those answers against whatever could refute them.

`pytest -s` prints the found over the true figures of each kind of network. Networks without gradients are held to the same
standard: so few pixels can be searched by decisions alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from . import enumerable, truth
from .enumerable import Enumerable, Layer
from .searched import Searched, searched
from .truth import Bracket, Cells, Hardtanh, Linear

NORMS = ("l2", "linf")

JUMPS: dict[str, list[Callable[[], Enumerable]]] = {
    "one hidden layer": [lambda k=k, h=h: enumerable.sign_mlp((h,), seed=k) for k, h in enumerate((4, 6, 8, 8))],
    "two hidden layers": [
        lambda: enumerable.sign_mlp((6, 6), seed=0),
        lambda: enumerable.sign_mlp((8, 8), seed=1, by="identity"),
        lambda: enumerable.sign_mlp((8, 8), seed=2),
        lambda: enumerable.sign_mlp((8, 8), seed=3),
    ],
    "binary convolutions": [
        lambda: enumerable.binary_conv("irnet", (2, 2), 0),
        lambda: enumerable.binary_conv("bnn", (4, 4), 1),
        lambda: enumerable.binary_conv("adabin", (2, 2), 2),
    ],
    "no gradient": [lambda k=k: enumerable.sign_mlp((8,) * (1 + k % 2), seed=k, by="blind") for k in range(3)],
}

SMOOTH: dict[str, tuple[Callable[[int], Layer], type[Linear] | type[Hardtanh]]] = {
    "linear": (enumerable.linear, Linear),
    "hardtanh": (enumerable.hardtanh, Hardtanh),
}

PARTS = {"jumping": (0.5, 1.0, 2.0, 4.0), "smooth": (1.0, 4.0, 12.0)}
"""Radii of omega and kappa as multiples of the median flip radius; the last ones reach where hardtanh is at its ends."""


class Case(NamedTuple):
    """The exact answers for each image, the radii, and what the search reports."""

    flips: list[Bracket]
    omega: list[list[Bracket]]
    kappa: list[list[Bracket]]
    found: Searched


def _case(network: nn.Module, exact: list[Cells] | list[Linear] | list[Hardtanh], images: np.ndarray) -> Case:
    flips = [e.flip_radius() for e in exact]
    middle = float(np.median([f.certain for f in flips if np.isfinite(f.certain)]))
    if isinstance(exact[0], Cells):
        radii = [part * middle for part in PARTS["jumping"]]
    else:
        room = min(images.min(), 1 - images.max())
        radii = sorted({float(min(part * middle, room)) for part in PARTS["smooth"]})
    omega, kappa = ([[getattr(e, name)(r) for e in exact] for r in radii] for name in ("omega", "kappa"))
    return Case(flips, omega, kappa, searched(network, images, None, exact[0].norm, radii))


@cache
def jumping(kind: str, norm: str) -> list[Case]:
    cases = []
    for k, make in enumerate(JUMPS[kind]):
        network = make()
        images = np.random.default_rng(100 + k).uniform(0, 1, (12, *network.size, 3)).astype(np.float32)
        cases.append(_case(network, [Cells(network, image, norm) for image in images], images))
    return cases


@cache
def smooth(kind: str, norm: str) -> list[Case]:
    cases = []
    for k in range(3):
        make, exact = SMOOTH[kind]
        images = np.random.default_rng(200 + k).uniform(0.42, 0.58, (6, 2, 2, 3)).astype(np.float32)
        network = make(k)
        cases.append(_case(network, [exact(network, image, norm) for image in images], images))
    return cases


def flip_ratios(cases: list[Case]) -> np.ndarray:
    """Return found over true flip radii, of the images that have one."""
    pairs = [(r, f.certain) for case in cases for r, f in zip(case.found.radii, case.flips, strict=True)]
    return np.array([found / true for found, true in pairs if np.isfinite(true)])


def shares(cases: list[Case], name: str) -> np.ndarray:
    """Return found over true omega or kappa, where the true one is not 0."""
    pairs = [
        (v, b.certain)
        for case in cases
        for found, true in zip(getattr(case.found, name), getattr(case, name), strict=True)
        for v, b in zip(found, true, strict=True)
    ]
    return np.array([found / true for found, true in pairs if true > 0])


ALL = [(jumping, kind, norm) for kind in JUMPS for norm in NORMS] + [
    (smooth, kind, norm) for kind in SMOOTH for norm in NORMS
]
NAMES = [f"{kind}, {norm}" for _, kind, norm in ALL]


@pytest.mark.parametrize(("cases", "kind", "norm"), ALL, ids=NAMES)
def test_nothing_found_passes_the_truth(cases: Callable[[str, str], list[Case]], kind: str, norm: str) -> None:
    for case in cases(kind, norm):
        limits = np.array([f.limit for f in case.flips])
        assert (case.found.radii >= limits * (1 - 1e-7)).all(), "a flip nearer than the nearest"
        for name in ("omega", "kappa"):
            limit = np.array([[b.limit for b in row] for row in getattr(case, name)])
            # Logits are rounded to float32 on their way out.
            over = getattr(case.found, name) - limit * (1 + 1e-5)
            assert (over <= 1e-5).all(), f"{name} above the truth by {over.max()}"


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", JUMPS)
def test_flip_radii_are_near_the_truth(kind: str, norm: str) -> None:
    ratios = flip_ratios(jumping(kind, norm))
    middle, most = np.median(ratios), np.quantile(ratios, 0.95, method="higher")
    print(f"{kind}, {norm}: flip radius found/true median {middle:.3f}, 95 % {most:.2f}, most {ratios.max():.2f}")
    assert middle <= 1.10
    assert most <= 1.6


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", JUMPS)
def test_moduli_are_near_the_truth(kind: str, norm: str) -> None:
    omega, kappa = (shares(jumping(kind, norm), name) for name in ("omega", "kappa"))
    print(f"{kind}, {norm}: found/true omega mean {omega.mean():.3f} least {omega.min():.2f}, kappa {kappa.mean():.3f}")
    assert omega.mean() >= 0.9
    assert kappa.mean() >= 0.9


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", SMOOTH)
def test_smooth_networks_are_found_out(kind: str, norm: str) -> None:
    cases = smooth(kind, norm)
    found = {"radius": 1 / flip_ratios(cases), "omega": shares(cases, "omega"), "kappa": shares(cases, "kappa")}
    print(f"{kind}, {norm}: " + ", ".join(f"{k} mean {v.mean():.4f} least {v.min():.3f}" for k, v in found.items()))
    for name, share in found.items():
        assert share.mean() >= 0.98, name


class TestTheAnswersThemselves:
    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("kind", JUMPS)
    def test_no_dense_sample_beats_them(self, kind: str, norm: str) -> None:
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
    def test_every_claim_holds_at_its_point(self, kind: str, norm: str) -> None:
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

    def test_the_logits_of_a_network_are_those_of_its_cells(self) -> None:
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
    def test_one_unit_flips_at_the_distance_of_its_plane(self, norm: str) -> None:
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

    def test_nearest_points_against_a_general_solver(self) -> None:
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
    def test_closed_forms_against_samples_and_ascent(self, kind: str, norm: str) -> None:
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
