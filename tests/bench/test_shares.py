"""An evaluation over several processes: every image is shown once, and none of its numbers depends on how many share it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lcrbench.bench import worker
from lcrbench.bench.evaluation import engine, shares
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.bench.training import group
from tests.bench.helpers import TABLES, bits, job

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="processes inherit what a test changes where they are forked"
)

SHOWN: dict[str, Any] = TABLES | {
    "methods": ["bnn"],
    "budget": {"images": 120},
    "recipe": {"batch": 60, "shards": 6},
    "evaluation": {"corruptions": ["fog", "gaussian_noise"], "severities": [1, 5], "block": 20},
    "metrics": {"accuracy": {}},
}


@pytest.mark.parametrize("images", [0, 1, 19, 20, 21, 100, 101])
@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_image_belongs_to_one_process_and_blocks_are_whole(images: int, world: int) -> None:
    parts = [shares.own(images, 20, SimpleNamespace(rank=r, world=world)) for r in range(world)]  # type: ignore[arg-type]
    assert [i for part in parts for i in range(images)[part]] == list(range(images))
    assert images == 0 or parts[0].stop > 0, "the record names the engine of the first process"
    for part in parts:
        assert part.start % 20 == 0 or part.start == images == part.stop
        assert part.stop % 20 == 0 or part.stop == images


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many images at a time this process, and no other, sends through a network."""
    counts: list[int] = []
    plain = engine.Inference.logits

    def counted(self: engine.Inference, images: np.ndarray) -> np.ndarray:
        counts.append(len(images))
        return plain(self, images)

    monkeypatch.setattr(engine.Inference, "logits", counted)
    return counts


def run(root: Path, processes: int, **change: Any) -> Record:
    return worker.run_one(job(root, SHOWN | change, processes=processes))


@linux
def test_two_and_three_processes_find_what_one_finds(tmp_path: Path, seen: list[int]) -> None:
    whole = run(tmp_path / "1", 1)
    alone = seen.copy()
    test = whole.spec.protocol.test.images
    assert sum(alone) == 5 * test
    for processes in (2, 3):
        seen.clear()
        parts = run(tmp_path / str(processes), processes)
        own = shares.own(test, 20, SimpleNamespace(rank=0, world=processes))  # type: ignore[arg-type]
        assert sum(seen) == 5 * (own.stop - own.start) < sum(alone)
        assert bits(tmp_path / str(processes), parts) == bits(tmp_path / "1", whole)
        assert parts.measurements == whole.measurements


@linux
def test_what_is_trained_is_shown_more_by_several_processes(tmp_path: Path, seen: list[int]) -> None:
    """The other processes get the weights from the first one, and only what is lacking is shown."""
    run(tmp_path / "parts", 1)
    more = {"evaluation": SHOWN["evaluation"] | {"corruptions": ["fog", "gaussian_noise", "contrast"]}}
    seen.clear()
    parts = run(tmp_path / "parts", 2, **more)
    assert 0 < sum(seen) < 2 * parts.spec.protocol.test.images
    assert bits(tmp_path / "parts", parts) == bits(tmp_path / "whole", run(tmp_path / "whole", 1, **more))
    seen.clear()
    run(tmp_path / "parts", 2, **more)
    assert not seen


@linux
def test_a_process_that_fails_ends_the_evaluation_and_the_training_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*given: Any) -> None:
        raise MemoryError("no memory here")

    monkeypatch.setattr(shares, "follow", failing)
    with pytest.raises(group.Lost, match="no memory here"):
        run(tmp_path, 2)
    monkeypatch.undo()
    assert len(list(Store(tmp_path).trainings.root.iterdir())) == 1
    monkeypatch.setattr(worker, "trained", None)
    assert run(tmp_path, 2).status == "finished"
