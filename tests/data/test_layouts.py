"""Published layouts: each is read as it lies on disk, and one set is the same data set in every layout."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from layouts import CIFAR10, TINY, Cifar, ImageNet, fine_names, jpeg, packed, tiny_imagenet, write
from PIL import Image
from some_data import same

from lcrbench.bench import data
from lcrbench.bench.data import disk_cache, spaces
from lcrbench.bench.data.arrays import Split
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.training.parts import load as parts_of
from lcrbench.bench.training.spent import Spent
from lcrbench.bench.training.stream import batches

pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
WNIDS = ["n01440764", "n01443537", "n02123045"]


def holds(split: Split, images: np.ndarray, labels: np.ndarray) -> None:
    assert np.array_equal(split.images, images)
    assert np.array_equal(split.labels, labels)


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_is_one_data_set_in_every_layout(tmp_path: Path, classes: int) -> None:
    made = Cifar(classes, batch=40)
    python, binary = made.python(tmp_path / "py"), made.binary(tmp_path / "bin")
    name = f"cifar-{classes}"
    places = {
        "python": python,
        "python, a folder up": tmp_path / "py",
        "python, archive": packed(python, tmp_path / "a" / f"{name}-python.tar.gz"),
        "python, archive in a folder": tmp_path / "a",
        "python, archive of another name": packed(python, tmp_path / "b" / "mine.tar.gz"),
        "binary": binary,
        "binary, archive": packed(binary, tmp_path / "c" / f"{name}-binary.tar.gz"),
        "parquet": made.parquet(tmp_path / "hf"),
        "parquet, the config's folder": tmp_path / "hf" / ("plain_text" if classes == 10 else "cifar100"),
    }
    loaded = {what: data.load(str(place)) for what, place in places.items()}
    first = loaded["python"]
    holds(first.train, made.train, made.train_labels)
    holds(first.test, made.test, made.test_labels)
    assert first.classes == tuple(CIFAR10 if classes == 10 else fine_names())
    for what, one in loaded.items():
        assert one.name == one.space == f"cifar{classes}", what
        assert one.skipped == 0, what
        same(first, one)
    assert {one.layout for one in loaded.values()} == {"cifar_python", "cifar_binary", "parquet_files"}
    assert (first.published, loaded["binary"].published, loaded["binary, archive"].published) == (False, None, False)
    sizes = {data.load(str(places[what]), size=16).sha256 for what in ("python", "binary", "parquet")}
    assert len(sizes) == 1


def test_torchvision_reads_the_same_of_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    for kind, classes in ((datasets.CIFAR10, 10), (datasets.CIFAR100, 100)):
        made = Cifar(classes)
        folder = made.python(tmp_path)

        def md5(name: str, folder: Path = folder) -> str:
            return hashlib.md5((folder / name).read_bytes()).hexdigest()

        for half in ("train_list", "test_list"):
            monkeypatch.setattr(kind, half, [[name, md5(name)] for name, _ in getattr(kind, half)])
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(kind.meta["filename"])})
        ours = data.load(str(folder))
        for train, split in ((True, ours.train), (False, ours.test)):
            theirs = kind(tmp_path, train=train)
            holds(split, theirs.data, np.array(theirs.targets))
        assert tuple(theirs.classes) == ours.classes


def test_tiny_imagenet(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    top = tiny_imagenet(tmp_path)
    loaded = data.load(str(top), size=64)
    assert (loaded.name, loaded.space, loaded.layout) == ("tiny-imagenet-200", spaces.TINY, "tiny_imagenet")
    assert loaded.classes == tuple(sorted(TINY))
    assert dict(loaded.reasons) == {"of test/, which has no labels": 1}
    labels = dict(line.split("\t")[:2] for line in (top / "val" / "val_annotations.txt").read_text().splitlines())
    order = sorted(labels, key=lambda name: (labels[name], int(name[4:-5])))
    holds(
        loaded.test,
        np.stack([np.asarray(Image.open(top / "val" / "images" / name)) for name in order]),
        np.array([loaded.classes.index(labels[name]) for name in order]),
    )
    theirs = ImageFolder(str(top / "train"))
    holds(loaded.train, np.stack([np.asarray(i) for i, _ in theirs]), np.array(theirs.targets))

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file in sorted(top.rglob("*")):
            archive.write(file, file.relative_to(tmp_path))
    zipped = write(tmp_path / "z" / "tiny-imagenet-200.zip", out.getvalue())
    for place in (tmp_path, zipped, zipped.parent):
        same(loaded, data.load(str(place), size=64))
    # Sorted into class folders, as many scripts do.
    for name, wnid in labels.items():
        to = top / "val" / wnid / "images" / name
        to.parent.mkdir(parents=True, exist_ok=True)
        (top / "val" / "images" / name).rename(to)
    (top / "val" / "val_annotations.txt").unlink()
    same(loaded, data.load(str(top), size=64))


def test_imagenet_is_one_data_set_in_every_layout(tmp_path: Path) -> None:
    """With all 1,000 classes, because parquet and WebDataset number them."""
    made = ImageNet(list(spaces.ids("imagenet1k")), train=1)
    places = {
        "class_folders": made.folders(tmp_path / "folders"),
        "imagenet": made.devkit(made.tars(tmp_path / "tars")),
        "parquet_files": made.shards(tmp_path / "hf"),
        "webdataset_tars": made.webdataset(tmp_path / "wds"),
    }
    loaded = {layout: data.load(str(place), size=8) for layout, place in places.items()}
    for layout, one in loaded.items():
        assert (one.layout, one.space) == (layout, "imagenet1k")
        assert one.classes == spaces.ids("imagenet1k")
        same(loaded["class_folders"], one)


def test_imagenets_validation_labels_from_every_table(tmp_path: Path) -> None:
    made = ImageNet(WNIDS, train=3, val=4)
    reference = data.load(str(made.folders(tmp_path / "folders")), size=8)
    assert reference.space == "imagenet1k"
    flat = [
        made.devkit(made.folders(tmp_path / "devkit", flat=True)),
        made.devkit(made.folders(tmp_path / "unpacked", flat=True), packed_up=False),
        made.meta_bin(made.folders(tmp_path / "meta", flat=True)),
        made.kaggle(tmp_path / "kaggle"),
        made.meta_bin(made.tars(tmp_path / "tars")),
    ]
    for place in flat:
        loaded = data.load(str(place), size=8)
        assert loaded.layout == "imagenet"
        same(reference, loaded)


def test_torchvision_reads_the_same_of_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parser of the devkit, and its class for train/, val/ and meta.bin."""
    from torchvision.datasets import ImageNet as Theirs
    from torchvision.datasets.imagenet import ARCHIVE_META, parse_devkit_archive

    made = ImageNet(WNIDS, val=3)
    root = made.devkit(made.folders(tmp_path))
    digest = hashlib.md5((root / "ILSVRC2012_devkit_t12.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setitem(ARCHIVE_META, "devkit", ("ILSVRC2012_devkit_t12.tar.gz", digest))
    parse_devkit_archive(root)
    for split, ours in (("train", data.load(str(root), size=8).train), ("val", data.load(str(root), size=8).test)):
        theirs = Theirs(str(root), split=split)
        # Their files are in the order of text, 10 before 3; ours in natural order. Of 9 px the first 8 are the centre.
        order = sorted(
            range(len(theirs)), key=lambda i: (theirs.targets[i], int(theirs.samples[i][0][:-5].split("_")[-1]))
        )
        centre = [np.asarray(theirs[i][0])[:, :8] for i in order]
        holds(ours, np.stack(centre), np.array([theirs.targets[i] for i in order]))


def test_json_labels_and_classes_of_ones_own_in_webdataset(tmp_path: Path) -> None:
    made = ImageNet(WNIDS)
    ranks = {wnid: spaces.ids("imagenet1k").index(wnid) for wnid in WNIDS}
    one = data.load(str(made.webdataset(tmp_path / "cls", "cls", ranks)), size=8)
    same(one, data.load(str(made.webdataset(tmp_path / "json", "json", ranks)), size=8))
    assert (len(one.classes), one.space) == (1000, "imagenet1k")


def test_webdataset_of_other_keys(tmp_path: Path) -> None:
    from layouts import tar

    for half in ("train", "test"):
        files = {
            f"{k:06d}.{e}": c
            for k in range(6)
            for e, c in (("png.x", b""), ("cls", str(k % 3).encode()), ("jpg", jpeg(k)))
        }
        write(tmp_path / f"mine-{half}-0.tar", tar(files))
    loaded = data.load(str(tmp_path), size=8)
    assert (loaded.classes, loaded.space) == (("0", "1", "2"), "own")
    assert loaded.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dict(loaded.reasons) == {"ending in .png.x": 12}


def test_cifar10_1_is_a_test_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8), np.repeat(np.arange(10), 2).astype(np.int32)
    (tmp_path / "datasets").mkdir()
    for version, keep in (("v4", slice(0, 10)), ("v6", slice(None))):
        np.save(tmp_path / "datasets" / f"cifar10.1_{version}_data.npy", images[keep])
        np.save(tmp_path / "datasets" / f"cifar10.1_{version}_labels.npy", labels[keep])
    found = data.load_test(tmp_path)
    assert (found.name, found.classes, found.space, found.published) == (
        "cifar10.1-v6",
        tuple(CIFAR10),
        "cifar10",
        False,
    )
    holds(found.split, images, labels)
    with pytest.raises(ValueError, match="--test-set"):
        data.load(tmp_path)


def test_imagenet_v2s_folders_are_numbers(tmp_path: Path) -> None:
    top = tmp_path / "imagenetv2-matched-frequency-format-val"
    for k in range(1000):
        write(top / str(k) / "0001.jpeg", jpeg(k))
    for place in (top, tmp_path):
        found = data.load_test(place, size=8)
        assert (found.space, found.classes) == ("imagenet1k", spaces.ids("imagenet1k"))
        assert found.split.labels.tolist() == list(range(1000))
        for k in (2, 10, 999):
            assert np.array_equal(found.split.images[k], np.asarray(Image.open(io.BytesIO(jpeg(k)))))


@pytest.mark.parametrize("name", ["imagenet-a", "imagenet-r"])
def test_imagenet_a_and_r_have_200_classes(tmp_path: Path, name: str) -> None:
    ids = spaces.ids(name)
    assert len(set(ids)) == 200
    for k, wnid in enumerate(reversed(ids)):
        write(tmp_path / name / wnid / "x_0.jpg", jpeg(k))
    write(tmp_path / name / "README.txt", b"read me")
    found = data.load_test(tmp_path / name, size=8)
    assert (found.space, found.classes, dict(found.reasons)) == (name, ids, {"ending in .txt": 1})


def test_a_and_r_share_86_classes() -> None:
    assert len(set(spaces.ids("imagenet-a")) & set(spaces.ids("imagenet-r"))) == 86


def test_a_data_sets_own_test_split_is_a_test_set(tmp_path: Path) -> None:
    made = Cifar()
    found = data.load_test(made.python(tmp_path))
    holds(found.split, made.test, made.test_labels)
    assert found.sha256 == data.load(tmp_path).test_sha256


def test_fake_data() -> None:
    whole = data.load("fake-data", size=8)
    assert (len(whole.train), len(whole.test), len(whole.classes)) == (1000, 200, 10)
    more = data.load("fake-data:train=1500,classes=7", size=8)
    assert np.array_equal(more.train.images[:1000], whole.train.images)
    assert not np.array_equal(whole.train.images[:200], whole.test.images)
    assert 126 < whole.train.images.mean() < 129
    assert more.name == "fake-data:train=1500,classes=7"
    # Its bits are what identifies a run: of numpy's Philox, whose stream is fixed.
    assert whole.sha256 == data.load("fake-data", size=8).sha256
    assert hashlib.sha256(whole.train.images[:2].tobytes()).hexdigest()[:16] == "aa7719de16e3467f"
    for wrong in ("trian=5", "train=0", "train=x", "classes=1", "train=99999999999"):
        with pytest.raises(ValueError):
            data.load(f"fake-data:{wrong}", size=8)


def test_every_reason_for_passing_over_is_told(tmp_path: Path) -> None:
    made = ImageNet(WNIDS, train=2)
    root = made.folders(tmp_path)
    extra = {
        f"train/{WNIDS[0]}/a.jfif": "images ending in .jfif",
        f"train/{WNIDS[0]}/b.GIF": "images ending in .gif",
        f"train/{WNIDS[0]}/none": "without an ending",
        f"train/{WNIDS[0]}/._x.JPEG": "hidden",
        "train/.DS_Store": "hidden",
        f"val/.hidden/{WNIDS[0]}.JPEG": "in hidden folders",
        "val/__MACOSX/x.JPEG": "of macOS (__MACOSX)",
        "val/notes.csv": "ending in .csv",
    }
    for path in extra:
        write(root / path, b"x")
    loaded = data.load(str(root), size=8)
    assert loaded.skipped == len(extra)
    assert dict(loaded.reasons) == {why: list(extra.values()).count(why) for why in extra.values()}


@pytest.mark.parametrize("layout", ["cifar", "tiny", "imagenet", "fake"])
def test_a_few_steps_of_training(tmp_path: Path, layout: str) -> None:
    """The network gets batches of what lies on the disk."""
    import torch

    places = {
        "cifar": lambda: Cifar().python(tmp_path),
        "tiny": lambda: tiny_imagenet(tmp_path),
        "imagenet": lambda: ImageNet(WNIDS, train=8).meta_bin(ImageNet(WNIDS, train=8).tars(tmp_path)),
        "fake": lambda: "fake-data:train=40,test=10",
    }
    loaded = data.load(str(places[layout]()), size=16)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16 * 16 * 3, len(loaded.classes)))
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    stream = batches(loaded.train, 4, parts_of(Recipe()).augmentation, 0, Spent(), "cpu")
    for _ in range(3):
        images, labels = next(stream)
        loss = torch.nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()


