"""Exact flip radii, omega and kappa of networks that can be enumerated. Independent of the search, which is held to them.

A cell of an `Enumerable` network is the set of images in the box with one pattern s of the first signs,

    { x + d :  s_i z_i(x + d) >= 0 where s_i = +1,  > 0 where s_i = -1,   0 <= x + d <= 1 },    z_i affine,

and the logits are constant in it. So with dist(s) the least ||d||_p that leads into a cell,

    r*(x) = min dist(s) over the cells in which another class draws level
    omega(x; eps) = max ||f_s - f(x)||_2 over the cells with dist(s) <= eps,   and kappa likewise.

dist is a quadratic program in l2, solved by Lawson and Hanson's reduction of least-distance programming to non-negative
least squares (Solving Least Squares Problems, 1974, ch. 23), and a linear program in linf (HiGHS). Every solution carries
its certificate: it is feasible, and the value of its multipliers is its own, which no other point can beat.

Cells are open where s_i = -1, so dist is an infimum that need not be attained, and a cell may be empty though its closure
is not. Each answer is therefore a bracket: the `limit`, from the closures of all cells, which no search may pass; and
what is `certain`, from cells shrunk by 1e-6 on every side, at a point that a test evaluates. Both agree to about 1e-5,
unless a cell is thinner than that, or a radius lies that close to the distance of a cell.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import linprog, lsq_linear, nnls

from .enumerable import Enumerable, Layer

HAIR = 1e-6
"""How far inside a cell, in l2 pixel units, a point is certain to lie in it, also when rounded to float32."""

TOLERANCE = 1e-8
"""By how much a certificate may miss."""


@dataclass(frozen=True)
class Bracket:
    """`limit`: no search may pass it. `certain`: reached at the image `point`, flat, which is None where it is x itself.

    For a flip radius limit <= certain, both infinite if the box holds no flip; for omega and kappa limit >= certain.
    """

    limit: float
    certain: float
    point: np.ndarray | None = None


def nearest(a: np.ndarray, b: np.ndarray, x: np.ndarray, norm: str) -> tuple[float, np.ndarray]:
    """Return the least ||d||_p with a d >= b and 0 <= x + d <= 1, and that d; infinite if there is none."""
    return _nearest_l2(a, b, x) if norm == "l2" else _nearest_linf(a, b, x)


def _nearest_l2(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> tuple[float, np.ndarray]:
    eye = np.eye(len(x))
    a, b = np.concatenate([a, eye, -eye]), np.concatenate([b, -x, x - 1])
    target = np.zeros(len(x) + 1)
    target[-1] = 1
    columns = np.concatenate([a.T, b[None]])
    u, _ = nnls(columns, target)
    slope = columns.T @ (columns @ u - target)
    if slope.min() < -1e-9 or np.abs(u * slope).max() > 1e-12:  # scipy 1.15 stops before the end now and then
        u = lsq_linear(columns, target, bounds=(0, np.inf), method="bvls", tol=1e-14, max_iter=10_000).x
    left = float(np.linalg.norm(columns @ u - target))
    # The distance is about 1 / left. Farther than any two images in the box are apart means: no point at all.
    if left < 1 / (10 * len(x)):
        return np.inf, np.zeros_like(x)
    multipliers = u / (1 - b @ u)
    d = a.T @ multipliers
    assert (a @ d >= b - TOLERANCE).all(), "not feasible"
    assert abs(d @ d - b @ multipliers) <= TOLERANCE * max(1, d @ d), "not the nearest"
    return float(np.linalg.norm(d)), d


def _nearest_linf(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> tuple[float, np.ndarray]:
    n = len(x)
    one, eye = np.ones((n, 1)), np.eye(n)
    rows = np.block([[-a, np.zeros((len(a), 1))], [eye, -one], [-eye, -one]])
    right = np.concatenate([-b, np.zeros(2 * n)])
    cost = np.append(np.zeros(n), 1.0)
    bounds = np.stack([np.append(-x, 0), np.append(1 - x, 1)], axis=1)
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    found = linprog(cost, rows, right, bounds=bounds, method="highs", options=tight)
    if found.status == 2:
        return np.inf, np.zeros_like(x)
    assert found.status == 0, found.message
    d = found.x[:n]
    assert (a @ d >= b - TOLERANCE).all(), "not feasible"
    dual = right @ found.ineqlin.marginals
    dual += bounds[:, 0] @ found.lower.marginals + bounds[:, 1] @ found.upper.marginals
    assert abs(found.fun - dual) <= TOLERANCE, "not the nearest"
    return float(np.abs(d).max()), d


@cache
def _table(network: Enumerable) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return *network.first(), *network.cells()


class Cells:
    """The exact answers for one image (H, W, 3) of an `Enumerable` network, in one norm; radii in pixel units."""

    def __init__(self, network: Enumerable, image: np.ndarray, norm: str) -> None:
        w, b, self.patterns, self.logits = _table(network)
        self.norm, self.x = norm, image.astype(np.float64).ravel()
        length = np.linalg.norm(w, axis=1)
        assert (length > 0).all(), "a unit that sees nothing"
        self.w, self.z = w / length[:, None], (w @ self.x + b) / length
        home = np.where(self.z >= 0, 1.0, -1.0)
        self.home = int((self.patterns == home).all(1).argmax())
        start = self.logits[self.home]
        self.c = int(start.argmax())
        lead = self.logits - self.logits[:, [self.c]]
        margin = start[self.c] - start
        others = np.arange(len(start)) != self.c
        assert (margin[others] > 0).all(), "the image is a tie"
        self.flips = (lead[:, others] >= 0).any(1)
        self.kappas = np.maximum((1 + lead[:, others] / margin[others]).max(1), 0)
        self.omegas = np.linalg.norm(self.logits - start, axis=1)
        # No cell is nearer than the furthest of the planes that lie between.
        step = np.abs(self.z) if norm == "l2" else np.abs(self.z) / np.abs(self.w).sum(1)
        self.bounds = np.where(self.patterns != home, step, 0).max(1)
        self._found: dict[tuple[int, float, str], tuple[float, np.ndarray]] = {}

    def distance(self, cell: int, hair: float = 0.0, norm: str = "") -> tuple[float, np.ndarray]:
        """Return the distance to a cell, shrunk by a hair, and the step there."""
        key = (cell, hair, norm or self.norm)
        if key not in self._found:
            s = self.patterns[cell]
            self._found[key] = nearest(s[:, None] * self.w, hair - s * self.z, self.x, key[2])
        return self._found[key]

    def _bound(self, cell: int) -> float:
        """Return a number that the distance is not below, at less cost."""
        if self.norm == "l2":
            return float(self.bounds[cell])
        # ||d||_inf >= ||d||_2 / sqrt(n)
        return max(float(self.bounds[cell]), self.distance(cell, norm="l2")[0] / len(self.x) ** 0.5)

    def flip_radius(self) -> Bracket:
        """Return r*."""
        limit, certain, point = np.inf, np.inf, None
        for cell in np.flatnonzero(self.flips)[np.argsort(self.bounds[self.flips], kind="stable")]:
            if self.bounds[cell] > certain:
                break
            if self._bound(cell) > certain:
                continue
            limit = min(limit, self.distance(cell)[0])
            at, d = self.distance(cell, HAIR)
            if at < certain:
                certain, point = at, self.x + d
        return Bracket(limit, certain, point)

    def omega(self, eps: float) -> Bracket:
        """Return omega(x; eps)."""
        return self._largest(self.omegas, eps)

    def kappa(self, eps: float) -> Bracket:
        """Return kappa(x; eps), at least 0: that of x itself."""
        return self._largest(self.kappas, eps)

    def _largest(self, values: np.ndarray, eps: float) -> Bracket:
        limit: float | None = None
        for cell in np.argsort(-values, kind="stable"):
            if values[cell] <= 0:
                break
            if self._bound(cell) > eps * (1 + TOLERANCE) or self.distance(cell)[0] > eps * (1 + TOLERANCE):
                continue
            limit = float(values[cell]) if limit is None else limit
            at, d = self.distance(cell, HAIR) if cell != self.home else (0.0, np.zeros_like(self.x))
            if at <= eps:
                return Bracket(limit, float(values[cell]), self.x + d)
        return Bracket(limit or 0.0, 0.0)


class Linear:
    """The exact answers for f(x) = W x + c. In l2 the ball of omega and kappa must lie inside the box.

    omega_2 = eps sigma_1(W); omega_inf is the largest over the corners of ball and box, because a norm is convex.
    kappa_p = max_j max_d <w_j - w_c, d> / margin_j. The flip radius is a quadratic or linear program a class.
    """

    def __init__(self, network: Layer, image: np.ndarray, norm: str) -> None:
        self.norm, self.x = norm, image.astype(np.float64).ravel()
        self.w = (network.a @ network.w).numpy()
        logits = self.w @ self.x + (network.a @ network.b + network.c).numpy()
        self.c = int(logits.argmax())
        others = np.arange(len(logits)) != self.c
        self.gaps, self.margins = (self.w - self.w[self.c])[others], (logits[self.c] - logits)[others]

    def flip_radius(self) -> Bracket:
        """Return r*."""
        steps = [
            nearest(g[None], np.array([m]), self.x, self.norm) for g, m in zip(self.gaps, self.margins, strict=True)
        ]
        radius, d = min(steps, key=lambda step: step[0])
        return Bracket(radius, radius, self.x + d)

    def omega(self, eps: float) -> Bracket:
        """Return omega(x; eps)."""
        if self.norm == "l2":
            _roomy(self.x, eps)
            value = eps * float(np.linalg.norm(self.w, 2))
            return Bracket(value, value)
        corners = np.array(list(itertools.product(*_interval(self.x, eps))))
        changes = np.linalg.norm(corners @ self.w.T, axis=1)
        best = int(changes.argmax())
        return Bracket(float(changes[best]), float(changes[best]), self.x + corners[best])

    def kappa(self, eps: float) -> Bracket:
        """Return kappa(x; eps)."""
        if self.norm == "l2":
            _roomy(self.x, eps)
            most = eps * np.linalg.norm(self.gaps, axis=1)
        else:
            low, high = _interval(self.x, eps).T
            most = np.where(self.gaps > 0, self.gaps * high, self.gaps * low).sum(1)
        value = float((most / self.margins).max())
        return Bracket(value, value)


class Hardtanh:
    """The exact answers for f(x) = A hardtanh(W x + b) + c with orthogonal columns of A and disjoint supports of W's rows.

    The units move independently. In linf unit i takes all values v_i of an interval, so that omega^2 = sum_i |a_i|^2
    max (v_i - v_i(x))^2, and a class's gain is a sum of ends. In l2, for |z_i(x)| < 1 and a ball inside the box, a step of
    length t along row i moves v_i by min(|w_i| t, 1 +- z_i): omega^2 = sum |a_i|^2 |w_i|^2 t_i^2 is linear in t_i^2, and is
    largest when the units with the largest |a_i| |w_i| are served first; a class's gain is concave, and largest where all
    units that are not at their end have t_i in proportion to their slope. The flip radius takes another way: it is the
    least over the 3^units linear pieces and the classes, each a quadratic or linear program. kappa(x; r*) = 1 checks both.
    """

    def __init__(self, network: Layer, image: np.ndarray, norm: str) -> None:
        self.norm, self.x = norm, image.astype(np.float64).ravel()
        self.w, self.a = network.w.numpy(), network.a.numpy()
        self.z = self.w @ self.x + network.b.numpy()
        assert ((self.w != 0).sum(0) <= 1).all(), "units share a pixel"
        gram = self.a.T @ self.a
        assert np.allclose(gram, np.diag(np.diag(gram))), "columns are not orthogonal"
        self.v = self.z.clip(-1, 1)
        logits = self.a @ self.v + network.c.numpy()
        self.c = int(logits.argmax())
        others = np.arange(len(logits)) != self.c
        self.gaps, self.margins = (self.a - self.a[self.c])[others], (logits[self.c] - logits)[others]

    def flip_radius(self) -> Bracket:
        """Return r*."""
        best, point = np.inf, None
        for piece in itertools.product((-1, 0, 1), repeat=len(self.z)):
            p = np.array(piece)
            inner = p == 0
            # Inside: -1 <= z + w d <= 1. Outside: p (z + w d) >= 1.
            a = np.concatenate([self.w[inner], -self.w[inner], p[~inner, None] * self.w[~inner]])
            b = np.concatenate([-1 - self.z[inner], self.z[inner] - 1, 1 - (p * self.z)[~inner]])
            held = np.where(inner, self.z, p) - self.v
            for gap, margin in zip(self.gaps, self.margins, strict=True):
                rows = np.concatenate([a, (gap * inner @ self.w)[None]])
                right = np.append(b, margin - gap @ held)
                size = np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
                at, d = nearest(rows / size[:, None], right / size, self.x, self.norm)
                if at < best:
                    best, point = at, self.x + d
        return Bracket(best, best, point)

    def omega(self, eps: float) -> Bracket:
        """Return omega(x; eps)."""
        weight = np.linalg.norm(self.a, axis=0)
        if self.norm == "linf":
            low, high = self._values(eps)
            value = float(np.linalg.norm(weight * np.maximum(high - self.v, self.v - low)))
            return Bracket(value, value)
        _roomy(self.x, eps)
        assert (np.abs(self.z) < 1).all(), "a unit is out of its linear part"
        length = np.linalg.norm(self.w, axis=1)
        most = (1 + np.abs(self.z)) / length
        left, total = eps**2, 0.0
        for i in np.argsort(-weight * length):
            spent = min(left, float(most[i] ** 2))
            total += float(weight[i] * length[i]) ** 2 * spent
            left -= spent
        return Bracket(total**0.5, total**0.5)

    def kappa(self, eps: float) -> Bracket:
        """Return kappa(x; eps)."""
        if self.norm == "linf":
            low, high = self._values(eps)
            most = np.where(self.gaps > 0, self.gaps * (high - self.v), self.gaps * (low - self.v)).sum(1)
        else:
            most = np.array([self._gain(gap, eps) for gap in self.gaps])
        value = float((most / self.margins).max())
        return Bracket(value, value)

    def _gain(self, gap: np.ndarray, eps: float) -> float:
        """Return the largest sum_i |gap_i| |w_i| t_i for |t| <= eps: t_i = min(tau |gap_i| |w_i|, cap_i)."""
        _roomy(self.x, eps)
        assert (np.abs(self.z) < 1).all(), "a unit is out of its linear part"
        length = np.linalg.norm(self.w, axis=1)
        slope, cap = np.abs(gap) * length, (1 - np.sign(gap) * self.z) / length
        low, high = 0.0, float((cap / np.maximum(slope, 1e-12)).max())
        if np.linalg.norm(cap) > eps:
            for _ in range(100):
                tau = (low + high) / 2
                low, high = (tau, high) if np.linalg.norm(np.minimum(tau * slope, cap)) <= eps else (low, tau)
        return float(slope @ np.minimum(high * slope, cap))

    def _values(self, eps: float) -> tuple[np.ndarray, np.ndarray]:
        low, high = _interval(self.x, eps).T
        down = np.where(self.w > 0, self.w * low, self.w * high).sum(1)
        up = np.where(self.w > 0, self.w * high, self.w * low).sum(1)
        return (self.z + down).clip(-1, 1), (self.z + up).clip(-1, 1)


def _interval(x: np.ndarray, eps: float) -> np.ndarray:
    """Return the ends (n, 2) of the steps of each pixel within eps and the box."""
    return np.stack([np.maximum(-x, -eps), np.minimum(1 - x, eps)], axis=1)


def _roomy(x: np.ndarray, eps: float) -> None:
    assert eps <= min(x.min(), (1 - x).min()), "the ball reaches the walls of the box"
