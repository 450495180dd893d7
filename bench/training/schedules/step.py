"""Steps: at each of the shares `at` of the stage the rate is multiplied by `gamma`, or takes a factor of its own.

The shares count from the stage's begin, the warm-up included.
"""

from __future__ import annotations

from dataclasses import dataclass

from lcrbench.bench.training import api


@dataclass(frozen=True)
class Schedule(api.Schedule):
    """gamma^k after k of the shares, or the k-th of `factors`, in [0, 1], where they are given, one for each share.

    `at` are rising shares in (0, 1), `gamma` is in (0, 1]. With `factors = (1.0,)` they are not given.
    """

    at: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    factors: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not all(0 < share < 1 for share in self.at) or not 0 < self.gamma <= 1:
            raise ValueError(f"shares are between 0 and 1 and gamma in (0, 1], not {self.at} and {self.gamma:g}")
        if self._given and (len(self.factors) != len(self.at) or not all(0 <= f <= 1 for f in self.factors)):
            raise ValueError(f"factors are in [0, 1], one for each of the shares {self.at}, not {self.factors}")

    @property
    def _given(self) -> bool:
        return self.factors != (1.0,)

    def factor(self, progress: float, warmup: float) -> float:
        """Return the factor after as many shares as are at most `progress`."""
        passed = sum(share <= progress for share in self.at)
        if self._given:
            return self.factors[passed - 1] if passed else 1.0
        return self.gamma**passed
