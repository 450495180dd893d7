"""CLEVER scores: an extreme-value estimate of how far an image is from another class. An estimate, and no bound.

Weng et al. 2018, arXiv 1801.10578. For the predicted class c, another class j, and points z in the l_p ball B(x, R),

    L_j     = max over B of ||grad (f_c - f_j)(z)||_q,  estimated as the location of a reverse Weibull law fitted to the
              maxima over `batches` batches of `batch` points each
    score_j = min( (f_c - f_j)(x) / L_j, R ),    score = min_j score_j        1/p + 1/q = 1

On a network of signs the gradients are those of the estimators, and an attack refutes the score often ("an estimate of a
bound is not a bound", Goodfellow 2018, arXiv 1804.07870): it is here to be compared with the literature.

As in the adversarial-robustness-toolbox (1.20.1): the batches are drawn with replacement from one pool of
`pool_factor` x `batch` points, uniform in the ball; the law is fitted by scipy's maximum likelihood with its simplex
search from shape 1; the score is capped at R. Unlike there, one pool serves all classes, and one forward pass with one
backward pass a class serves all differences; and the fit is diagnosed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.optimize import fmin
from torch import Tensor, nn

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.gradients import jacobians
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.seeds import generator
from lcrbench.errors import UserError, unknown

DUAL = {"l1": np.inf, "l2": 2.0, "linf": 1.0}


@dataclass(frozen=True)
class Settings:
    """`radius` R in pixel units, `norm` p ("l1", "l2", "linf"), `batches` of `batch` points, `pool_factor`, `seed`."""

    radius: float = 0.5
    norm: str = "l2"
    batches: int = 10
    batch: int = 10
    pool_factor: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.norm not in DUAL:
            raise unknown("norm", self.norm, DUAL)
        if not 0 < self.radius < np.inf:
            raise UserError(f"a radius is a positive number, not {self.radius}")
        if min(self.batches, self.batch, self.pool_factor) < 1:
            raise UserError("needs batches, batch and pool_factor >= 1")


@dataclass(frozen=True)
class Score:
    """The score of one image, and whether the fit behind it deserves the name.

    `fit` is "good"; "constant" where all maxima agree, so that no law is fitted and L is the maximum itself; "rejected"
    where a Kolmogorov-Smirnov test at 5 % rejects the law; "runaway" where the fitted location lies below the largest
    maximum or above 1.5 times it. It is that of the class j with the smallest score. `capped`: the score is R, and says
    no more than that R is too small.
    """

    score: float
    fit: str
    capped: bool
    plain: float
    """margin / largest gradient seen, capped at R as well: what the score would be without extrapolation"""


def norms_of_differences(
    network: nn.Module, points: Tensor, c: int, classes: int, q: float, device: str = "cpu"
) -> np.ndarray:
    """Return ||grad (f_c - f_j)||_q at points (N, 3, H, W) for each class j (N, classes); 0 at j = c."""
    others = [j for j in range(classes) if j != c]
    eye = torch.eye(classes)
    gaps = jacobians(network, points, "straight", device, eye[c] - eye[others])
    norms = torch.linalg.vector_norm(gaps, ord=q, dim=2).double().numpy()
    return np.insert(norms, c, 0.0, axis=1)


def score(subject: Subject, image: np.ndarray, index: int, settings: Settings) -> Score:
    """Return the score of an image (H, W, 3) with its index in the data set, which keys the randomness."""
    oracle = Oracle(subject, image[None])
    logits = oracle.logits(oracle.points())[0]
    c = int(logits.argmax())
    draw = generator(settings.seed, "clever", index)
    pool = sample(draw, oracle.images[0], settings)
    q = DUAL[settings.norm]
    found = [
        norms_of_differences(subject.network, pool[k : k + BLOCK], c, len(logits), q, subject.device)
        for k in range(0, len(pool), BLOCK)
    ]
    subject.passes += len(pool)
    gradients = np.concatenate(found)
    rows = draw.integers(0, len(gradients), size=(settings.batches, settings.batch))
    return from_gradients(logits, gradients[rows].max(1), settings.radius)


BLOCK = 25


def sample(draw: np.random.Generator, image: np.ndarray, settings: Settings) -> Tensor:
    """Return the pool (pool_factor x batch, 3, H, W): points uniform in the ball, clipped to the box."""
    n, d = settings.pool_factor * settings.batch, image.size
    if settings.norm == "linf":
        step = draw.uniform(-1, 1, (n, d))
    else:
        # Uniform in an l_p ball, p = 1 or 2: a direction on its sphere, and the d-th root of a uniform number.
        step = draw.standard_normal((n, d)) if settings.norm == "l2" else draw.laplace(size=(n, d))
        step /= np.linalg.norm(step, ord=2 if settings.norm == "l2" else 1, axis=1, keepdims=True)
        step *= draw.uniform(0, 1, (n, 1)) ** (1 / d)
    points = np.clip(image.reshape(1, d) + settings.radius * step, 0, 1).astype(np.float32)
    return torch.from_numpy(points.reshape(n, *image.shape)).permute(0, 3, 1, 2)


def from_gradients(logits: np.ndarray, maxima: np.ndarray, radius: float) -> Score:
    """Return the score from the logits (classes) and each batch's largest gradient norm by class (batches, classes)."""
    c = int(logits.argmax())
    best: Score | None = None
    for j in range(len(logits)):
        if j == c:
            continue
        margin = float(logits[c] - logits[j])
        location, fit = fit_location(maxima[:, j])
        largest = float(maxima[:, j].max())
        value = _capped(margin, location, radius)
        if best is None or value < best.score:
            best = Score(value, fit, value >= radius, _capped(margin, largest, radius))
    if best is None:
        raise UserError("CLEVER needs a network with at least two classes")
    return best


def _capped(margin: float, slope: float, radius: float) -> float:
    return min(margin / slope, radius) if slope > 0 else radius


def fit_location(maxima: np.ndarray) -> tuple[float, str]:
    """Return the location of the reverse Weibull law fitted to batch maxima, and how good the fit is (see `Score`)."""
    largest = float(maxima.max())
    if np.ptp(maxima) <= 1e-6 * max(largest, 1e-30):
        return largest, "constant"
    # The law of the largest, mirrored: scipy's search takes another path on weibull_max than on its mirror image.
    shape, mirrored, scale = (float(v) for v in stats.weibull_min.fit(-maxima, 1, optimizer=_simplex))
    location = -mirrored
    if not largest <= location <= 1.5 * largest:
        return location, "runaway"
    test = stats.kstest(maxima, stats.weibull_max(shape, location, scale).cdf)
    return location, "good" if test.pvalue >= 0.05 else "rejected"


def _simplex(function: Any, start: Any, args: Any = (), disp: Any = 0) -> Any:
    return fmin(function, start, args=args, disp=False)
