"""Bytes and seconds grow with the file, whatever it states: links that lead back, headers that lie, packed data."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import tarfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import ImageNet, parquet, write
from PIL import Image
from some_data import a_tree, as_folder, fails, picture, tar_bytes

from lcrbench import untrusted
from lcrbench.bench import data
from lcrbench.bench.data import imagenet, spaces
from lcrbench.bench.networks.images import shorter_side
from lcrbench.corruptions.archive import open_archive
from lcrbench.errors import UserError
from lcrbench.images import decode, size_of


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Nothing here takes more than a few seconds."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 5


def test_links_that_lead_back_in_many_ways(tmp_path: Path) -> None:
    """One is gone round 32 times; of two each round has two ways."""
    folder = as_folder(a_tree(), tmp_path / "set")
    for name in ("one", "other", "third"):
        (folder / "train" / "2" / name).symlink_to(".")
    fails(folder, "too deep", "link")
    with pytest.raises(UserError, match="too deep"):
        data.load(str(folder), size=8, stream=True)


def idx(shape: tuple[int, ...], body: bytes) -> bytes:
    return b"\0\0\x08" + bytes([len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + body


def test_an_idx_file_that_unpacks_without_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "FREE_BYTES", 1 << 20)
    number = (40 << 20) // 1024
    images, labels = (gzip.compress(idx(s, bytes(int(np.prod(s))))) for s in ((number, 32, 32), (number,)))
    for half in ("train", "t10k"):
        (tmp_path / f"{half}-images-idx3-ubyte.gz").write_bytes(images)
        (tmp_path / f"{half}-labels-idx1-ubyte.gz").write_bytes(labels)
    fails(tmp_path, "out of all proportion")


def header(kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_gigabytes_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    """A file that takes no room on the disk, and states that the name of its first member has six of them."""
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(header(kind, 6 << 30))
        file.truncate(7 << 30)
    with pytest.raises(UserError, match=r"x\.tar"):
        open_archive(tmp_path / "x.tar")


@pytest.mark.parametrize(
    "content", [b"9" * 100_000, b"30 comment=" + b"1" * 99_000 + b"\n"], ids=["digits", "a comment"]
)
@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_digits_without_end_in_a_header_of_a_tar(tmp_path: Path, content: bytes, ending: str) -> None:
    """tarfile looks for a number and a word in it, and goes through the digits again from each of them."""
    packed = header(tarfile.XHDTYPE, len(content)) + content + bytes(-len(content) % 512) + tar_bytes(a_tree())
    path = tmp_path / f"x.{ending}"
    path.write_bytes(gzip.compress(packed) if ending == "tar.gz" else packed)
    fails(path, path.name, "number without end")
    with pytest.raises(UserError, match=r"x\.tar"):
        open_archive(path)


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\xff" * 10 + b"\xfe\x00"], ids=["-1", "-512"])
def test_a_size_below_0_in_a_tar(tmp_path: Path, size: bytes) -> None:
    """It would lead back to its own header, for ever."""
    content = bytearray(tar_bytes(a_tree()))
    content[124:136] = size
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    (tmp_path / "x.tar").write_bytes(content)
    fails(tmp_path / "x.tar", "x.tar")
    with pytest.raises(UserError, match=r"x\.tar"):
        open_archive(tmp_path / "x.tar")


HEADERS = {
    "an open bracket": "{'a':(",
    "quotes": "'''",
    "signs": "-" * 9000 + "1",
    "brackets": "[" * 9000,
    "below 0": "{'descr':'|u1','fortran_order':False,'shape':(-10,)}",
    "round at 64 bits": "{'descr':'|u1','fortran_order':False,'shape':(4294967296,4294967296)}",
    "objects": "{'descr':'|O','fortran_order':False,'shape':(10,)}",
    "a table": "{'descr':[('a','|u1')],'fortran_order':False,'shape':(10,)}",
    "of nothing": "{'descr':'|S0','fortran_order':False,'shape':(10,)}",
    "digits": "{'descr':'|u1','fortran_order':False,'shape':(" + "9" * 4500 + ",)}",
    "a length of True": "{'descr':'|u1','fortran_order':False,'shape':(True,8,8,3)}",
    "axes": "{'descr':'|u1','fortran_order':False,'shape':(" + "1," * 100 + ")}",
}


@pytest.mark.parametrize("text", HEADERS)
@pytest.mark.parametrize("which", ["labels", "fog"])
def test_arrays_of_a_benchmark_whose_header_is_none(tmp_path: Path, text: str, which: str) -> None:
    np.save(tmp_path / "labels.npy", np.tile(np.array([0, 1], np.uint8), 5))
    np.save(tmp_path / "fog.npy", np.zeros((10, 8, 8, 3), np.uint8))
    head = HEADERS[text].encode("latin-1") + b"\n"
    (tmp_path / f"{which}.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(2000))
    with pytest.raises(UserError, match=rf"{which}") as error:
        open_archive(tmp_path).load("fog", 3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "manifest",
    ['{"files": {"fog.npy": null}}', '{"files": {"fog.npy": []}}', '{"files": {"fog.npy": {"sha256": 1}}}',
     '{"files": {}, "data": []}', '{"files": {"../../x": {"sha256": "x"}}}', '{"files": {"/etc/1": {"sha256": "x"}}}'],
)  # fmt: skip
def test_a_manifest_that_holds_something_else(tmp_path: Path, manifest: str) -> None:
    np.save(tmp_path / "labels.npy", np.tile(np.array([0, 1], np.uint8), 5))
    np.save(tmp_path / "fog.npy", np.zeros((10, 8, 8, 3), np.uint8))
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match=r"manifest\.json"):
        open_archive(tmp_path)


def test_labels_without_end_in_a_table(tmp_path: Path) -> None:
    """They number as many classes, of which each has a name."""
    pytest.importorskip("pyarrow")
    for half in ("train", "test"):
        rows: list[Any] = [(picture(k), f"{k}.png") for k in range(2)]
        parquet(tmp_path / f"{half}-0.parquet", "image", rows, {"label": [0, 1 << 40]}, {})
    fails(tmp_path, "label 1,099,511,627,776", f"{spaces.MOST_CLASSES:,}")


def test_one_large_image_in_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table keeps it once: each image is read in its turn, and is no larger than in an archive."""
    pytest.importorskip("pyarrow")
    from lcrbench.bench.data import parquet as tables

    monkeypatch.setattr(tables, "MAX_FILE_BYTES", 1 << 20)
    for half in ("train", "test"):
        rows: list[Any] = [(picture(1) + bytes(2 << 20), f"{k}.png") for k in range(2)]
        parquet(tmp_path / f"{half}-0.parquet", "image", rows, {"label": [0, 1]}, {})
    fails(tmp_path, "1 MiB")


