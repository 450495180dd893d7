"""The margin of a gate: which are allowed, and whether unchanged code would pass with one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lcrbench.bench.records.measurement import Scale
from lcrbench.errors import UserError
from lcrbench.reports.gate import power

MOST_POINTS = 20.0
"""The widest margin of an endpoint that is a share, in points: beyond it hardly any regression would be one."""
FEWEST = 2


class Power(NamedTuple):
    """What a margin does with a reference's spread: the chance that unchanged code passes, and what would be enough."""

    spread: float
    unit: str
    candidates: int
    references: int
    chance: float
    least: float
    seeds: int | None
    both: int | None

    @property
    def enough(self) -> bool:
        """Tell whether unchanged code passes often enough."""
        return self.chance >= power.LEAST

    def text(self, margin: float) -> str:
        """Return what the margin does in one sentence, with the way out where it is too small."""
        said = (
            f"over {self.references} seeds the reference spreads by {_with(self.spread, self.unit)} (standard deviation), "
            f"so with a margin of {_with(margin, self.unit)} and {self.candidates} candidate seeds unchanged code passes "
            f"{self.chance:.0%} of checks"
        )
        if self.enough:
            return said
        ways = [f"a margin of {_with(self.least, self.unit)}"]
        if self.seeds is not None:
            ways.append(f"{self.seeds} candidate seeds")
        elif self.both is not None:
            ways.append(f"{self.both} seeds on either side")
        return f"{said}; enough for {power.LEAST:.0%}: {', or '.join(ways)}"


def of(values: Sequence[float], scale: Scale, margin: float, candidates: int, *, paired: bool = False) -> Power | None:
    """Return what a margin does with these values of a reference; None with fewer than two seeds a side."""
    if min(len(values), candidates) < FEWEST:
        return None
    points, unit = _points(scale)
    spread = float(np.std(np.asarray(values) * points, ddof=1))
    ratio = margin / spread if spread else math.inf
    found = power.chance(candidates, len(values), ratio, paired=paired)
    enough = found >= power.LEAST
    return Power(
        spread,
        unit,
        candidates,
        len(values),
        found,
        least(values, scale, candidates, paired=paired),
        None if enough else power.seeds(len(values), ratio, paired=paired),
        None if enough else power.both(ratio),
    )


def least(values: Sequence[float], scale: Scale, candidates: int, *, paired: bool = False) -> float:
    """Return the least margin that unchanged code passes in 95 % of checks, rounded up to two digits.

    Of seeds that do not differ at all it is a tenth of a point, or a thousandth of the mean.
    """
    points, _ = _points(scale)
    scaled = np.asarray(values, np.float64) * points
    exact = float(np.std(scaled, ddof=1)) * power.least_ratio(candidates, len(values), paired=paired)
    if not exact:
        return 0.1 if scale is Scale.SHARE else abs(float(scaled.mean())) / 1000 or 0.001
    digit = 10.0 ** (math.floor(math.log10(exact)) - 1)
    return float(f"{math.ceil(exact / digit - 1e-9) * digit:.6g}")


def checked(margin: float, values: Sequence[float], scale: Scale) -> float:
    """Return a margin that is allowed; raises `UserError` for one that is not finite, not above 0, or beyond the bound.

    The bound is 20 points for a share, and for other endpoints the reference's own mean.
    """
    if not (math.isfinite(margin) and margin > 0):
        raise UserError(f"the margin must be a finite number above 0 (got {margin:g})")
    share = scale is Scale.SHARE
    most = MOST_POINTS if share else abs(float(np.mean(values))) if values else math.inf
    if margin > most:
        what = "points" if share else "as the reference's mean"
        raise UserError(f"a margin of {margin:g} passes nearly anything: at most {most:g} {what}")
    return margin


def choose(
    method: str,
    values: Sequence[float],
    scale: Scale,
    margin: float | None,
    candidates: int,
    *,
    paired: bool = False,
    anyway: bool = False,
) -> float:
    """Return the margin of a new reference: the one that is asked for, else the least that unchanged code passes.

    Raises `UserError` for a margin that is not allowed, and, unless `anyway`, for one that is too small.
    """
    if min(len(values), candidates) < FEWEST:
        if margin is None or not anyway:
            raise UserError(
                f"'{method}' has {len(values)} seeds, and {candidates} are asked of a candidate: a gate needs "
                f"{FEWEST} a side, and 10 in the reference are advised; with --margin and --anyway it is written without"
            )
        return checked(margin, values, scale)
    if margin is None:
        found = least(values, scale, candidates, paired=paired)
        try:
            return checked(found, values, scale)
        except UserError as error:
            power_ = of(values, scale, MOST_POINTS, candidates, paired=paired)
            raise UserError(
                f"'{method}': {power_.text(MOST_POINTS) if power_ else error}; train more seeds or longer"
            ) from error
    checked(margin, values, scale)
    found_power = of(values, scale, margin, candidates, paired=paired)
    if found_power and not found_power.enough and not anyway:
        raise UserError(f"'{method}': {found_power.text(margin)}; --anyway writes it all the same")
    return margin


def _points(scale: Scale) -> tuple[float, str]:
    return (100.0, "points") if scale is Scale.SHARE else (1.0, "")


def _with(value: float, unit: str) -> str:
    return f"{value:.3g} {'point' if unit and value == 1 else unit}".rstrip()
