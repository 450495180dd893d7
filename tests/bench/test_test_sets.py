"""`--test-set`: other test sets and corruption benchmarks, matched by class ids and by labels, never by luck."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.spaces import ids
from lcrbench.bench.data.subset import take
from lcrbench.bench.evaluation import test_sets
from lcrbench.bench.evaluation.run import evaluate
from lcrbench.bench.networks.foreign import opened, ready
from lcrbench.bench.records import env
from lcrbench.bench.records.spec import CLEAN, Cell
from lcrbench.corruptions import archive
from lcrbench.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

TEN = ids("cifar10")


def cifar(n: int = 40) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2 * n, 32, 32, 3), dtype=np.uint8)
    labels = rng.permutation(2 * n) % 10
    return Dataset("cifar10", TEN, Split(images[:n], labels[:n]), Split(images[n:], labels[n:]), space="cifar10")


def cifar_c(folder: Path, dataset: Dataset, names: tuple[str, ...] = ("fog", "frost")) -> Path:
    """Severity s of a corruption adds s to the clean images."""
    folder.mkdir(parents=True)
    for k, name in enumerate(names):
        np.save(
            folder / f"{name}.npy", np.concatenate([dataset.test.images + np.uint8(s + 10 * k) for s in range(1, 6)])
        )
    np.save(folder / "labels.npy", np.tile(dataset.test.labels, 5).astype(np.uint8))
    return folder


def shown(other: test_sets.Other, classes: int, right: bool = True) -> dict[Cell, np.ndarray]:
    """What a network answers that sums the red channel: the predicted classes by cell."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = (x[:, 0].sum((1, 2)) * 255).round().long() % classes
            return nn.functional.one_hot(total, classes).float() * self.scale + torch.linspace(0, 0.5, classes)

    provenance = env.provenance("cpu", 1, "", {}, deterministic=True)
    looked = ready(opened(Net()), other.dataset, labelled=False).looked
    found = evaluate(looked, other.dataset, other.protocol, {}, provenance, cells=other.cells)
    return {c: found.predictions.given(c, other.dataset.test_indices) for c in other.protocol.cells}


def answers(images: np.ndarray, classes: int) -> np.ndarray:
    return images[..., 0].astype(np.int64).sum((1, 2)) % classes


def test_a_benchmarks_own_images_are_shown(tmp_path: Path) -> None:
    dataset = cifar()
    other = test_sets.open_set(f"mine-c={cifar_c(tmp_path / 'mine', dataset)}", dataset, 32, 100)
    test = other.protocol.test
    assert (test.name, test.benchmark, test.published) == ("mine-c (mine)", "mine", False)
    assert (other.protocol.corruptions, other.protocol.severities) == (("frost", "fog"), (1, 2, 3, 4, 5))
    found = shown(other, 10)
    assert np.array_equal(found[CLEAN], answers(dataset.test.images, 10))
    for k, name in enumerate(("fog", "frost")):
        for s in range(1, 6):
            assert np.array_equal(found[Cell(name, s)], answers(dataset.test.images + np.uint8(s + 10 * k), 10))
    # Of a subset of the test images those that stand at its positions.
    some = take(dataset, None, 20, 0)
    part = shown(test_sets.open_set(str(tmp_path / "mine"), some, 32, 100), 10)
    assert np.array_equal(part[Cell("fog", 2)], found[Cell("fog", 2)][some.test_indices])


def test_published_files_are_told_from_mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = cifar()
    folder = cifar_c(tmp_path / "CIFAR-10-C", dataset)
    with pytest.raises(UserError, match="not that of the published CIFAR-10-C"):
        test_sets.open_set(str(folder), dataset, 32, 100)
    known = {f.name: hashlib.md5(f.read_bytes()).hexdigest() for f in folder.iterdir()}
    table = {"CIFAR-10-C": {"md5": known, "tars": {}, "url": ""}}
    monkeypatch.setattr(archive, "published", lambda: table)
    other = test_sets.open_set(f"cifar10-c={folder}", dataset, 32, 100)
    test = other.protocol.test
    assert (test.name, test.benchmark, test.published) == ("cifar10-c", "CIFAR-10-C", True)
    whole = bytearray((folder / "fog.npy").read_bytes())
    whole[-1] ^= 1
    (folder / "fog.npy").write_bytes(whole)
    with pytest.raises(UserError, match=r"'fog\.npy' .* is damaged"):
        shown(test_sets.open_set(str(folder), dataset, 32, 100), 10)