def test_a_jpeg_of_scans_without_end() -> None:
    """A decoder goes through the whole image for each, which a few bytes ask for."""
    out = io.BytesIO()
    Image.new("L", (4000, 4000), 128).save(out, "JPEG", progressive=True, quality=10)
    content = out.getvalue()
    last = content[content.rfind(b"\xff\xda") : -2]
    assert decode(content, "it").shape == (4000, 4000, 3)
    with pytest.raises(UserError, match="scans"):
        decode(content[:-2] + last * 3000 + b"\xff\xd9", "it")


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def tags(number: int, length: int = 1) -> bytes:
    """A TIFF of tags; those that are longer than 4 bytes lie outside of it."""
    entries = b"".join(struct.pack("<HHII", 300 + k, 1, length, 1 << 31) for k in range(number))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", number) + entries + bytes(4)


PIECES = 12_000_000
PADDED: dict[str, Callable[[], bytes]] = {
    "spaces": lambda: b"P6" + b" " * PIECES + b"8 8 255\n" + bytes(192),
    "comments": lambda: b"P6\n" + b"#\n" * (PIECES // 2) + b"8 8 255\n" + bytes(192),
    "fill bytes": lambda: _within(picture(1, form="JPEG"), 2, b"\xff" * PIECES),
    "markers": lambda: _within(picture(1, form="JPEG"), 2, b"\xff\xd0" * (PIECES // 2)),
    "segments": lambda: _within(picture(1, form="JPEG"), 20, b"\xff\xe0\0\2" * (PIECES // 4)),
    "chunks": lambda: _within(picture(1), 33, chunk(b"prVt") * (PIECES // 12)),
    "empty chunks of pixels": lambda: _within(picture(1), 33, chunk(b"IDAT") * (PIECES // 12)),
    "chunks at the end": lambda: _within(picture(1), -12, chunk(b"prVt") * (PIECES // 12)),
    "tags": lambda: tags(65_000),
}


def _within(content: bytes, at: int, more: bytes) -> bytes:
    return content[:at] + more + content[at:]


@pytest.mark.parametrize("which", PADDED)
def test_a_header_in_pieces_without_end(which: str) -> None:
    """Pillow reads each by a few lines of Python, which for the largest file that is read take a minute."""
    content = PADDED[which]()
    began = time.process_time()
    with pytest.raises(UserError, match="small pieces"):
        decode(content, "it")
    with contextlib.suppress(UserError):
        size_of(content, "it")
    assert time.process_time() - began < 0.7


def test_what_an_encoder_writes_in_pieces_is_read() -> None:
    """The packed rows of a BMP are read byte by byte, and the pixels of a PNG may lie in chunks of a kB."""
    row = b"".join(bytes([1, k % 256]) for k in range(400)) + b"\0\0"
    body = row * 300 + b"\0\1"
    palette = b"".join(bytes([k, k, k, 0]) for k in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, 400, 300, 1, 8, 1, len(body), 0, 0, 256, 256)
    runs = b"BM" + struct.pack("<IHHI", 54 + 1024 + len(body), 0, 0, 54 + 1024) + head + palette + body
    assert decode(runs, "it").shape == (300, 400, 3)
    whole = picture(1, 2000, 1000)
    at, size = whole.index(b"IDAT") - 4, 0
    pixels = b""
    while whole[at + 4 : at + 8] == b"IDAT":
        size = int.from_bytes(whole[at : at + 4], "big")
        pixels += whole[at + 8 : at + 8 + size]
        at += 12 + size
    parts = b"".join(chunk(b"IDAT", pixels[k : k + 1024]) for k in range(0, len(pixels), 1024))
    assert np.array_equal(decode(whole[:33] + parts + chunk(b"IEND"), "it"), decode(whole, "it"))


def test_no_image_warns() -> None:
    """One line for each tag that lies outside of its file would hide the one that counts."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for read in (decode, size_of):
            with pytest.raises(UserError):
                read(tags(500, 1000), "it")
    assert not told


def test_the_side_of_a_photograph_that_lies(tmp_path: Path) -> None:
    """A network from outside is asked what it takes before the images are loaded."""
    chunk = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    lies = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    for name, content in (("0.png", lies + picture(0)[33:]), ("1.png", b"x"), ("2.png", picture(1, 9, 12))):
        (tmp_path / name).write_bytes(content)
    assert shorter_side(str(tmp_path)) in (9, 60_000)


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "x"])
def test_numbers_in_a_table_of_labels(tmp_path: Path, number: str) -> None:
    ImageNet(["n01440764", "n01443537"]).devkit(tmp_path, packed_up=False)
    write(tmp_path / imagenet.DEVKIT / "data" / "ILSVRC2012_validation_ground_truth.txt", number.encode())
    with pytest.raises(UserError, match="line 1"):
        imagenet.labels_beside(tmp_path)


def test_variables_that_unpack_without_end(tmp_path: Path) -> None:
    from scipy.io import savemat

    out = io.BytesIO()
    savemat(out, {"synsets": np.zeros(1 << 27, np.uint8)}, do_compression=True)
    ImageNet(["n01440764", "n01443537"]).devkit(tmp_path, packed_up=False)
    write(tmp_path / imagenet.DEVKIT / "data" / "meta.mat", out.getvalue())
    with pytest.raises(UserError, match="unpacks to more"):
        imagenet.labels_beside(tmp_path)
