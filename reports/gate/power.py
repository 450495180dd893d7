"""How often a margin lets unchanged code pass, and which margin or how many seeds it takes.

With n candidate and m reference seeds of one normal distribution, and a margin of `ratio` times the standard deviation s
that the reference shows, the gate passes if

    d - t se > -ratio s,

d the difference of means, se its standard error and t Student's 95 % point (`bounds.half`). Divided by the unknown
spread, no quantity in it depends on mean or spread, so the chance is a number of (n, m, ratio) alone. It is over
candidates *and* references, so it allows for an s that came out small by chance. By symmetry it is also the chance that
code worse by twice the margin fails. Found by simulation from fixed draws: +-0.2 points.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import stats as distributions

from lcrbench.reports.gate.bounds import ALPHA

LEAST = 0.95
"""How often unchanged code must pass before a margin is accepted."""
DRAWS = 40_000
MOST_SEEDS = 100


def chance(candidates: int, references: int, ratio: float, *, paired: bool = False) -> float:
    """Return the share of checks that unchanged code passes; `ratio` is the margin over the reference's spread.

    `paired`: candidate and reference share their seeds and are compared seed by seed. Nothing is assumed to be gained by
    it: the seeds are drawn as if they did not pair, which is the worst case.
    """
    if math.isinf(ratio):
        return 1.0
    return float(np.mean(_needed(candidates, references, paired) < ratio))


def least_ratio(candidates: int, references: int, *, paired: bool = False) -> float:
    """Return the least margin, over the reference's spread, that unchanged code passes in `LEAST` of checks."""
    return float(np.quantile(_needed(candidates, references, paired), LEAST))


def seeds(references: int, ratio: float, *, paired: bool = False) -> int | None:
    """Return the fewest candidate seeds, beside this many reference seeds, that make `ratio` enough; None beyond 100."""
    most = references if paired else MOST_SEEDS
    return next((n for n in range(2, most + 1) if least_ratio(n, references, paired=paired) <= ratio), None)


def both(ratio: float) -> int | None:
    """Return the fewest seeds on either side that make `ratio` enough; None beyond 100."""
    return next((n for n in range(2, MOST_SEEDS + 1) if least_ratio(n, n) <= ratio), None)


@functools.lru_cache(maxsize=512)
def _needed(candidates: int, references: int, paired: bool) -> np.ndarray:
    """Return for each draw the ratio from which on it passes: (t se - d) / s."""
    rng = np.random.default_rng([candidates, references])
    if paired:
        draws = DRAWS // 4
        held = rng.standard_normal((draws, references))
        differences = rng.standard_normal((draws, candidates)) - held[:, :candidates]
        d, spread = differences.mean(1), held.std(1, ddof=1)
        se, df = differences.std(1, ddof=1) / math.sqrt(candidates), np.full(draws, candidates - 1.0)
    else:
        # Means and variances of normal samples are independent, so nothing else need be drawn.
        d = rng.standard_normal(DRAWS) * math.sqrt(1 / candidates + 1 / references)
        vx = rng.chisquare(candidates - 1, DRAWS) / (candidates - 1)
        vy = rng.chisquare(references - 1, DRAWS) / (references - 1)
        spread = np.sqrt(vy)
        ax, ay = vx / candidates, vy / references
        se = np.sqrt(ax + ay)
        df = (ax + ay) ** 2 / (ax**2 / (candidates - 1) + ay**2 / (references - 1))
    needed: np.ndarray = (distributions.t.ppf(1 - ALPHA, df) * se - d) / spread
    return needed
