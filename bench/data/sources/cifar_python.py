"""CIFAR-10 or CIFAR-100, python version: the folder of pickles, or the downloaded cifar-10-python.tar.gz.

Pickles are read by a reader that makes arrays and plain values and calls nothing. Images are in the published order, so
that the rows of CIFAR-10-C belong to the test images. CIFAR-100 has its 100 fine classes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from lcrbench.bench.data import cifar, pickles
from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.cifar import Layout
from lcrbench.bench.data.members import files_of
from lcrbench.errors import UserError

ORDER = 20

LAYOUTS: Final = (
    Layout(
        "cifar10",
        "CIFAR-10's python version",
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        tuple(f"data_batch_{k}" for k in range(1, 6)),
        "test_batch",
        "batches.meta",
    ),
    Layout(
        "cifar100",
        "CIFAR-100's python version",
        "cifar-100-python",
        "cifar-100-python.tar.gz",
        ("train",),
        "test",
        "meta",
    ),
)
MD5: Final = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}


def detect(path: Path) -> bool:
    """Tell whether a folder or archive holds pickles of CIFAR-10 or CIFAR-100."""
    return cifar.place_of(path, LAYOUTS) is not None


def load(place: str, size: int) -> Dataset:
    """Load both splits. Raises `UserError` for a missing, damaged or hostile file, and for classes in another order."""
    found = cifar.place_of(Path(place), LAYOUTS)
    if found is None:
        raise UserError(f"{place} holds no pickles of CIFAR-10 or CIFAR-100: it needs data_batch_1 to 5 and test_batch")
    layout, where = found
    files = files_of(where, {*layout.files, layout.meta}, cifar.LARGEST)
    cifar.lacking(layout, where, files)
    if layout.meta in files:
        meta = _dict(files[layout.meta], f"{where}: {layout.meta}")
        names = meta.get(b"label_names" if layout.space == "cifar10" else b"fine_label_names", [])
        cifar.check_names(
            layout, where, [n.decode(errors="replace") if isinstance(n, bytes) else str(n) for n in names]
        )
    published = all(_md5(files[name]) == MD5[name] for name in layout.files)
    batches = {name: _batch(files.pop(name), f"{where}: {name}", layout, size) for name in layout.files}
    parts = [batches[name] for name in layout.train]
    train = Split(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts]))
    return cifar.dataset(layout, "cifar_python", train, batches[layout.test], published)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _dict(content: bytes, where: str) -> dict[Any, Any]:
    found = pickles.load(content, where)
    if not isinstance(found, dict):
        raise UserError(f"{where} holds a {type(found).__name__}, not a dict of images and labels: get it again")
    # A copy that Python 3 has written names its parts by text.
    return {key.encode() if isinstance(key, str) else key: value for key, value in found.items()}


def _batch(content: bytes, where: str, layout: Layout, size: int) -> Split:
    found = _dict(content, where)
    key = b"labels" if layout.space == "cifar10" else b"fine_labels"
    rows, labels = found.get(b"data"), found.get(key)
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != cifar.ROW:
        raise UserError(f"{where} holds no images as rows of {cifar.ROW} bytes ('data'): get it again")
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or len(labels) != len(rows) or not all(type(n) is int for n in labels):
        raise UserError(f"{where} holds {len(rows)} images and no label ('{key.decode()}') for each: get it again")
    classes = 10 if layout.space == "cifar10" else 100
    if any(not 0 <= n < classes for n in labels):
        wrong = next(n for n in labels if not 0 <= n < classes)
        raise UserError(
            f"{where} has the label {str(wrong)[:20]}, and there are {classes} classes: it is damaged, get it again"
        )
    return Split(cifar.images_of(rows, size), cifar.checked_labels(np.array(labels, np.int64), classes, where))
