"""Training and evaluation on streamed images: readers, stops and parts of a cell change no bit, and nothing is replayed."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lcrbench.bench import data, estimate, planning, tuning, worker
from lcrbench.bench.data import files
from lcrbench.bench.evaluation import shown as showing
from lcrbench.bench.records import env
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.bench.training import parts, reading
from lcrbench.bench.training.checkpoint import Checkpoint
from lcrbench.bench.training.loop import Stopped, train
from lcrbench.bench.training.stream import stream
from lcrbench.models import network as networks
from tests.bench.helpers import bits, job
from tests.bench.photographs import tree

TABLES: dict[str, Any] = {
    "methods": ["irnet+lcr"],
    "budget": {"images": 160},
    "recipe": {"batch": 16, "lr": 0.05, "augmentation": "random-resized-crop", "validation": 9, "selection": "best"},
    "evaluation": {"corruptions": ["gaussian_noise"], "severities": [1], "block": 4},
    "metrics": {"accuracy": {}, "corruption_error": {}},
}
"""Ten steps of 16 of 51 images: stops lie in the middle of an epoch, and batches across the end of one."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield tree(tmp_path_factory.mktemp("jpegs") / "set", train=20, test=5)


def run(root: Path, store: Path, readers: int = 0, stream: bool = True, processes: int = 1, **change: Any) -> Record:
    tables = TABLES | {"data": {"source": str(root), "size": 16, "stream": stream}} | change
    return worker.run_one(job(store, tables, readers=readers, processes=processes))


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = tmp_path_factory.mktemp("whole")
    return bits(store, run(root, store))


@pytest.mark.slow
def test_processes_read_their_slices_and_change_no_bit(root: Path, tmp_path: Path) -> None:
    change = {"methods": ["bnn"], "budget": {"images": 80}, "recipe": TABLES["recipe"] | {"shards": 2}}
    found = [bits(tmp_path / str(n), run(root, tmp_path / str(n), n - 1, processes=n, **change)) for n in (1, 2)]
    assert found[0] == found[1]


