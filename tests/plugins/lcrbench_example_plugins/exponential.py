"""Exponential decay to `last`: last^t, where t is the share done after the warm-up."""

from __future__ import annotations

from dataclasses import dataclass

from lcrbench.bench.training import api


@dataclass(frozen=True)
class Schedule(api.Schedule):
    """Options: `last` in (0, 1], the factor at the end."""

    last: float = 0.01

    def factor(self, progress: float, warmup: float) -> float:
        """Return last^t."""
        return float(self.last ** ((progress - warmup) / (1 - warmup)))
