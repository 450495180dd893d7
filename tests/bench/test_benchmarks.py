"""Benchmarks that were not made of a network's own test images, ImageNet-C made in memory, and how images are fitted."""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.spaces import ids
from lcrbench.bench.evaluation import benchmarks, test_sets
from lcrbench.bench.records.spec import CLEAN, Cell, Preprocessing
from lcrbench.corruption_names import COMMON, SUITES
from lcrbench.corruptions import archive, corrupt
from lcrbench.errors import UserError
from lcrbench.images import decode

from .test_test_sets import answers, cifar, cifar_c, imagenet_tree, shown

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Dataset]:
    """A small stand-in for the published CIFAR-10-C, and the data set that it was made of."""
    dataset = cifar()
    folder = cifar_c(tmp_path / "CIFAR-10-C", dataset)
    table = {
        "CIFAR-10-C": {
            "md5": {f.name: hashlib.md5(f.read_bytes()).hexdigest() for f in folder.iterdir()},
            "tars": {},
            "url": "",
        }
    }
    monkeypatch.setattr(archive, "published", lambda: table)
    return folder, dataset


def reencoded(dataset: Dataset) -> Dataset:
    """The same classes in another order of images, as a mirror of CIFAR-10 in class folders has them."""
    order = np.argsort(dataset.test.labels, kind="stable")
    test = Split(dataset.test.images[order] // 2, dataset.test.labels[order])
    return Dataset("cifar10-jpeg75", dataset.classes, dataset.train, test)


def test_a_benchmark_of_other_images_with_the_same_classes_is_shown_without_clean_ones(
    published: tuple[Path, Dataset],
) -> None:
    folder, dataset = published
    own = test_sets.open_set(f"cifar10-c={folder}", dataset, 32, 100)
    assert (own.notes, own.protocol.test.clean, own.protocol.cells[0]) == ((), True, CLEAN)
    other = test_sets.open_set(f"cifar10-c={folder}", reencoded(dataset), 32, 100)
    test = other.protocol.test
    assert (test.published, test.clean, test.chosen, test.images) == (True, False, None, 40)
    assert CLEAN not in other.protocol.cells
    assert len(other.notes) == 1
    assert "its clean images are not the test images of cifar10-jpeg75" in other.notes[0]
    # Another look than that of the network's own test images, and the same answers in the cells.
    assert other.protocol.look != own.protocol.look
    expected, found = shown(own, 10), shown(other, 10)
    assert CLEAN not in found
    assert all(np.array_equal(found[cell], expected[cell]) for cell in found)
    assert len(found) == 10
    assert np.array_equal(other.dataset.test.labels, dataset.test.labels)


def test_what_a_label_means_must_be_known(published: tuple[Path, Dataset], tmp_path: Path) -> None:
    folder, dataset = published
    moved = reencoded(dataset)
    renamed = Dataset("x", tuple(f"c{k}" for k in range(10)), moved.train, moved.test)
    with pytest.raises(UserError, match="does not belong to the test images of x"):
        test_sets.open_set(str(folder), renamed, 32, 100)
    # The labels of nobody's archive name nothing.
    mine = cifar_c(tmp_path / "mine", cifar(60))
    with pytest.raises(UserError, match="does not belong"):
        test_sets.open_set(str(mine), moved, 32, 100)


def tree(root: Path, wnids: tuple[str, ...], dataset: Dataset, names: tuple[str, ...] = ("fog",)) -> Path:
    for path, content in imagenet_tree(wnids, dataset, names).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def test_a_tree_is_shown_to_a_network_of_other_photographs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wnids = ids("imagenet1k")[:3]
    split = Split(rng.integers(0, 200, (6, 8, 8, 3), dtype=np.uint8), np.array([0, 0, 1, 1, 2, 2]))
    made_of = Dataset("imagenet", wnids, split, split, space="imagenet1k")
    root = tree(tmp_path / "c", wnids, made_of)
    few = Split(split.images[::2].copy(), split.labels[::2])
    other = test_sets.open_set(str(root), Dataset("samples", wnids, few, few, space="imagenet1k"), 8, 100)
    assert (other.protocol.test.clean, len(other.dataset.test)) == (False, 6)
    found = shown(other, 3)
    for s in range(1, 6):
        assert np.array_equal(found[Cell("fog", s)], answers(split.images + np.uint8(s), 3))
    # Class folders of one's own mean nothing elsewhere.
    with pytest.raises(UserError, match="does not belong"):
        test_sets.open_set(str(root), Dataset("own", wnids, few, few), 8, 100)
    # Tiny-ImageNet-C has as many images of each class as Tiny-ImageNet, and was made of others.
    (tmp_path / "c").rename(tmp_path / "Tiny-ImageNet-C")
    tiny = test_sets.open_set(str(tmp_path / "Tiny-ImageNet-C"), made_of, 8, 100)
    assert not tiny.protocol.test.clean
    assert "crops of ImageNet's validation images" in tiny.notes[0]


def test_why_unpacked_images_get_no_mce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "ids", lambda space: ids(space)[:2])
    wnids = ids("imagenet1k")[:2]
    split = Split(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]))
    dataset = Dataset("imagenet", wnids, split, split, space="imagenet1k")
    other = test_sets.open_set(f"imagenet-c={tree(tmp_path / 'c', wnids, dataset, COMMON)}", dataset, 8, 100)
    assert (other.protocol.test.name, other.protocol.test.published) == ("imagenet-c (mine)", False)
    assert len(other.notes) == 1
    assert "name the folder of the .tar files" in other.notes[0]
    part = test_sets.open_set(str(tree(tmp_path / "part", wnids, dataset)), dataset, 8, 100)
    assert part.notes == ()


