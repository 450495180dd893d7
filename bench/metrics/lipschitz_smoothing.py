"""Certified l2 radius of the randomly smoothed classifier: a lower bound, about g and not about the network f itself.

Cohen, Rosenfeld, Kolter 2019, arXiv 1902.02918. g(x) is the class that f predicts most often at x + sigma z, z standard
normal. With `first` draws the class c is chosen; with `draws` further ones a one-sided Clopper-Pearson bound p at level
1 - alpha of the probability of c gives, where p > 1/2,

    R(x) = sigma Phi^-1(p):      g is constant within l2 distance R, with confidence 1 - alpha for each image

and 0 ("abstains") elsewhere. It needs no continuity of f, so it holds for networks of signs. The noise leaves the box
[0, 1], as in the paper. R is at most sigma Phi^-1(alpha^(1/draws)). It costs first + draws passes an image: an option, in
no preset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.metrics import Cost, Need
from lcrbench.bench.records.measurement import Kind, Measurement, MetricInfo, Scale
from lcrbench.bench.seeds import generator
from lcrbench.errors import UserError

INFO = MetricInfo.about(
    __doc__,
    "pixel units",
    bound="lower",
    higher_is_better=True,
    phase="lipschitz",
    scale=Scale.DISTANCE,
    title="certified radius",
    note="certified for the smoothed classifier, not for the network",
    other={
        "abstained": Kind(
            unit="fraction of images", bound="exact", higher_is_better=False, scale=Scale.SHARE, title="abstained"
        )
    },
)
NEEDS = frozenset({Need.FORWARD})
COST = Cost.ON_REQUEST
BLOCK = 1000


@dataclass(frozen=True)
class Options:
    """`images`, evenly spaced over the classes; `sigma` in pixel units; `first` and `draws`; `alpha`; `seed`."""

    images: int = 50
    sigma: float = 0.25
    first: int = 100
    draws: int = 1000
    alpha: float = 0.001
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.images, self.first, self.draws) < 1:
            raise UserError("needs images, first and draws >= 1")
        if not (0 < self.sigma < np.inf and 0 < self.alpha < 0.5):
            raise UserError("needs sigma > 0 and 0 < alpha < 0.5")


def radius(subject: Subject, image: np.ndarray, index: int, options: Options) -> float:
    """Return the certified radius of g at an image (H, W, 3) float32 in [0, 1]; 0 where it abstains."""
    draw = generator(options.seed, "smoothing", index)

    def counts(n: int, classes: int) -> np.ndarray:
        total = np.zeros(classes, dtype=np.int64)
        for start in range(0, n, BLOCK):
            noise = draw.standard_normal((min(BLOCK, n - start), *image.shape), dtype=np.float32)
            guessed = subject.logits(image + np.float32(options.sigma) * noise).argmax(1)
            total += np.bincount(guessed, minlength=classes)
        return total

    classes = subject.logits(image[None]).shape[1]
    c = int(counts(options.first, classes).argmax())
    hits = int(counts(options.draws, classes)[c])
    low = scipy_stats.binomtest(hits, options.draws, alternative="greater").proportion_ci(1 - options.alpha).low
    return float(options.sigma * scipy_stats.norm.ppf(low)) if low > 0.5 else 0.0


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the median and the mean over images of the certified radius, and the share of images without one."""
    oracle = Oracle.of(subject, options.images)
    radii = np.array([radius(subject, x, int(i), options) for x, i in zip(oracle.images, oracle.indices, strict=True)])
    for statistic, i in {
        "q50": stats.quantile(radii, 0.5),
        "mean": stats.mean(radii),
        "abstained": stats.proportion(int((radii == 0).sum()), len(radii)),
    }.items():
        yield Measurement.of(
            "lipschitz_smoothing",
            i,
            statistic=statistic,
            norm="l2",
        )
