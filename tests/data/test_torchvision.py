"""The loaders against torchvision's data set classes, which read the same files: images and labels are equal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lcrbench.bench import data
from lcrbench.bench.data import Split
from tests.data.some_data import a_tree, as_archives, as_folder, idx_folder, picture

datasets = pytest.importorskip("torchvision.datasets")
transforms = pytest.importorskip("torchvision.transforms")

SPLITS = ("train", "test")


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def arrays(theirs: object, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a data set of torchvision's as images (N, H, W, 3) and labels (N,)."""
    pairs = [theirs[i] for i in range(number)]  # type: ignore[index]
    return np.stack([pixels(image) for image, _ in pairs]), np.array([label for _, label in pairs])


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
@pytest.mark.parametrize("side", [28, 32])
def test_idx_files_as_torchvision_reads_them(tmp_path: Path, name: str, side: int) -> None:
    """Images of 28 px are padded by 2 px of zeros, as torchvision's own transform pads them."""
    idx_folder(tmp_path / name / "raw", packed=False, side=side)
    ours = data.load(str(tmp_path), size=32)
    pad = transforms.Pad(2) if side == 28 else None
    for split, train in ((ours.train, True), (ours.test, False)):
        theirs = getattr(datasets, name)(str(tmp_path), train=train, download=False, transform=pad)
        assert len(theirs) == len(split) == (30 if train else 10)
        images, labels = arrays(theirs, len(theirs))
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)
    packed = data.load(str(idx_folder(tmp_path / "packed", side=side)), size=32)
    assert packed.sha256 == ours.sha256, "gzip changes nothing"


def theirs_by_class(theirs: object) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Return by class name what torchvision reads: the file's name and the pixels, the latter through its own loader."""
    found: dict[str, list[tuple[str, np.ndarray]]] = {name: [] for name in theirs.classes}  # type: ignore[attr-defined]
    for i, (path, label) in enumerate(theirs.samples):  # type: ignore[attr-defined]
        image, again = theirs[i]  # type: ignore[index]
        assert again == label
        found[theirs.classes[label]].append((path, pixels(image)))  # type: ignore[attr-defined]
    return found


def ours_by_class(split: Split, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: split.images[split.labels == label] for label, name in enumerate(classes)}


def in_our_order(files: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """Order files as a person counts, "9.png" before "10.png": torchvision orders them by letters."""
    return np.stack([image for _, image in sorted(files, key=lambda pair: int(Path(pair[0]).stem))])


def numbered(folder: Path, classes: tuple[str, ...], form: str = "PNG") -> Path:
    """Write a folder of numbered square pictures in RGB, whose numbers go over 10."""
    tree = {
        f"{split}/{name}/{i}.{form.lower()}": picture(100 * k + i, form=form, mode=mode)
        for split, number in (("train", 12), ("test", 3))
        for k, name in enumerate(classes)
        for i, mode in zip(range(number), ("RGB", "L", "RGB") * 4, strict=False)
    }
    return as_folder(tree, folder)


@pytest.mark.parametrize("form", ["PNG", "BMP", "JPEG"])
@pytest.mark.parametrize("classes", [("ant", "bee", "cat"), ("2", "10", "b")], ids=["by letters", "by numbers"])
def test_class_folders_as_torchvision_reads_them(tmp_path: Path, form: str, classes: tuple[str, ...]) -> None:
    place = numbered(tmp_path / "data", classes, form)
    ours = data.load(str(place), size=8)
    assert ours.classes == classes, "in natural order"
    for name, split in zip(SPLITS, (ours.train, ours.test), strict=True):
        theirs = datasets.ImageFolder(str(place / name))
        assert set(theirs.classes) == set(classes)
        assert len(theirs) == len(split)
        for label, files in theirs_by_class(theirs).items():
            np.testing.assert_array_equal(ours_by_class(split, ours.classes)[label], in_our_order(files))
        if sorted(classes) == list(classes):
            # Then labels are the same numbers too.
            counts = np.bincount([label for _, label in theirs.samples])
            np.testing.assert_array_equal(np.bincount(split.labels), counts)
            first = [next(p for p, c in theirs.samples if c == k) for k in range(len(classes))]
            assert [Path(p).parent.name for p in first] == list(ours.classes)


def test_a_folder_read_by_a_loader_of_its_own(tmp_path: Path) -> None:
    place = numbered(tmp_path / "data", ("ant", "bee"))
    ours = data.load(str(place), size=8)
    theirs = datasets.DatasetFolder(str(place / "train"), lambda path: np.asarray(Image.open(path)), (".png",))
    for label, name in enumerate(theirs.classes):
        files = [(path, pixels(Image.fromarray(theirs.loader(path)))) for path, k in theirs.samples if k == label]
        np.testing.assert_array_equal(ours_by_class(ours.train, ours.classes)[name], in_our_order(files))


def test_archives_hold_what_torchvision_reads_of_the_folder(tmp_path: Path) -> None:
    """Several formats and sizes in one tree: those that are 8 x 8 are compared by their pixels, all by their number."""
    tree = a_tree()
    as_folder(tree, tmp_path / "data")
    ours = data.load(str(as_archives(tree, tmp_path / "packed", "tar.gz")), size=8)
    for name, split in zip(SPLITS, (ours.train, ours.test), strict=True):
        theirs = datasets.ImageFolder(str(tmp_path / "data" / name))
        for label, files in theirs_by_class(theirs).items():
            mine = ours_by_class(split, ours.classes)[label]
            assert len(mine) == len(files)
            there = {image.tobytes() for _, image in files if image.shape == (8, 8, 3)}
            assert there <= {image.tobytes() for image in mine}