def test_folders_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_sources import settle

    from lcrbench.bench.data import keep

    monkeypatch.setattr(disk_cache, "WORTH", 1)
    root = ImageNet(WNIDS).folders(tmp_path / "set")
    write(root / "train" / "x.gif", b"x")
    settle(root)
    first = data.load(str(root), size=8)
    data.load("fake-data", size=8)  # lets go of the kept one
    with monkeypatch.context() as patched:
        patched.setattr(keep, "decode", None)
        again = data.load(str(root), size=8)
    same(first, again)
    assert (again.reasons, again.layout, again.space) == (first.reasons, first.layout, first.space)
    write(root / "train" / WNIDS[0] / "new.JPEG", jpeg(7))
    assert len(data.load(str(root), size=8).train) == len(first.train) + 1


def test_what_is_published_of_label_spaces() -> None:
    assert spaces.ids("cifar100") == tuple(fine_names())
    ids = spaces.ids("imagenet1k")
    assert (len(ids), ids[0], ids == tuple(sorted(ids)), all(map(spaces.is_wnid, ids))) == (
        1000,
        "n01440764",
        True,
        True,
    )
    assert (
        json.loads((Path(spaces.__file__).with_name("label_spaces.json")).read_text()).keys() == spaces.spaces().keys()
    )
