"""Files that are written whole or not at all, and where the user's cache lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lcrbench import disk
from lcrbench.bench.data import disk_cache
from lcrbench.corruptions import digests


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "folder" / "file"
    for content in ("first", "second"):
        with disk.replacing(place, flushed=content == "second") as draft:
            assert draft.parent == place.parent
            draft.write_text(content)
            assert not place.exists() or place.read_text() == "first"
        assert place.read_text() == content
    assert [*place.parent.iterdir()] == [place]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_raised_meanwhile_leaves_the_file_as_it_was(tmp_path: Path, error: BaseException) -> None:
    place = tmp_path / "file"
    place.write_text("before")

    def half() -> None:
        with disk.replacing(place) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(type(error)):
        half()
    assert place.read_text() == "before"
    assert [*tmp_path.iterdir()] == [place]


def test_writers_at_once_have_drafts_of_their_own(tmp_path: Path) -> None:
    place = tmp_path / "file"
    with disk.replacing(place) as one, disk.replacing(place) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert place.read_text() == "one"


@pytest.mark.parametrize("given", ["", "relative", "absolute"])
def test_a_user_without_a_home_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """A relative XDG_CACHE_HOME is none, as its specification says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    cache = str(tmp_path / "absolute") if given == "absolute" else given
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    digests._write("key", "0" * 32)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept == ([tmp_path / "absolute" / "lcrbench" / "digests" / "key"] if given == "absolute" else [])
    assert digests._read("key") == ("0" * 32 if kept else None)
    assert disk_cache.home().is_relative_to(tmp_path) == (given == "absolute")
