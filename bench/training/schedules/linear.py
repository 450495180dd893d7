"""A straight line from the peak to 0: 1 - t, where t is the share done after the warm-up."""

from __future__ import annotations

from dataclasses import dataclass

from lcrbench.bench.training import api


@dataclass(frozen=True)
class Schedule(api.Schedule):
    """A rate that falls linearly."""

    def factor(self, progress: float, warmup: float) -> float:
        """Return 1 - t."""
        return (1 - progress) / (1 - warmup)
