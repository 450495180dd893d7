"""Bad data is refused by one line that says what is wrong with it."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from some_data import (
    PACKERS,
    Tree,
    a_tree,
    as_archives,
    as_folder,
    fails,
    idx,
    idx_folder,
    part,
    picture,
    same,
    tar_bytes,
    zip_bytes,
)

from lcrbench.bench import data
from lcrbench.bench.data.members import MAX_FILE_BYTES
from lcrbench.errors import UserError
from lcrbench.images import decode


def test_idx_truncated_anywhere(tmp_path: Path) -> None:
    for packed in (True, False):
        folder = idx_folder(tmp_path / str(packed), packed=packed)
        for path in sorted(folder.iterdir()):
            whole = path.read_bytes()
            for end in {0, 1, 3, 4, 9, 15, 16, 40, len(whole) // 2, len(whole) - 9, len(whole) - 1} - {-1}:
                if end < len(whole):
                    path.write_bytes(whole[:end])
                    fails(folder, path.name, "get it again" if packed or end >= 4 or not end else "not an idx file")
            path.write_bytes(gzip.compress(gzip.decompress(whole) + b"x") if packed else whole + b"x")
            fails(folder, path.name, "longer")
            path.unlink()
            fails(folder, path.name.removesuffix(".gz"), "missing")
            path.write_bytes(whole)


def test_idx_of_nonsense(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path, packed=False)
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    labels.write_bytes(idx(np.zeros(7, np.uint8)))
    fails(folder, "do not belong together")
    labels.write_bytes(whole[:-1] + b"\xff")
    fails(folder, labels.name, "no image of class 10")
    labels.write_bytes(whole)
    images.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    fails(folder, images.name, "more than 2,048 MiB")
    images.write_bytes(b"\0\0\x0d\x03" + b"\0" * 12)
    fails(folder, images.name, "not an idx file")


def test_unknown_names_and_missing_paths(tmp_path: Path) -> None:
    fails("fashion-mnist10k", "unknown data set", "did you mean 'fashion-mnist-10k'")
    fails(tmp_path / "nowhere", "nowhere", "no data at")
    fails("data.tar.xz", "no data at")
    fails(tmp_path, str(tmp_path), "is empty", "train/ and test/")
    (tmp_path / "readme").write_text("hello")
    fails(tmp_path, "no data to read", "train/ and test/")
    fails(tmp_path / "readme", "neither a tar", "nor a zip")
    (tmp_path / "train").mkdir()
    fails(tmp_path, "no test/ or val/")
    (tmp_path / "test").mkdir()
    fails(tmp_path, "holds no images")
    for size in (0, -1, 5000):
        fails("fashion-mnist-10k", "size", size=size)


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_bad_trees(tmp_path: Path, form: str) -> None:
    count = iter(range(100))

    def refused(change: Tree, *words: str, without: str = "nothing") -> None:
        tree = {name: content for name, content in a_tree().items() if not name.startswith(without)} | change
        folder = tmp_path / str(next(count))
        fails(as_folder(tree, folder) if form == "folder" else as_archives(tree, folder, form), *words)

    whole = picture(0, 40, 40, form="JPEG")
    refused({}, "test", "lacks 1 of the class folders", "'b'", without="test/b/")
    refused({"test/new/1.png": picture(0)}, "train", "lacks 1", "'new'")
    refused({"train/b/99.jpg": b"hello"}, "99.jpg", "damaged", "get it again")
    refused({"train/b/99.jpg": b""}, "99.jpg", "damaged")
    refused({"train/b/99.jpg": whole[: len(whole) // 2]}, "99.jpg", "damaged", "truncated")
    refused({"train/b/99.png": picture(0, 40, 40)[:-60]}, "99.png", "damaged")
    refused({"train/99.png": picture(0)}, "99.png", "no class folder")
    deep = io.BytesIO()
    Image.fromarray(np.full((8, 8), 999, np.uint16)).save(deep, "PNG")
    refused({"test/b/99.png": deep.getvalue()}, "99.png", "8 bits")
    big = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(big, "PNG")
    refused({"test/b/99.png": big.getvalue()}, "99.png", "9000 x 9000 px")


@pytest.mark.parametrize("half", ["train", "test", "both"])
def test_one_class_is_not_enough(tmp_path: Path, half: str) -> None:
    tree = {f"{split}/only/{i}.png": picture(i) for split in ("train", "test") for i in range(2)}
    if half != "both":
        other = "test" if half == "train" else "train"
        tree |= {f"{other}/more/{i}.png": picture(i) for i in range(2)}
    where = "train" if half == "both" else half
    fails(as_folder(tree, tmp_path), where, "all images lie in one class folder, 'only'", "two classes")


def test_oblong_images_do_not_explode() -> None:
    out = io.BytesIO()
    Image.new("L", (60_000, 1)).save(out, "PNG")
    with pytest.raises(UserError, match=r"x\.png.*60000 x 1 px, too oblong"):
        decode(out.getvalue(), "x.png", 224)


def test_classes_without_images(tmp_path: Path) -> None:
    folder = as_folder(a_tree(), tmp_path / "set")
    (folder / "train" / "empty").mkdir()
    fails(folder, "class folder 'empty' holds no images")
    for pack in (shutil.make_archive(str(tmp_path / "packed"), kind, folder) for kind in ("tar", "zip", "xztar")):
        fails(pack, "class folder 'empty' holds no images")
    (folder / "train" / "empty").rmdir()
    (folder / "train" / "2" / "empty").mkdir()
    assert data.load(str(folder), size=8).classes == ("2", "10", "b")


@pytest.mark.parametrize("kind", PACKERS)
def test_archives_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    folder = as_archives(a_tree(), tmp_path, kind)
    path = folder / f"train.{kind}"
    whole = path.read_bytes()
    # A plain tar ends with zeros only: what it lacks of them is no loss once its end is marked.
    needed = len(whole.rstrip(b"\0")) + 512 if kind == "tar" else len(whole)
    ends = {0, 1, 5, 6, 20, 300, 511, 512, 513, 1024, 1536, 2048, needed // 3, needed // 2, needed - 600, needed - 513,
            needed - 512, needed - 20, needed - 1}  # fmt: skip
    for end in sorted(e for e in ends if 0 <= e < needed):
        path.write_bytes(whole[:end])
        fails(folder, path.name)
    path.write_bytes(whole)
    assert data.load(str(folder), size=8).name == tmp_path.name


@pytest.mark.parametrize("kind", ["tar.xz", "tar.gz", "tar.bz2", "zip"])
def test_flipped_bits_never_pass(tmp_path: Path, kind: str) -> None:
    folder = as_archives(a_tree(), tmp_path, kind)
    reference = data.load(str(folder), size=8)
    path = folder / f"train.{kind}"
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(25):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        # Either the damage is told, or it hit what does not matter (a time stamp): other pixels must not come out.
        try:
            same(reference, data.load(str(folder), size=8))
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_damaged_header_within_a_tar_is_not_its_end(tmp_path: Path) -> None:
    folder = as_archives(a_tree(), tmp_path, "tar")
    path = folder / "train.tar"
    whole = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        third = tar.getmembers()[2].offset
    whole[third + 150] ^= 1
    path.write_bytes(whole)
    fails(folder, "train.tar", "damaged", "header")
    path.write_bytes(tar_bytes(part(a_tree(), "train")) + tar_bytes({"train/b/99.png": picture(0)}))
    fails(folder, "train.tar", "damaged")


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
@pytest.mark.parametrize(
    "name", ["../evil.png", "/train/b/evil.png", "train/b/../../../evil.png", "train/../../x/y.png"]
)
def test_paths_out_of_the_archive_are_refused(tmp_path: Path, pack: Callable[[Tree], bytes], name: str) -> None:
    (tmp_path / "set").mkdir()
    path = tmp_path / "set" / "all.zip"
    path.write_bytes(pack(a_tree() | {name: picture(0)}))
    fails(path, "evil.png" if "evil" in name else "y.png", "points outside")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["all.zip", "set"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    out = io.BytesIO(tar_bytes(a_tree()))
    with tarfile.open(fileobj=out, mode="a") as tar:
        member = tarfile.TarInfo("train/b/link.png")
        member.type, member.linkname = kind, "train/b/8.png"
        tar.addfile(member)
    (tmp_path / "all.tar").write_bytes(out.getvalue())
    fails(tmp_path / "all.tar", "link.png", "is a link")


def test_broken_links_and_strange_names(tmp_path: Path) -> None:
    folder = as_folder(a_tree(), tmp_path / "set")
    try:
        (folder / "train" / "b" / "99.png").symlink_to(tmp_path / "gone.png")
    except OSError:
        pytest.skip("this system does not allow links")
    fails(folder, "99.png", "cannot be read (No such file")
    fails("x" * 5000, "is no path: a name has at most 255 bytes")
    for pack in (tar_bytes, zip_bytes):
        (tmp_path / "all.tar").write_bytes(pack(a_tree() | {"train/b/a\n\x1b[31m.png": b"x"}))
        fails(tmp_path / "all.tar", "'train/b/a\\n\\x1b[31m.png'")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO(zip_bytes(a_tree()))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("train/b/8.png", picture(0))
    (tmp_path / "all.zip").write_bytes(out.getvalue())
    fails(tmp_path / "all.zip", "train/b/8.png", "twice")


def test_bombs_are_refused(tmp_path: Path) -> None:
    large = bytes(MAX_FILE_BYTES + 513)
    for kind in ("tar.xz", "zip"):
        (tmp_path / f"all.{kind}").write_bytes(PACKERS[kind](a_tree() | {"train/2/large.png": large}))
        assert (tmp_path / f"all.{kind}").stat().st_size < 200_000
        fails(tmp_path / f"all.{kind}", "large.png", "64 MiB")
    # A file's name of this size stands in a header, which tarfile would read whole.
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, len(large)
    bomb = header.tobuf(tarfile.GNU_FORMAT) + large + bytes(-len(large) % 512) + tar_bytes(a_tree())
    (tmp_path / "name.tar.gz").write_bytes(gzip.compress(bomb, 1))
    fails(tmp_path / "name.tar.gz", "name.tar.gz", "64 MiB")


def test_encrypted_and_foreign_archives(tmp_path: Path) -> None:
    whole = bytearray(zip_bytes(a_tree()))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := whole.find(mark, start)) >= 0:
            whole[start + offset] |= 1
            start += 1
    (tmp_path / "all.zip").write_bytes(whole)
    fails(tmp_path / "all.zip", "all.zip", "encrypted")
    (tmp_path / "only.tar").write_bytes(tar_bytes(part(a_tree(), "train")))
    fails(tmp_path / "only.tar", "only.tar", "train/ and test/")