def test_readers_change_no_bit(root: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    found = run(root, tmp_path, readers=2)
    assert bits(tmp_path, found) == whole
    assert found.ledger is not None
    assert found.ledger.readers == 2


def test_what_a_record_says(root: Path, tmp_path: Path) -> None:
    found = run(root, tmp_path, budget={"images": 16}, recipe={"batch": 16})
    assert found.ledger is not None
    assert found.ledger.data_wait is not None
    assert 0 < found.ledger.data_wait < 1
    assert found.spec.training.data.hash_kind == found.spec.protocol.test.hash_kind == "manifest"
    assert "libjpeg-turbo" in found.provenance.versions["decoder of JPEG"]
    training = Store(tmp_path).trainings.record(found.spec.training.train_id)
    assert training.normalization is not None
    assert training.normalization.of == "all training images"
    assert training.source is not None
    assert {"lcrbench.images", "lcrbench.bench.data.files"} <= training.source.modules.keys()


def test_without_augmentation_it_is_the_training_in_memory(root: Path, tmp_path: Path) -> None:
    """The order of the images is the same, and so are pixels, mean and deviation; ids differ by the kind of hash."""
    change = {"recipe": {"batch": 16, "augmentation": "none"}, "methods": ["bnn"]}
    streamed, held = (run(root, tmp_path / str(s), stream=s, **change) for s in (True, False))
    assert streamed.run_id != held.run_id
    one, other = (Store(tmp_path / str(s)).trained(r.run_id) for s, r in ((True, streamed), (False, held)))
    assert one[0].weights_sha256 == other[0].weights_sha256
    assert one[0].normalization == other[0].normalization
    assert one[1] == other[1]


@pytest.mark.parametrize("stops", [[5], [2, 4]])
def test_a_training_goes_on_in_mid_epoch_to_the_same_bits(
    root: Path, tmp_path: Path, whole: dict[str, Any], stops: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    todo, taken = list(stops), [0]
    monkeypatch.setattr(Checkpoint, "stopping", lambda self: _asks(self, todo))
    monkeypatch.setattr(reading, "drawn", _counting(reading.drawn, taken))
    while todo:
        with pytest.raises(Stopped):
            run(root, tmp_path, readers=2 * (len(todo) % 2))
        todo.pop(0)
    taken[0] = 0
    assert bits(tmp_path, run(root, tmp_path)) == whole
    # No step before the save is drawn again but the last, whose batch the save had not noted; one is taken beyond the end.
    assert taken[0] == 10 - sum(stops) + 1 + 1


def _asks(self: Checkpoint, todo: list[int]) -> bool:
    self.seen = getattr(self, "seen", 0) + 1  # type: ignore[attr-defined]
    return bool(todo) and self.seen >= todo[0]  # type: ignore[attr-defined]


def _counting(function: Any, count: list[int]) -> Any:
    def counted(*given: Any) -> Any:
        count[0] += 1
        return function(*given)

    return counted


@pytest.mark.parametrize("readers", [0, 1])
def test_a_damaged_file_ends_a_training_in_one_line(root: Path, tmp_path: Path, readers: int) -> None:
    import shutil

    from lcrbench.errors import UserError

    copy = Path(shutil.copytree(root, tmp_path / "set"))
    split = data.load(copy, size=16, stream=True).train
    (copy / "train" / "b" / "3.jpg").write_bytes(bytes((copy / "train" / "b" / "3.jpg").stat().st_size))
    found = reading.read(split.images, 8, parts.load(Recipe()).augmentation, 0, "cpu", 0, readers)
    with contextlib.closing(found), pytest.raises(UserError, match=r"3\.jpg") as caught:
        list(itertools.islice(found, 20))
    assert "\n" not in str(caught.value)


def test_order_and_draws_depend_on_seed_epoch_and_index_alone(root: Path) -> None:
    transform = parts.load(Recipe(augmentation="random-resized-crop")).augmentation
    n, size = 60, 16
    steps = [reading.keys(n, 16, 3, step) for step in range(8)]
    # The order is that of images in memory.
    held = stream(n, size, 16, transform, 3)
    assert [[i for _, i in step] for step in steps] == [next(held)[0].tolist() for _ in steps]
    both = [(1, 7), (0, 7), (1, 8)]
    rows = reading.drawn(transform, 3, size, both)
    assert len({row.tobytes() for row in rows}) == 3
    for k, key in enumerate(both):
        np.testing.assert_array_equal(reading.drawn(transform, 3, size, [key])[0], rows[k])
    assert not np.array_equal(reading.drawn(transform, 4, size, both), rows)


def test_a_random_crop_is_one_of_the_original(root: Path) -> None:
    """Not of the image as it was resized for tests."""
    images = data.load(root, size=8, stream=True).train.images
    transform = parts.load(Recipe(augmentation="random-resized-crop")).augmentation
    found = reading.read(images, 4, transform, 0, "cpu", 0, 0)
    made, index, draws = next(found)
    for k in range(4):
        original = torch.from_numpy(images.original(int(index[k])))[None]
        assert original.shape[1:3] != (8, 8)
        assert torch.equal(transform.apply(original, torch.from_numpy(draws[k : k + 1]), 8)[0], made[k])


@pytest.mark.parametrize("late", [0, 0.3])
def test_a_signal_to_all_leaves_the_readers_to_who_trains(
    root: Path, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    """Also before they have begun: at once, or while one is slow to begin."""
    settle = reading._settle
    monkeypatch.setattr(reading, "_settle", lambda k: (time.sleep(late * k), settle(k)))
    images = data.load(root, size=16, stream=True).train.images
    found = reading.read(images, 4, parts.load(Recipe()).augmentation, 0, "cpu", 0, 2)
    first = next(found)
    children = torch.multiprocessing.active_children()
    assert len(children) == 2
    for child in children:
        os.kill(child.pid, signal.SIGTERM)
        os.kill(child.pid, signal.SIGINT)
    for _ in range(12):
        next(found)
    assert all(child.is_alive() for child in children)
    found.close()
    for child in children:
        child.join(10)
        assert child.exitcode == 0
    assert first[0].shape == (4, 16, 16, 3)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the number of readers of each training to come."""
    found: list[int] = []
    read = reading.read

    def noted(*given: Any) -> Any:
        found.append(inspect.signature(read).bind(*given).arguments["readers"])
        return read(*given)

    monkeypatch.setattr(reading, "read", noted)
    return found


def test_trials_have_readers_which_change_no_accuracy(root: Path, tmp_path: Path, seen: list[int]) -> None:
    tables = TABLES | {"data": {"source": str(root), "size": 16, "stream": True}, "methods": ["bnn"]}
    grid = make_grid(tables | {"recipe": {"batch": 16}})
    found = []
    for readers in (0, 1):
        made = tuning.tune(
            grid,
            ["bnn"],
            tuning.read_values(["recipe.lr=0.01,0.1"]),
            trials=None,
            validation=9,
            store=Store(tmp_path / str(readers), create=True),
            dataset=data.load(root, size=16, stream=True),
            provenance=env.provenance("cpu", 1, "test", {}, deterministic=True),
            readers=readers,
        )
        (entry,) = made.tuned.values()
        found.append((entry.recipe, entry.tuning.accuracy))
    assert found[0] == found[1]
    assert seen == [0, 0, 1, 1]


def test_a_plan_counts_the_reading(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps and two cells of 15 images, as of a step of 10 ms, and of images that are read in 1 and 2 ms."""
    tables = TABLES | {"data": {"source": str(root), "size": 16, "stream": True}}
    dataset = data.load(root, size=16, stream=True)
    (spec,) = planning.plan(make_grid(tables), dataset)
    reading, shown = estimate._reading(spec.training, dataset)
    assert min(reading, shown) > 0
    assert estimate._reading(spec.training, data.load(root, size=16, stream=False)) == (0, 0)
    monkeypatch.setattr(estimate, "_measured", lambda *given: (0.01, 0.0))
    monkeypatch.setattr(estimate, "_reading", lambda *given: (0.001, 0.002))
    todo = [planning.Lacking(spec, True, spec.protocol.cells, [], [])]
    found = [estimate.cost(todo, dataset, "cpu", 1, readers=n).seconds for n in (0, 1, 2)]
    assert found == pytest.approx([10 * step + 15 * 0.002 for step in (0.01 + 0.016, 0.016, 0.01)])


def test_a_budget_of_this_process_s_seconds_has_no_readers(root: Path, seen: list[int]) -> None:
    split = data.load(root, size=16, stream=True).train
    net = networks.build(
        networks.choose("bnn"), "vgg_tiny", 3, 16, [0.5] * 3, [0.25] * 3, lambda name: torch.Generator()
    )
    for budget in (Budget(unit="seconds", seconds=0.01), Budget(images=8)):
        train(net, split, budget, Recipe(batch=8), 0, readers=1)
    assert seen == [0, 1]


def test_cells_are_shown_in_parts_to_the_same_bits(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their images are decoded once for all cells."""
    shown = TABLES["evaluation"] | {"block": 7, "severities": [1, 3, 5]}
    change = {"evaluation": shown, "methods": ["bnn"], "budget": {"images": 16}, "recipe": {"batch": 16}}
    decoded: list[str] = []
    decode = files.decode
    monkeypatch.setattr(
        files, "decode", lambda content, where, *size: decoded.append(where) or decode(content, where, *size)
    )
    found = []
    for most in (1 << 28, 1):
        monkeypatch.setattr(showing, "MOST_BYTES", most)
        decoded.clear()
        found.append(bits(tmp_path / str(most), run(root, tmp_path / str(most), **change)))
        # For four cells; some are decoded once more to describe the network, and none to see that images differ.
        times = Counter(w for w in decoded if os.sep + "test" + os.sep in w)
        assert len(times) == 15
        assert max(times.values()) <= 2
    assert found[0] == found[1]
