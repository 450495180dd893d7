"""CIFAR-10 or CIFAR-100, binary version: the folder of .bin files, or the downloaded cifar-10-binary.tar.gz.

A row is one byte of the label (CIFAR-100: the coarse one, then the fine one) and 3,072 of the image. Images are in the
published order. CIFAR-100 has its 100 fine classes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np

from lcrbench import untrusted
from lcrbench.bench.data import cifar
from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.cifar import Layout
from lcrbench.bench.data.members import files_of
from lcrbench.errors import UserError

ORDER = 20

LAYOUTS: Final = (
    Layout(
        "cifar10",
        "CIFAR-10's binary version",
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
        tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
    ),
    Layout(
        "cifar100",
        "CIFAR-100's binary version",
        "cifar-100-binary",
        "cifar-100-binary.tar.gz",
        ("train.bin",),
        "test.bin",
        "fine_label_names.txt",
    ),
)
SHA256: Final = {
    "cifar10": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    "cifar100": "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
}
"""Of the downloaded archives."""


def detect(path: Path) -> bool:
    """Tell whether a folder or archive holds the .bin files of CIFAR-10 or CIFAR-100."""
    return cifar.place_of(path, LAYOUTS) is not None


def load(place: str, size: int) -> Dataset:
    """Load both splits. Raises `UserError` for a missing or damaged file, and for classes in another order."""
    found = cifar.place_of(Path(place), LAYOUTS)
    if found is None:
        raise UserError(
            f"{place} holds no .bin files of CIFAR-10 or CIFAR-100: it needs data_batch_1.bin to 5 and test_batch.bin"
        )
    layout, where = found
    files = files_of(where, {*layout.files, layout.meta}, cifar.LARGEST)
    cifar.lacking(layout, where, files)
    if layout.meta in files:
        names = files[layout.meta].decode(errors="replace").split()
        cifar.check_names(layout, where, names)
    batches = {name: _batch(files.pop(name), f"{where}: {name}", layout, size) for name in layout.files}
    parts = [batches[name] for name in layout.train]
    train = Split(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts]))
    return cifar.dataset(layout, "cifar_binary", train, batches[layout.test], _published(where, layout))


def _published(where: Path, layout: Layout) -> bool | None:
    """Tell whether an archive is the published one; of the files in a folder no hashes are known."""
    if where.is_dir():
        return None
    with untrusted.opened(where) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == SHA256[layout.space]


def _batch(content: bytes, where: str, layout: Layout, size: int) -> Split:
    coarse = layout.space == "cifar100"
    row = cifar.ROW + 1 + coarse
    if not content or len(content) % row:
        raise UserError(
            f"{where} has {len(content):,} bytes, which are no whole rows of {row}: it is truncated, get it again"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    classes = 100 if coarse else 10
    labels = cifar.checked_labels(rows[:, int(coarse)].astype(np.int64), classes, where)
    return Split(cifar.images_of(rows[:, 1 + coarse :], size), labels)
