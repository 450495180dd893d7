"""Wrong, truncated, shuffled and hostile copies of published layouts: one line each, which names the layout or the file."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import (
    TINY,
    Cifar,
    ImageNet,
    array,
    fine_names,
    jpeg,
    number,
    packed,
    pickled,
    tar,
    text,
    tiny_imagenet,
    write,
)
from PIL import Image
from some_data import fails

from lcrbench.bench import data
from lcrbench.bench.data import pickles, spaces
from lcrbench.errors import UserError

WNIDS = ["n01440764", "n01443537", "n02123045"]

# --------------------------------------------------------------------------------------------------------------- CIFAR


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_layout_that_lacks_a_file_is_named(tmp_path: Path, form: str) -> None:
    for k, (made, write_it, gone, title) in enumerate(
        [
            (Cifar(), Cifar.python, "test_batch", "CIFAR-10's python version"),
            (Cifar(), Cifar.binary, "data_batch_3.bin", "CIFAR-10's binary version"),
            (Cifar(100), Cifar.python, "train", "CIFAR-100's python version"),
            (Cifar(100), Cifar.binary, "test.bin", "CIFAR-100's binary version"),
        ]
    ):
        folder = write_it(made, tmp_path / str(k))
        (folder / gone).unlink()
        fails(
            packed(folder, tmp_path / f"{k}.tar.gz") if form == "archive" else folder,
            title,
            f"without {gone}",
            "unpack",
        )


@pytest.mark.parametrize("classes", [10, 100])
def test_cifars_files_cut_off_anywhere(tmp_path: Path, classes: int) -> None:
    made = Cifar(classes)
    for folder, name in (
        (made.python(tmp_path), "test_batch" if classes == 10 else "test"),
        (made.binary(tmp_path), "test_batch.bin" if classes == 10 else "test.bin"),
    ):
        whole = (folder / name).read_bytes()
        for end in (0, 1, 2, 50, 100, len(whole) // 2 + 1, len(whole) - 1):
            (folder / name).write_bytes(whole[:end])
            fails(folder, name, "get it again")
        (folder / name).write_bytes(whole)
        archive = packed(folder, tmp_path / "packed.tar.gz")
        content = archive.read_bytes()
        for end in (len(content) // 2, len(content) - 9):
            archive.write_bytes(content[:end])
            fails(archive, "packed.tar.gz")


def test_classes_in_another_order_are_refused(tmp_path: Path) -> None:
    other = ["bird", "airplane", "automobile", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    fails(Cifar().python(tmp_path / "a", other), "another order", "batches.meta")
    fails(Cifar(100).python(tmp_path / "b", fine_names()[::-1]), "another order")
    folder = Cifar().binary(tmp_path / "c")
    (folder / "batches.meta.txt").write_text("\n".join(other) + "\n\n")
    fails(folder, "another order", "batches.meta.txt")


def test_labels_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    made = Cifar()
    made.test_labels = made.test_labels + 1
    fails(made.python(tmp_path / "py"), "test_batch", "label 10", "10 classes")
    fails(made.binary(tmp_path / "bin"), "test_batch.bin", "label 10")
    pytest.importorskip("pyarrow")
    fails(made.parquet(tmp_path / "hf"), "label 10", "10 classes")


def test_batches_of_another_kind_are_refused(tmp_path: Path) -> None:
    folder = Cifar().python(tmp_path)
    rows = np.zeros((3, 3072), np.uint8)
    one = text(b"x")
    for content, words in (
        (pickled({"data": array(rows)}), "no label"),
        (pickled({"data": array(rows), "labels": b"](" + number(1) + b"e"}), "3 images and no label"),
        (pickled({"data": array(rows), "labels": b"](" + one * 3 + b"e"}), "no label"),
        (pickled({"data": array(rows[:, :100]), "labels": b"](" + number(1) * 3 + b"e"}), "rows of 3072"),
        (pickled({"data": one, "labels": b"]"}), "rows of 3072"),
        (b"\x80\x02]q\x00.", "a list, not a dict"),
        (pickled({"data": array(np.zeros((0, 3072), np.uint8)), "labels": b"]"}), "no images"),
    ):
        (folder / "test_batch").write_bytes(content)
        fails(folder, "test_batch", words)


class Bomb:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *given: Any) -> None:
        self.given = (function, given)

    def __reduce__(self) -> Any:
        return self.given


def test_a_pickle_calls_nothing(tmp_path: Path) -> None:
    folder = Cifar().python(tmp_path)
    mark = tmp_path / "executed"
    for bomb in (
        Bomb(os.system, f"touch {mark}"),
        Bomb(builtins.eval, f"open({str(mark)!r}, 'w')"),
        Bomb(shutil.copy, "/dev/null", str(mark)),
        Bomb(pickle.loads, b"."),
        Bomb(bytearray, 1 << 40),
    ):
        for protocol in (0, 2, 4):
            (folder / "data_batch_1").write_bytes(pickle.dumps({b"data": bomb}, protocol))
            fails(folder, "data_batch_1", "asks for", "do not trust it")
    assert not mark.exists()


def test_a_pickle_makes_no_array_that_it_does_not_hold() -> None:
    head = b"\x80\x02"
    for content in (
        # numpy.ndarray called with a shape of a terabyte; _reconstruct with one; the class, not one, as the first argument.
        head + b"cnumpy\nndarray\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86tR.",
        head + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x01btR.",
        head + b"cnumpy\ndtype\n(U\x01OK\x00K\x01tR.",
        head + b"cnumpy\ndtype\n(U\x14V1000000000000000000K\x00K\x01tR.",
        head + b"c_codecs\nencode\n(X\x01\x00\x00\x00aU\x05utf16tR.",
        head + b"cnumpy\nndarray\nq\x00)\x81}b.",
        head + b"U\x01xQ.",
        head + b"\x8a\xff" + b"\xff" * 10,
        head + b"T\xff\xff\xff\x7f" + b"x" * 10,
        head + b"\x8e" + b"\xff" * 8,
        b"",
    ):
        try:
            found = pickles.load(content, "FILE")
        except UserError as error:
            assert str(error).startswith("FILE ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert not isinstance(found, np.ndarray)


def test_pickles_of_python_3_are_read(tmp_path: Path) -> None:
    """A copy that somebody has written again with numpy 1 or 2, in any protocol."""
    made = Cifar()
    folder = made.python(tmp_path)
    reference = data.load(str(folder))
    _, rows, labels = made.parts()[-1]
    for protocol in (2, 3, 4, 5):
        for key in ("data", b"data"):
            name = "labels" if key == "data" else b"labels"
            content = pickle.dumps({key: rows, name: labels.tolist()}, protocol)
            if protocol == 5:
                continue
            (folder / "test_batch").write_bytes(content)
            assert data.load(str(folder)).sha256 == reference.sha256


# ------------------------------------------------------------------------------------------------------------ archives


@pytest.mark.parametrize("name", ["../test_batch", "/etc/test_batch", "cifar-10-batches-py/../../test_batch"])
def test_paths_out_of_an_archive(tmp_path: Path, name: str) -> None:
    folder = Cifar().python(tmp_path)
    files = {f"cifar-10-batches-py/{f.name}": f.read_bytes() for f in folder.iterdir()} | {name: b"x"}
    fails(write(tmp_path / "x" / "cifar-10-python.tar.gz", tar(files)), "points outside")


def test_links_and_twice_named_files_in_an_archive(tmp_path: Path) -> None:
    folder = Cifar().python(tmp_path)
    files = {f"cifar-10-batches-py/{f.name}": f.read_bytes() for f in folder.iterdir()}
    fails(write(tmp_path / "a.tar", tar(files | {"cifar-10-batches-py/x/test_batch": b"x"})), "twice")
    out = io.BytesIO(tar(files))
    with tarfile.open(fileobj=out, mode="a") as opened:
        link = tarfile.TarInfo("cifar-10-batches-py/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
    fails(write(tmp_path / "b.tar", out.getvalue()), "is a link")


def test_an_archive_that_unpacks_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many members of zeros, each of an allowed size."""
    import gzip

    from lcrbench import untrusted

    monkeypatch.setattr(untrusted, "FREE_BYTES", 1 << 20)
    bomb = tar({f"cifar-10-batches-py/{k}": bytes(1 << 20) for k in range(60)})
    fails(write(tmp_path / "cifar-10-python.tar.gz", gzip.compress(bomb, 9)), "unpacks to more than", "100 times")
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(60):
            archive.writestr(f"tiny-imagenet-200/{k}.JPEG", bytes(1 << 20))
    fails(write(tmp_path / "tiny-imagenet-200.zip", out.getvalue()), "unpacks to more than", "100 times")