def test_a_benchmark_of_other_images_is_refused(tmp_path: Path) -> None:
    dataset = cifar()
    folder = cifar_c(tmp_path / "mine", dataset)
    shuffled = Split(dataset.test.images[::-1].copy(), dataset.test.labels[::-1].copy())
    other = Dataset("other", TEN, dataset.train, shuffled, space="cifar10")
    with pytest.raises(UserError, match="labels in another order"):
        test_sets.open_set(str(folder), other, 32, 100)
    with pytest.raises(UserError, match="does not belong"):
        test_sets.open_set(str(folder), cifar(60), 32, 100)
    (folder / "fog.npy").write_bytes((folder / "fog.npy").read_bytes()[:-9])
    with pytest.raises(UserError, match="cut off"):
        shown(test_sets.open_set(str(folder), dataset, 32, 100), 10)
    (folder / "labels.npy").unlink()
    with pytest.raises(UserError, match="lacks labels"):
        test_sets.open_set(str(folder), dataset, 32, 100)
    half = Split(dataset.test.images[:, ::2, ::2], dataset.test.labels)
    small = Dataset("small", TEN, half, half, space="cifar10")
    with pytest.raises(UserError, match="32 x 32 px"):
        shown(test_sets.open_set(str(cifar_c(tmp_path / "again", dataset)), small, 16, 100), 10)


def imagenet_tree(
    wnids: tuple[str, ...], dataset: Dataset, names: tuple[str, ...], group: str = ""
) -> dict[str, bytes]:
    files = {}
    for name in names:
        for s in range(1, 6):
            for k, (image, label) in enumerate(zip(dataset.test.images, dataset.test.labels, strict=True)):
                out = io.BytesIO()
                Image.fromarray(image + np.uint8(s)).save(out, "PNG")
                files[f"{group}{name}/{s}/{wnids[label]}/ILSVRC2012_val_{k + 1:08d}.png"] = out.getvalue()
    return files


@pytest.mark.parametrize("group", ["", "weather/"])
@pytest.mark.parametrize("form", ["tree", "tar"])
def test_imagenet_cs_trees_and_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, form: str) -> None:
    rng = np.random.default_rng(0)
    wnids = ids("imagenet1k")[:3]
    split = Split(rng.integers(0, 200, (6, 8, 8, 3), dtype=np.uint8), np.array([0, 0, 1, 1, 2, 2]))
    dataset = Dataset("imagenet-mini", wnids, split, split, space="imagenet1k")
    files = imagenet_tree(wnids, dataset, ("fog", "frost"), group)
    root = tmp_path / "c"
    root.mkdir()
    if form == "tar":
        with tarfile.open(root / "weather.tar", "w") as tar:
            for path, content in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    else:
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
    other = test_sets.open_set(f"imagenet-c={root}", dataset, 8, 100)
    assert other.protocol.test.published is False
    found = shown(other, 3)
    for s in range(1, 6):
        assert np.array_equal(found[Cell("frost", s)], answers(split.images + np.uint8(s), 3))
    if form == "tar":
        md5 = hashlib.md5((root / "weather.tar").read_bytes()).hexdigest()
        table = {"ImageNet-C": {"tars": {"weather.tar": md5}, "url": ""}}
        monkeypatch.setattr(archive, "published", lambda: table)
        test = test_sets.open_set(f"imagenet-c={root}", dataset, 8, 100).protocol.test
        assert (test.benchmark, test.published, test.name) == ("ImageNet-C", True, "imagenet-c")
    less = Dataset("more", ids("imagenet1k")[:4], split, split, space="imagenet1k")
    with pytest.raises(UserError, match="1 classes of more"):
        test_sets.open_set(str(root), less, 8, 100)


