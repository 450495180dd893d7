"""The cache of corrupted images: made once, bounded, checked, and never in the way."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lcrbench import corruptions
from lcrbench.bench.evaluation import cells as caches
from lcrbench.bench.evaluation.cells import Cells
from lcrbench.bench.records import source
from lcrbench.bench.records.spec import Cell
from lcrbench.corruptions import registered


@pytest.fixture
def corrupted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many images were corrupted, call by call."""
    calls: list[int] = []
    corrupt = corruptions.corrupt

    def counted(images: Any, *given: Any, **named: Any) -> Any:
        calls.append(len(images))
        return corrupt(images, *given, **named)

    monkeypatch.setattr(corruptions, "corrupt", counted)
    return calls


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)


def cell_of(cache: Cells, images: np.ndarray, severity: int, **change: Any) -> np.ndarray:
    given = {"seed": 0, "stream": "s"} | change
    return cache.images(images, Cell("contrast", severity), np.arange(len(images)), **given)


def test_the_cache_is_bounded_and_keeps_what_it_has(tmp_path: Path, images: np.ndarray, corrupted: list[int]) -> None:
    """Networks ask for the same cells in the same order: to give up the oldest would lose each before it is asked for."""
    size = images.nbytes + 32
    cache = Cells(tmp_path / "cache", limit=2 * size)
    for _ in range(2):
        for severity in (1, 2, 3):
            cell_of(cache, images, severity)
    # The third found no room, and was made twice.
    assert len(corrupted) == 4
    kept = list((tmp_path / "cache").glob("*.cell"))
    assert sum(f.stat().st_size for f in kept) == 2 * size
    assert np.array_equal(cell_of(Cells(tmp_path / "small", limit=1), images, 1), cell_of(cache, images, 1))


@pytest.mark.parametrize("change", [{"seed": 1}, {"stream": "other"}])
def test_cells_of_other_randomness_or_data_are_apart(tmp_path: Path, images: np.ndarray, change: Any) -> None:
    cache = Cells(tmp_path / "cache")
    noise = Cell("gaussian_noise", 3)
    indices = np.arange(len(images))
    given = {"seed": 0, "stream": "s"}
    for named in (given, given | change):
        made = cache.images(images, noise, indices, **named)
        assert np.array_equal(made, Cells().images(images, noise, indices, **named))
    assert len(list((tmp_path / "cache").glob("*.cell"))) == 2
    part = cache.images(images[5:], noise, indices[5:], **given)
    assert np.array_equal(part, cache.images(images, noise, indices, **given)[5:])


@pytest.mark.parametrize("damage", ["the hash", "an image", "cut", "longer", "empty"])
def test_a_damaged_cell_is_found_and_made_again(
    tmp_path: Path, images: np.ndarray, corrupted: list[int], damage: str
) -> None:
    cache = Cells(tmp_path / "cache")
    first = cell_of(cache, images, 1).copy()
    (file,) = (tmp_path / "cache").glob("*.cell")
    content = bytearray(file.read_bytes())
    if damage in ("the hash", "an image"):
        content[7 if damage == "the hash" else len(content) // 2] ^= 1
    file.write_bytes({"cut": content[:-1], "longer": content + b"0", "empty": b""}.get(damage, content))
    assert np.array_equal(cell_of(cache, images, 1), first)
    assert len(corrupted) == 2
    cell_of(cache, images, 1)
    assert len(corrupted) == 2


def test_without_room_images_are_made_all_the_same(
    tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = cell_of(Cells(), images, 1)
    (tmp_path / "file").write_text("")
    assert np.array_equal(cell_of(Cells(tmp_path / "file"), images, 1), expected)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caches, "_write", full)
    assert np.array_equal(cell_of(Cells(tmp_path / "full"), images, 1), expected)
    assert not list((tmp_path / "full").glob("*.cell"))


def test_a_plug_in_whose_code_changed_makes_its_cells_again(
    tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch, corrupted: list[int]
) -> None:
    """A command that was killed leaves its cache behind."""
    folder = tmp_path / "pack_of_this_test"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "'Adds.'\ndef apply(image, severity, rng):\n    return image // 2 + {}\n"
    cache, name = Cells(tmp_path / "cache"), Cell("pack_of_this_test.mine", 1)

    def made() -> np.ndarray:
        return cache.images(images, name, np.arange(len(images)), seed=0, stream="s")

    for k, added in enumerate((1, 2)):
        (folder / "mine.py").write_text(code.format(added) + f"# {added * 1000}\n" * added)
        # As a new process, which has read nothing yet.
        for known in (
            source._file,
            source._tree,
            source._hash,
            source._closure,
            source._known,
            source._import_statements,
        ):
            known.cache_clear()
        registered.find.cache_clear()
        monkeypatch.delitem(sys.modules, name.corruption, raising=False)
        importlib.invalidate_caches()
        for _ in range(2):
            assert np.array_equal(made(), images // 2 + added)
        assert len(corrupted) == k + 1
