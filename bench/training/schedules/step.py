"""Steps: the rate is multiplied by `gamma` at each of the shares `at` of the stage, warm-up included."""

from __future__ import annotations

from dataclasses import dataclass

from lcrbench.bench.training import api


@dataclass(frozen=True)
class Schedule(api.Schedule):
    """gamma^k after k of the shares; `at` are shares in (0, 1), `gamma` is in (0, 1]."""

    at: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if not all(0 < share < 1 for share in self.at) or not 0 < self.gamma <= 1:
            raise ValueError(f"shares are between 0 and 1 and gamma in (0, 1], not {self.at} and {self.gamma:g}")

    def factor(self, progress: float, warmup: float) -> float:
        """Return gamma to the number of shares that are at most `progress`."""
        return self.gamma ** sum(share <= progress for share in self.at)