def test_images_that_decode_to_gigabytes(tmp_path: Path) -> None:
    big = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(big, "PNG")
    root = tiny_imagenet(tmp_path)
    write(root / "train" / TINY[0] / "images" / f"{TINY[0]}_9.JPEG", big.getvalue())
    fails(root, f"{TINY[0]}_9.JPEG", "9000 x 9000 px")
    pytest.importorskip("pyarrow")
    from layouts import parquet

    for half in ("train", "test"):
        parquet(
            tmp_path / "hf" / f"{half}-0.parquet",
            "image",
            [(big.getvalue(), None)],
            {"label": [0]},
            {"label": ["a", "b"]},
        )
    fails(tmp_path / "hf", "row 0", "9000 x 9000 px")


# ------------------------------------------------------------------------------------------------------- Tiny-ImageNet


def test_tiny_imagenet_damaged(tmp_path: Path) -> None:
    top = tiny_imagenet(tmp_path)
    table, wnids = top / "val" / "val_annotations.txt", top / "wnids.txt"
    lines, ids = table.read_text(), wnids.read_text()

    def refused(*words: str, table_text: str | None = lines, ids_text: str | None = ids) -> None:
        for file, content in ((table, table_text), (wnids, ids_text)):
            file.unlink(missing_ok=True)
            if content is not None:
                file.write_text(content)
        fails(top, *words)

    refused("without val/val_annotations.txt", table_text=None)
    refused("no class for val_0.JPEG", table_text=lines.split("\n", 1)[1])
    refused("missing val_99.JPEG", table_text=lines + f"val_99.JPEG\t{TINY[0]}\t0\t0\t1\t1\n")
    refused("line 9", "no new image", table_text=lines + lines.split("\n")[0])
    refused("line 1 ", table_text=lines.replace("\t", " "))
    refused("'n99999999'", "wnids.txt does not name", table_text=lines.replace(TINY[0], "n99999999"))
    refused("no image of 1 classes", "n00000001", ids_text=ids + "n00000001\n")
    refused("'cat'", "no WordNet id", ids_text=ids + "cat\n")
    refused("twice", ids_text=ids + ids)
    table.write_text(lines)
    wnids.write_text(ids)
    shutil.rmtree(top / "train")
    fails(top, "train holds no images")


