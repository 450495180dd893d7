"""What `--plan` says of an evaluation is priced by the engine that would make it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lcrbench.bench import estimate, planning
from lcrbench.bench.evaluation.engine import Choice, Inference
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.runner import planned
from tests.bench.helpers import SMALL


@pytest.mark.parametrize(
    ("method", "engine", "named"),
    [("bnn", "auto", "packed"), ("bnn", "torch", "torch: asked for"), ("full_precision", "auto", "torch: ")],
)
def test_forward_passes_are_priced_by_the_engine(
    method: str, engine: Choice, named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[Inference] = []

    class Noted(Inference):
        def logits(self, images: np.ndarray) -> np.ndarray:
            found.append(self)
            return super().logits(images)

    monkeypatch.setattr(estimate, "Inference", Noted)
    jobs, dataset = planned(make_grid(SMALL | {"methods": [method]}), tmp_path)
    lacking = [planning.lacking(None, job, dataset) for job in jobs]
    cost = estimate.cost(lacking, dataset, "cpu", 1, engine=engine)
    assert cost.seconds > 0
    # Once to compile and to compare with torch, and once timed, by the engine alone.
    assert len(found) == 2
    assert found[0].name.startswith(named)
