"""The copies of what is compressed, in the user's cache: one of each archive, whole or not at all."""

from __future__ import annotations

import gc
import multiprocessing
import os
import stat
import time
from pathlib import Path

import numpy as np
import pytest
from layouts import write
from some_data import a_tree, as_archives, part, zip_bytes
from test_sources import settle

from lcrbench.bench import data
from lcrbench.bench.data import about, copies, keep
from lcrbench.errors import UserError


def test_what_is_compressed_is_copied_once_and_streamed_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    place = as_archives(a_tree(), tmp_path / "set", "tar.gz")
    settle(place)
    first = data.load(place, size=8, stream=True)
    (copy,) = cache.glob(f"*{copies.SUFFIX}")
    assert copy.stat().st_size == sum(map(len, a_tree().values()))
    told = "\n".join(about.about(str(place), 8, True).lines())
    assert f"streamed from a copy, {copy.stat().st_size / 1e6:.1f} MB in {cache}" in told
    # Not read again by a process that comes later; another size in pixels is of the same files.
    monkeypatch.setattr(keep, "digest_of", None)
    data.load("fake-data", size=8)  # lets go of the kept one
    assert data.load(place, size=9, stream=True).train.images[:].shape == (len(first.train), 9, 9, 3)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[1]))
    # The copy may be deleted, the table or both; a test set alone has a copy, too.
    for gone in (copy, *cache.glob("listed-*/content.json")):
        gone.unlink()
        data.load("fake-data", size=8)
        assert data.load(place, size=8, stream=True).sha256 == first.sha256
    assert [copy] == [*cache.glob(f"*{copies.SUFFIX}*")]
    alone = {name.removeprefix("test/"): content for name, content in part(a_tree(), "test").items()}
    test = data.load_test(write(tmp_path / "alone.zip", zip_bytes(alone)), size=8, stream=True)
    np.testing.assert_array_equal(test.split.images[:], first.test.images[:])


@pytest.mark.parametrize("change", ["order", "longer", "shorter"])
def test_a_copy_of_something_else_is_not_read(tmp_path: Path, cache: Path, change: str) -> None:
    place = as_archives(a_tree(), tmp_path / "set", "tar.gz")
    settle(place)
    first = data.load(place, size=8, stream=True)
    (copy,) = cache.glob(f"*{copies.SUFFIX}")
    content = copy.read_bytes()
    copy.write_bytes({"order": content[::-1], "longer": content + b"x", "shorter": content[:-1]}[change])
    (table,) = cache.glob("listed-*/content.json")
    table.unlink()  # another version of the code has other tables
    data.load("fake-data", size=8)
    with pytest.raises(UserError, match=r"was no copy of what .* holds: run it again"):
        data.load(place, size=8, stream=True)
    found = data.load(place, size=8, stream=True)
    np.testing.assert_array_equal(found.train.images[:], first.train.images[:])


def test_a_copy_is_readable_for_whom_the_rest_of_the_cache_is(tmp_path: Path, cache: Path) -> None:
    place = as_archives(a_tree(), tmp_path / "set", "tar.gz")
    settle(place)
    before = os.umask(0o022)
    try:
        data.load(place, size=8, stream=True)
    finally:
        os.umask(before)
    (copy,) = cache.glob(f"*{copies.SUFFIX}")
    (table,) = cache.glob("listed-*/content.json")
    assert stat.S_IMODE(copy.stat().st_mode) == stat.S_IMODE(table.stat().st_mode)


def _loads(place: Path) -> None:
    assert data.load(place, size=8, stream=True).train.images[0].shape == (8, 8, 3)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_copy_that_does_not_last_is_gone_with_the_process_of_a_run(tmp_path: Path, cache: Path, method: str) -> None:
    place = as_archives(a_tree(), tmp_path / "set", "tar.gz")
    os.utime(place / "train.tar.gz", (time.time() + 1e6,) * 2)  # by a clock that is ahead
    child = multiprocessing.get_context(method).Process(target=_loads, args=(place,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert not [*cache.glob("*.unfinished")]


def test_a_copy_that_does_not_last_stays_while_it_is_read(tmp_path: Path, cache: Path) -> None:
    place = as_archives(a_tree(), tmp_path / "set", "tar.gz")  # just written
    found = data.load(place, size=8, stream=True)
    (copy,) = cache.glob("*.unfinished")
    os.utime(copy, (0, 0))  # hours ago
    copies._clear(cache)
    assert found.test.images[:].shape[1:] == (8, 8, 3)
    made = copies._KEPT.pop()
    made._ends()
    assert not copy.exists()


def test_a_copy_that_does_not_last_is_gone_with_its_process_and_a_damaged_archive_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    place = as_archives(a_tree(), tmp_path / "set", "tar.gz")  # just written
    found = data.load(place, size=8, stream=True)
    (copy,) = cache.glob("*.unfinished")
    np.testing.assert_array_equal(found.test.images[:], data.load(place, size=8).test.images)
    made = copies._KEPT.pop()
    made._ends()
    assert not copy.exists()
    content = (place / "train.tar.gz").read_bytes()
    write(place / "train.tar.gz", content[:-40])
    with pytest.raises(UserError, match="damaged"):
        data.load(place, size=8, stream=True)
    gc.collect()
    assert not [*cache.glob("*.unfinished")]
    # What a killed process has left is cleared away after an hour.
    left = write(cache / "x.y.unfinished", b"x")
    os.utime(left, (0, 0))
    write(place / "train.tar.gz", content)
    monkeypatch.setattr(copies, "_LEFT", 1 << 60)
    monkeypatch.setattr(copies, "_LOOK", 0)
    with pytest.raises(UserError, match=r"train\.tar\.gz is compressed.*nearly full.*unpack it") as caught:
        data.load(place, size=8, stream=True)
    assert "\n" not in str(caught.value)
    assert not left.exists()