# ------------------------------------------------------------------------------------------------------------ ImageNet


def test_flat_validation_images_without_labels(tmp_path: Path) -> None:
    made = ImageNet(WNIDS)
    root = made.folders(tmp_path, flat=True)
    fails(root, "without their labels", "ILSVRC2012_devkit_t12.tar.gz", "LOC_val_solution.csv", "meta.bin")
    tars = made.tars(tmp_path / "tars")
    fails(tars, "without their labels", "put ILSVRC2012_devkit_t12.tar.gz")
    (tars / "ILSVRC2012_img_train.tar").unlink()
    fails(tars, "ImageNet-1k with ILSVRC2012_img_val.tar and without ILSVRC2012_img_train.tar")
    fails(tars / "ILSVRC2012_img_val.tar", "name the folder")


def test_damaged_tables_of_labels(tmp_path: Path) -> None:
    made = ImageNet(WNIDS, val=2)
    root = made.devkit(made.folders(tmp_path, flat=True), packed_up=False)
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    truth, meta = folder / "ILSVRC2012_validation_ground_truth.txt", folder / "meta.mat"
    lines, mat = truth.read_text(), meta.read_bytes()
    truth.write_text(lines + "1001\n")
    fails(root, "line 7", "'1001'", "no such ILSVRC2012_ID")
    truth.write_text("x" + lines)
    fails(root, "line 1")
    # A node above the classes has a number too; no image is of it.
    truth.write_text(lines.replace(lines[0], "4", 1))
    fails(root, "line 1", "'4'")
    truth.write_text(lines[:4])
    fails(root, "ILSVRC2012_val_00000003.JPEG", "no label")
    truth.unlink()
    fails(root, "lacks ILSVRC2012_validation_ground_truth.txt")
    truth.write_text(lines)
    meta.write_bytes(mat[: len(mat) // 2])
    fails(root, "meta.mat", "damaged")
    meta.write_bytes(b"")
    fails(root, "meta.mat", "damaged")
    shutil.rmtree(folder.parent)

    table = root / "LOC_val_solution.csv"
    good = "ImageId,PredictionString\n" + "".join(f"{n[:-5]},{w} 1 2 3 4\n" for w, n in made.labelled())
    for content, words in (
        ("", "not Kaggle's"),
        (good.replace("ImageId", "Id"), "not Kaggle's"),
        (good + "ILSVRC2012_val_00000001,n01440764 1 2 3 4\n", "line 8"),
        (good + "x,n01440764 1 2 3 4 n01443537 1 2 3 4\n", "line 8"),
        (good + "x,tench\n", "line 8"),
        (good + "x\n", "line 8"),
        (good.replace("ILSVRC2012_val_00000002,", "y,"), "no label"),
        (good.replace("n01440764", "n99999999"), "none of the 1,000"),
    ):
        table.write_text(content)
        fails(root, words)
    table.unlink()

    import torch

    for value in (3, ({}, ["x"]), ({}, 3), ({}, made.truth[:2])):
        torch.save(value, root / "meta.bin")
        fails(root, "meta.bin" if value != ({}, made.truth[:2]) else "no label")
    mark = tmp_path / "executed"
    torch.save(({}, Bomb(os.system, f"touch {mark}")), root / "meta.bin")
    fails(root, "meta.bin")
    (root / "meta.bin").write_bytes(b"x")
    fails(root, "meta.bin")
    assert not mark.exists()


def test_damaged_tars_of_imagenet(tmp_path: Path) -> None:
    made = ImageNet(WNIDS)
    root = made.meta_bin(made.tars(tmp_path))
    path = root / "ILSVRC2012_img_train.tar"
    whole = path.read_bytes()
    for end in (0, 100, 512, 700, 1500, len(whole) // 2, len(whole) - 10_240):
        path.write_bytes(whole[:end])
        fails(root, path.name)
    for files, words in (
        ({"n01440764.tar": tar({"n01443537_1.JPEG": jpeg(1)})}, "another class"),
        ({"n01440764.tar": b"no tar" * 400}, "ILSVRC2012_img_train.tar"),
        ({"n01440764.tar": tar({"../n01440764_1.JPEG": jpeg(1)})}, "points outside"),
        ({"cats.tar": tar({"cats_1.JPEG": jpeg(1)})}, "none of the 1,000"),
        ({}, "ILSVRC2012_img_train.tar"),
        ({"n01440764.tar": tar({"n01440764_1.JPEG": jpeg(1)})}, "lacks"),
    ):
        path.write_bytes(tar(files))
        fails(root, words)


def test_webdataset_damaged(tmp_path: Path) -> None:
    ranks = {wnid: spaces.ids("imagenet1k").index(wnid) for wnid in WNIDS}
    root = ImageNet(WNIDS).webdataset(tmp_path, rank={w: k for k, w in enumerate(WNIDS, 500)})
    fails(root, "number", "of ImageNet-1k", "another order")
    ImageNet(WNIDS).webdataset(tmp_path, rank=ranks)
    shard = root / "imagenet1k-train-0000.tar"
    whole = shard.read_bytes()
    for files, words in (
        ({"a.jpg": jpeg(1)}, "sample a has no label"),
        ({"a.cls": b"1", "b.cls": b"1", "b.jpg": jpeg(1)}, "sample a has no image"),
        ({"a.cls": b"-1", "a.jpg": jpeg(1)}, "'-1'"),
        ({"a.cls": b"1e3", "a.jpg": jpeg(1)}, "'1e3'"),
        ({"a.json": b"{", "a.jpg": jpeg(1)}, "no JSON"),
        ({"a.json": b"[" * 100_000, "a.jpg": jpeg(1)}, "no JSON"),
        ({"a.json": b'{"text": 1}', "a.jpg": jpeg(1)}, "no label"),
        ({"a.cls": b"1", "a.json": b'{"label": 2}', "a.jpg": jpeg(1)}, "two labels"),
        ({"a.cls": b"1", "a.jpg": jpeg(1), "a.png": jpeg(1)}, "two images"),
        ({"a.cls": b"1", "a.jpg": b"x"}, "damaged"),
        ({"../a.cls": b"1", "../a.jpg": jpeg(1)}, "points outside"),
    ):
        shard.write_bytes(tar(files))
        fails(root, words)
    shard.write_bytes(whole[: len(whole) // 2])
    fails(root, shard.name)
    shutil.copy(root / "imagenet1k-train-0001.tar", shard)
    fails(root, "two shards")
    for file in root.glob("*validation*"):
        file.unlink()
    fails(root, "'val or test'")


# ------------------------------------------------------------------------------------------------------------- parquet


def test_parquet_damaged(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from layouts import parquet

    def refused(
        *words: str, column: str = "image", labels: Any = None, names: Any = ("a", "b"), content: bytes = b""
    ) -> None:
        shutil.rmtree(tmp_path / "hf", ignore_errors=True)
        for half in ("train", "test"):
            parquet(
                tmp_path / "hf" / f"{half}-0.parquet",
                column,
                [(content or jpeg(k), None) for k in range(2)],
                {"label": [0, 1]} if labels is None else labels,
                {"label": list(names)},
            )
        fails(tmp_path / "hf", *words)

    refused("the columns picture, label", column="picture")
    refused("the columns image, text", labels={"text": [1, 2]})
    refused("label 2", "2 classes", labels={"label": [0, 2]})
    refused("label -1", "without labels", labels={"label": [0, -1]})
    refused("a class twice", names=("a", "a"))
    refused("not sorted", names=("n01443537", "n01440764"))
    refused("row 0", "damaged", content=b"no image")
    made = Cifar().parquet(tmp_path / "cifar")
    file = made / "plain_text" / "train-00000-of-00001.parquet"
    whole = file.read_bytes()
    for end in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:end])
        fails(made, file.name, "get it again")
    file.unlink()
    fails(made, "folder of parquet files", "without train")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train-0.parquet", b"PAR1")
    write(tmp_path / "test-0.parquet", b"PAR1")
    for name in [n for n in sys.modules if n.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    fails(tmp_path, "need pyarrow", "pip install 'lcrbench[parquet]'")


# ----------------------------------------------------------------------------------------------------------- test sets


def test_test_sets_damaged(tmp_path: Path) -> None:
    def refused(place: Path, *words: str) -> None:
        with pytest.raises(UserError) as caught:
            data.load_test(place, size=8)
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value), caught.value

    one = tmp_path / "one"
    one.mkdir()
    np.save(one / "cifar10.1_v6_data.npy", np.zeros((3, 32, 32, 3), np.uint8))
    refused(one, "CIFAR-10.1 v6 without cifar10.1_v6_labels.npy")
    np.save(one / "cifar10.1_v6_labels.npy", np.array([1, 2, 10], np.int32))
    refused(one, "label 10")
    np.save(one / "cifar10.1_v6_labels.npy", np.array([1, 2]))
    refused(one, "get both again")
    np.save(one / "cifar10.1_v6_labels.npy", np.array([{}] * 3, object), allow_pickle=True)
    refused(one, "damaged")
    for k in range(999):
        write(tmp_path / "v2" / str(k) / "1.jpg", jpeg(k))
    refused(tmp_path / "v2", "ImageNet-V2", "999")
    for wnid in spaces.ids("imagenet-a")[1:]:
        write(tmp_path / "a" / wnid / "1.jpg", jpeg(1))
    refused(tmp_path / "a", "ImageNet-A without n01498041")


def test_the_command_ends_with_exit_code_2(tmp_path: Path) -> None:
    folder = Cifar().python(tmp_path)
    (folder / "data_batch_2").write_bytes(pickle.dumps(Bomb(os.system, "true")))
    done = subprocess.run(
        [sys.executable, "-m", "lcrbench", "show", "data", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "asks for" in done.stderr
