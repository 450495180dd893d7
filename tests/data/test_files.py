"""Images that stay in their files: images and labels as in memory, named by a manifest, from every layout."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layouts import Cifar, ImageNet, jpeg, tar, tiny_imagenet, write
from some_data import a_tree, as_archives, as_folder, fails, tar_bytes, zip_bytes
from test_sources import settle

from lcrbench.bench import data
from lcrbench.bench.data import about, disk_cache, files, keep, room
from lcrbench.bench.data.arrays import Streamed, moments_of
from lcrbench.errors import UserError

WNIDS = ["n01440764", "n01443537", "n02123045"]


def one_tar(root: Path) -> Path:
    return write(root / "set.tar", tar_bytes(a_tree()))


def imagenet_tars(root: Path) -> Path:
    made = ImageNet(WNIDS)
    return made.devkit(made.tars(root))


def flat_val(root: Path) -> Path:
    made = ImageNet(WNIDS)
    return made.devkit(made.folders(root, flat=True))


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "folders": lambda root: as_folder(a_tree(), root),
    "a tar each": lambda root: as_archives(a_tree(), root, "tar"),
    "one tar": one_tar,
    "imagenet's tars": imagenet_tars,
    "flat val": flat_val,
    "kaggle": lambda root: ImageNet(WNIDS).kaggle(root),
    "webdataset": lambda root: ImageNet(WNIDS).webdataset(root, rank=dict(zip(WNIDS, (0, 1, 281), strict=True))),
    "tiny-imagenet": tiny_imagenet,
    "a tar.gz each": lambda root: as_archives(a_tree(), root, "tar.gz"),
    "one zip": lambda root: write(root / "set.zip", zip_bytes(a_tree())),
    "parquet": lambda root: Cifar().parquet(root),
    "parquet shards": lambda root: ImageNet(WNIDS).shards(root),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_images_and_labels(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    place = LAYOUTS[layout](root)
    held, streamed = data.load(place, size=12), data.load(place, size=12, stream=True)
    assert (held.hash_kind, streamed.hash_kind) == ("pixels", "manifest")
    assert (held.classes, held.space, held.layout, held.reasons, held.skipped, held.name) == (
        streamed.classes, streamed.space, streamed.layout, streamed.reasons, streamed.skipped, streamed.name)  # fmt: skip
    for one, other in ((held.train, streamed.train), (held.test, streamed.test)):
        assert isinstance(other.images, Streamed)
        np.testing.assert_array_equal(one.images, other.images[:])
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.images.shape == other.images.shape
        assert one.images.nbytes == other.images.nbytes
    assert len({held.sha256, streamed.sha256, held.train_sha256, streamed.train_sha256}) == 4


def test_it_is_indexed_as_an_array_is(tmp_path: Path) -> None:
    streamed = data.load(as_folder(a_tree(), tmp_path), size=8, stream=True).train.images
    whole = streamed[:]
    mask = np.arange(len(whole)) % 3 == 1
    for key in (
        0,
        -1,
        np.int64(2),
        slice(2, 7),
        slice(None, None, -2),
        [4, 1, 1],
        np.array([-1, 0]),
        mask,
        slice(0, 0),
    ):
        np.testing.assert_array_equal(streamed[key], whole[key])
    np.testing.assert_array_equal(np.stack(list(streamed)), whole)
    for key in (len(whole), [len(whole)]):
        with pytest.raises(IndexError):
            streamed[key]
    assert isinstance(streamed, Streamed)
    part = streamed.part(mask)
    np.testing.assert_array_equal(part[:], whole[mask])
    np.testing.assert_array_equal(part.part(np.array([1, 0]))[:], whole[mask][[1, 0]])


def hashes(place: Path, size: int = 8) -> tuple[str, str, str]:
    found = data.load(place, size=size, stream=True)
    return found.sha256, found.train_sha256, found.test_sha256


def test_the_manifest_is_of_the_files_and_not_of_where_they_lie(tmp_path: Path) -> None:
    first = hashes(as_folder(a_tree(), tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "moved")
    assert hashes(tmp_path / "moved") == first
    assert hashes(as_archives(a_tree(), tmp_path / "b", "tar")) == first
    assert hashes(one_tar(tmp_path / "c")) == first
    assert hashes(as_archives(a_tree(), tmp_path / "g", "tar.gz")) == first
    assert hashes(write(tmp_path / "set.zip", zip_bytes(a_tree()))) == first
    made = ImageNet(WNIDS)
    assert (
        hashes(made.folders(tmp_path / "d"))
        == hashes(imagenet_tars(tmp_path / "e"))
        == hashes(flat_val(tmp_path / "f"))
    )


@pytest.mark.parametrize("change", ["byte", "name", "class", "size in pixels", "one more"])
def test_the_manifest_changes_with_the_files(tmp_path: Path, change: str) -> None:
    tree, size = a_tree(), 8
    first = hashes(as_folder(tree, tmp_path / "a"))
    name = "train/2/8.png"
    if change == "byte":
        tree[name] += b"\0"  # after the image's end: no pixel differs
    elif change == "name":
        tree["train/2/7.png"] = tree.pop(name)
    elif change == "class":
        tree = {key.replace("/b/", "/c/"): content for key, content in tree.items()}
    elif change == "one more":
        tree["train/2/99.png"] = tree[name]
    else:
        size = 9
    other = hashes(as_folder(tree, tmp_path / "b"), size)
    assert other[0] != first[0]
    assert other[1] != first[1]
    assert (other[2] == first[2]) == (change in ("byte", "name", "one more"))


def test_a_part_has_a_hash_of_its_own_and_streams(tmp_path: Path) -> None:
    place = as_folder(a_tree(), tmp_path)
    held, whole = data.load(place, size=8), data.load(place, size=8, stream=True)
    part = data.take(whole, 6, 3, seed=0)
    assert part.hash_kind == "manifest"
    assert part.train_sha256 != whole.train_sha256
    assert part.whole_sha256 == whole.sha256
    np.testing.assert_array_equal(part.train.images[:], data.take(held, 6, 3, seed=0).train.images)


def test_files_are_read_once_for_their_hash_and_their_table_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    place = as_folder(a_tree(), tmp_path / "set")
    settle(place)
    first = data.load(place, size=8, stream=True)
    monkeypatch.setattr(keep, "digest_of", None)
    place.rename(tmp_path / "moved")
    for size in (8, 9):  # another size in pixels is of the same files
        again = data.load(tmp_path / "moved", size=size, stream=True)
        assert (again.sha256 == first.sha256) == (size == 8)
        assert isinstance(again.train.images, files.Files)
        assert isinstance(again.train.images.rows.base, np.memmap) or isinstance(again.train.images.rows, np.memmap)
        assert again.train.images[:].shape == (len(first.train), size, size, 3)
    (kept,) = cache.glob("listed-*")
    with (kept / "train-rows.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    with pytest.raises(TypeError):  # damaged: the files are read again
        data.load(tmp_path / "moved", size=10, stream=True)


def test_a_set_is_streamed_where_it_would_take_too_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = a_tree()
    count, size = len(tree), 8
    places = [as_folder(tree, tmp_path / "a"), as_archives(tree, tmp_path / "b", "tar"), one_tar(tmp_path / "c")]
    places += [imagenet_tars(tmp_path / "d"), as_archives(tree, tmp_path / "e", "tar.xz")]
    places += [write(tmp_path / "set.zip", zip_bytes(tree)), Cifar().parquet(tmp_path / "f")]
    counts = [count, count, count, 9, count, count, len(Cifar().train) + len(Cifar().test)]
    for place, n in zip(places, counts, strict=True):
        enough = room.SHARE * n * 3 * size * size
        for memory, kind in ((enough, "pixels"), (enough - 1, "manifest")):
            monkeypatch.setattr(room, "memory", lambda memory=memory: memory)
            assert data.load(place, size=size).hash_kind == kind, (place, memory)
            assert data.load(place, size=size, stream=kind == "pixels").hash_kind != kind
    assert data.load(size=size).hash_kind == "pixels"  # what has no files to stay in is held


def test_memory_is_that_of_the_machine() -> None:
    assert 1 << 28 < room.memory() < 1 << 50


def test_what_cannot_be_streamed_is_told() -> None:
    with pytest.raises(UserError, match="holds its images in memory") as caught:
        data.load("fashion-mnist-10k", size=8, stream=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["shorter", "longer", "gone", "damaged"])
def test_a_file_that_changes_later_is_told(tmp_path: Path, change: str) -> None:
    place = as_folder(a_tree(), tmp_path)
    images = data.load(place, size=8, stream=True).train.images
    file = place / "train" / "2" / "8.png"
    content = file.read_bytes()
    if change == "gone":
        file.unlink()
    else:
        file.write_bytes({"shorter": content[:-9], "longer": content + b"x", "damaged": bytes(len(content))}[change])
    with pytest.raises(UserError, match=r"8\.png") as caught:
        images[:]
    assert "\n" not in str(caught.value)


def test_a_tar_that_is_cut_off_later_is_told(tmp_path: Path) -> None:
    place = one_tar(tmp_path)
    images = data.load(place, size=8, stream=True).train.images
    os.truncate(place, 2000)
    with pytest.raises(UserError, match=r"set\.tar: train/.* has changed"):
        images[:]


def test_hostile_archives_are_refused_as_in_memory(tmp_path: Path) -> None:
    for name, member in (("train/../../x/a.png", "outside"), ("train/a/1.png", "twice")):
        tree = [(n, c) for n, c in a_tree().items()] + [(name, jpeg(1))] * 2
        out = b"".join(tar({n: c})[:-10240] if len(tar({n: c})) > 10240 else tar({n: c})[:1024] for n, c in tree)
        place = write(tmp_path / f"{member}.tar", out + bytes(1024))
        fails(place, "")
        with pytest.raises(UserError):
            data.load(place, size=8, stream=True)


def test_mean_and_deviation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    held = data.load(as_folder(a_tree(), tmp_path / "a"), size=8)
    streamed = data.load(tmp_path / "a", size=8, stream=True)
    assert streamed.moments.of == held.moments.of == "all training images"
    np.testing.assert_array_equal(streamed.mean, held.mean)
    np.testing.assert_array_equal(streamed.std, held.std)

    monkeypatch.setattr(files, "SAMPLE", 5)
    for path in cache.glob("moments-*"):
        path.unlink()
    some = data.load(tmp_path / "a", size=8, stream=True).train
    found = files.moments("own", some, "x" * 64)
    assert found.of == "5 training images, drawn by seed"
    of = [set_ for set_ in _fives(held.train.images) if np.array_equal(moments_of(set_, "").mean, found.mean)]
    assert len(of) >= 1
    # Kept by the hash of the split.
    again = files.moments("own", None, "x" * 64)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.mean, found.mean)

    known = data.load(ImageNet(WNIDS).folders(tmp_path / "b"), size=8, stream=True)
    assert known.moments.of == "declared for imagenet1k"
    assert known.mean.tolist() == [0.485, 0.456, 0.406]


def _fives(images: np.ndarray) -> list[np.ndarray]:
    from itertools import combinations

    return [images[list(which)] for which in combinations(range(len(images)), 5)]


def test_what_is_told(tmp_path: Path) -> None:
    place = as_folder(a_tree(), tmp_path)
    text = "\n".join(about.about(str(place), 8, True).lines())
    assert "streamed: images stay in their files" in text
    assert f"sha256: {hashes(place)[0]}" in text
    assert "no memory for the images" in text
    assert all(good for good, _ in about.checks(str(place), 8))


def test_decoded_images_are_mapped_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the processes of a grid share them."""
    monkeypatch.setattr(disk_cache, "WORTH", 1)
    place = as_folder(a_tree(), tmp_path)
    settle(place)
    plain = a_tree()
    for _ in range(2):
        found = data.load(place, size=8)
        base = found.train.images
        while base.base is not None and not isinstance(base, np.memmap):
            base = base.base
        assert isinstance(base, np.memmap)
        assert len(found.train) + len(found.test) == len(plain)
        data.load("fake-data", size=8)  # lets go of the kept one


def test_a_large_set_in_memory_is_mapped_whatever_its_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Cifar().python(tmp_path)
    settle(tmp_path)
    held = data.load(place)
    assert disk_cache._is_held(held.train.images)
    monkeypatch.setattr(disk_cache, "LARGE", held.train.images.nbytes)
    for _ in range(2):
        data.load("fake-data", size=8)  # lets go of the kept one
        found = data.load(place)
        assert not disk_cache._is_held(found.train.images)
        assert (found.sha256, found.name, found.space) == (held.sha256, held.name, held.space)
    data.load("fake-data", size=8)
    write(place / "data_batch_1", Cifar().python(tmp_path / "other").joinpath("data_batch_2").read_bytes())
    assert data.load(place).sha256 != held.sha256
