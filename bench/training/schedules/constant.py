"""The peak rate throughout."""

from __future__ import annotations

from dataclasses import dataclass

from lcrbench.bench.training import api


@dataclass(frozen=True)
class Schedule(api.Schedule):
    """A constant rate."""

    def factor(self, progress: float, warmup: float) -> float:
        """Return 1."""
        return 1.0