# ---------------------------------------------------------------------------------------------------- made in memory


@pytest.fixture
def photographs(tmp_path: Path) -> tuple[Path, Dataset]:
    """Class folders of oblong images of several sizes, and a data set of the same classes at 224 px."""
    wnids = ids("imagenet1k")[:3]
    rng = np.random.default_rng(1)
    for k, (width, height) in enumerate(((300, 260), (257, 401), (512, 256))):
        small = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        folder = tmp_path / "photographs" / wnids[k]
        folder.mkdir(parents=True)
        image.save(folder / "1.JPEG", quality=90)
    split = Split(np.zeros((3, 224, 224, 3), np.uint8), np.arange(3))
    return tmp_path / "photographs", Dataset("imagenet", wnids, split, split, space="imagenet1k")


def as_torchvision(file: Path, resize: int, crop: int) -> np.ndarray:
    torchvision = pytest.importorskip("torchvision")
    both = [torchvision.transforms.Resize(resize), torchvision.transforms.CenterCrop(crop)]
    return np.asarray(torchvision.transforms.Compose(both)(Image.open(file).convert("RGB")))


@pytest.mark.parametrize("resize", [224, 232, 256])
def test_images_are_resized_and_cut_as_torchvision_does_it(photographs: tuple[Path, Dataset], resize: int) -> None:
    root, dataset = photographs
    other = test_sets.open_set(f"v2={resize}/224:{root}", dataset, 224, 100)
    assert other.protocol.preprocessing == Preprocessing(resize=resize, crop=224)
    wanted = [as_torchvision(file, resize, 224) for file in sorted(root.rglob("*.JPEG"))]
    assert np.array_equal(other.dataset.test.images, np.stack(wanted))
    plain = test_sets.open_set(f"v2={root}", dataset, 224, 100).protocol
    assert plain.preprocessing is None
    assert plain.look != other.protocol.look


@pytest.mark.parametrize("fit", ["256/128", "200/224", "226/224"])
def test_a_fit_that_cannot_be_is_refused(photographs: tuple[Path, Dataset], fit: str) -> None:
    root, dataset = photographs
    way = "SIDE/224:PATH" if fit == "256/128" else "resize to 224, 228, 232 ..."
    with pytest.raises(UserError, match=way) as error:
        test_sets.open_set(f"v2={fit}:{root}", dataset, 224, 100)
    assert "\n" not in str(error.value)


def test_generated_imagenet_c(photographs: tuple[Path, Dataset]) -> None:
    root, dataset = photographs
    other = test_sets.open_set(f"imagenet-c=generated:{root}", dataset, 224, 100)
    protocol = other.protocol
    assert (protocol.test.name, protocol.test.benchmark, protocol.test.published) == ("generated ImageNet-C", "", None)
    assert (protocol.corruptions, protocol.severities) == (COMMON, (1, 2, 3, 4, 5))
    assert (protocol.jpeg, protocol.preprocessing) == (85, Preprocessing(resize=256, crop=224))
    images = np.stack([as_torchvision(file, 256, 224) for file in sorted(root.rglob("*.JPEG"))])
    numbers = np.arange(3)
    for name in ("fog", "gaussian_noise"):
        found = other.cells.images(images, Cell(name, 3), numbers, seed=0, stream=protocol.noise)
        made = corrupt(images, name, 3, stream=protocol.noise)
        for k in range(3):
            # The corruption first, and then the file that the script writes.
            file = io.BytesIO()
            Image.fromarray(made[k]).save(file, "JPEG", quality=85, optimize=True)
            assert np.array_equal(found[k], decode(file.getvalue(), "it"))
        assert not np.array_equal(found, made)
    assert np.array_equal(other.cells.images(images, CLEAN, numbers, seed=0, stream=""), images)
    named = test_sets.open_set(f"mine=generated-bar:{root}", dataset, 224, 100).protocol
    assert (named.test.name, named.corruptions) == ("mine (generated ImageNet-C-bar)", SUITES["imagenet-c-bar"])
    # Neither its round trip nor its fit is left out of what its predictions are found by.
    for change in ({"jpeg": None}, {"preprocessing": None}, {"stream": "other"}):
        assert protocol.model_copy(update=change).look != protocol.look


def test_generated_is_of_imagenet_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"of cifar10 \(label space cifar10\) at 32 px") as error:
        test_sets.open_set(f"x=generated:{tmp_path}", cifar(), 32, 100)
    assert "\n" not in str(error.value)
