"""Half a cosine, from the peak to 0: (1 + cos(pi t)) / 2, where t is the share done after the warm-up."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lcrbench.bench.training import api


@dataclass(frozen=True)
class Schedule(api.Schedule):
    """Cosine annealing without restarts."""

    def factor(self, progress: float, warmup: float) -> float:
        """Return (1 + cos(pi t)) / 2."""
        return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