def test_classes_are_matched_by_id(tmp_path: Path) -> None:
    """Folders of a test set in another order, and of a part of the classes."""
    from layouts import jpeg, write

    rng = np.random.default_rng(0)
    wnids = ids("imagenet1k")[:5]
    split = Split(rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8), np.arange(5))
    dataset = Dataset("five", wnids, split, split, space="imagenet1k")
    for k, wnid in enumerate((wnids[3], wnids[1])):
        write(tmp_path / "some" / wnid / "1.jpg", jpeg(k))
    other = test_sets.open_set(str(tmp_path / "some"), dataset, 8, 100)
    assert other.dataset.test.labels.tolist() == [1, 3]
    assert (other.protocol.test.name, other.protocol.corruptions, other.protocol.test.columns) == ("some", (), ())
    write(tmp_path / "some" / ids("imagenet1k")[9] / "1.jpg", jpeg(9))
    with pytest.raises(UserError, match="1 classes that five does not have"):
        test_sets.open_set(str(tmp_path / "some"), dataset, 8, 100)


def test_the_answer_on_imagenet_a_is_among_its_classes(tmp_path: Path) -> None:
    from layouts import jpeg, write

    every = ids("imagenet1k")
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (1000, 8, 8, 3), dtype=np.uint8), np.arange(1000))
    dataset = Dataset("imagenet", every, split, split, space="imagenet1k")
    for k, wnid in enumerate(ids("imagenet-a")):
        write(tmp_path / "imagenet-a" / wnid / "1.jpg", jpeg(k))
    other = test_sets.open_set(f"imagenet-a={tmp_path / 'imagenet-a'}", dataset, 8, 100)
    columns = [every.index(wnid) for wnid in ids("imagenet-a")]
    assert list(other.protocol.test.columns) == columns
    assert other.dataset.test.labels.tolist() == columns
    total = answers(other.dataset.test.images, 1000)
    # The ramp of the network's logits decides where its own answer is none of the set's.
    expected = np.where(np.isin(total, columns), total, columns[-1])
    assert np.array_equal(shown(other, 1000)[CLEAN], expected)
    assert len(set(expected.tolist())) > 5


def test_looks_differ(tmp_path: Path) -> None:
    """What was answered on one benchmark is not taken for the answer on another, nor on what is made here."""
    dataset = cifar()
    one = test_sets.open_set(str(cifar_c(tmp_path / "one", dataset)), dataset, 32, 100).protocol
    two = test_sets.open_set(str(cifar_c(tmp_path / "two", dataset, ("frost", "fog"))), dataset, 32, 100).protocol
    assert one.look != two.look
    plain = one.model_copy(update={"test": one.test.model_copy(update={"benchmark_sha256": ""})})
    assert set(plain.look) == {"test", "size", "seed", "block"}


@pytest.mark.parametrize("text", ["cifar10-c=", "x=/nowhere/at/all", "/nowhere/at/all"])
def test_what_is_not_there(text: str) -> None:
    with pytest.raises(UserError) as caught:
        test_sets.open_set(text, cifar(), 32, 100)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_run_with_test_sets(tmp_path: Path) -> None:
    """The command from the data to the report, twice: the second time nothing is shown again."""
    import subprocess

    from layouts import Cifar

    made = Cifar(10, batch=40, test=40)
    folder = made.python(tmp_path)
    dataset = Dataset("cifar10", TEN, Split(made.train, made.train_labels), Split(made.test, made.test_labels))
    benchmark = cifar_c(tmp_path / "mine", dataset)
    np.save(tmp_path / "cifar10.1_v6_data.npy", made.test[:20])
    np.save(tmp_path / "cifar10.1_v6_labels.npy", made.test_labels[:20].astype(np.int32))
    (tmp_path / "new").mkdir()
    for part in ("data", "labels"):
        (tmp_path / f"cifar10.1_v6_{part}.npy").rename(tmp_path / "new" / f"cifar10.1_v6_{part}.npy")
    command = [
        sys.executable,
        "-m",
        "lcrbench",
        "run",
        "quick",
        "--data",
        str(folder),
        "--methods",
        "irnet",
        "--epochs",
        "1",
    ]
    command += ["--corruptions", "fog", "--severities", "3", "--batch", "20", "--set", "metrics={accuracy={}}"]
    command += ["--test-set", f"mine-c={benchmark}", "--test-set", f"cifar10.1={tmp_path / 'new'}", "--store", "runs"]
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        page = next((tmp_path / "runs" / "reports").glob("*/*.html")).read_text(encoding="utf-8")
        assert "mine-c (mine)" in page
        assert "cifar10.1 (mine)" in page
    evaluations = list((tmp_path / "runs" / "evaluations").glob("*/record.json"))
    assert len(evaluations) == 3
