"""CIFAR-10.1: about 2,000 new test images for CIFAR-10 (Recht et al. 2018), as .npy files; version 6 before version 4.

The folder holds cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy, or those of v4, itself or in datasets/. It is a test set
alone: `--test-set cifar10.1=PATH`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lcrbench import untrusted
from lcrbench.bench.data import cifar, spaces
from lcrbench.bench.data.arrays import Dataset, Split, TestImages
from lcrbench.bench.data.members import damage_told
from lcrbench.errors import UserError

ORDER = 20

VERSIONS: Final = ("v6", "v4")
SHA256: Final = {
    "v4": (
        "5aaedc268df8f4cffca2ac0cf9e608ae1897a8cddb630c7a850a2ea8f6558e75",
        "1f9544300ded199539b6662364ce7fe6c2e1ea9f87408f06db4b1a6184cffb18",
    ),
    "v6": (
        "2997188e5816f5bd545dc77771b6227828c28146049fcecf3fa10775474cacc6",
        "ae40beda001693674edc94d925ee8268cfe68905f8f9aff800c8dcdfcd6c9448",
    ),
}
_LARGEST: Final = 1 << 26


def detect(path: Path) -> bool:
    """Tell whether a folder, or its datasets/, holds images or labels of CIFAR-10.1."""
    return path.is_dir() and _place(path) is not None


def _place(path: Path) -> tuple[Path, str] | None:
    for version in VERSIONS:
        for folder in (path, path / "datasets"):
            if any((folder / f"cifar10.1_{version}_{part}.npy").is_file() for part in ("data", "labels")):
                return folder, version
    return None


def load(place: str, size: int) -> Dataset:
    """Raise `UserError`: it has no training images."""
    raise UserError(
        f"{place} holds CIFAR-10.1, test images alone: train on CIFAR-10, and give --test-set cifar10.1={place}"
    )


def load_test(place: str, size: int) -> TestImages:
    """Load the test images. Raises `UserError` if a file is missing, damaged, or of another shape or type."""
    found = _place(Path(place))
    if found is None:
        raise UserError(f"{place} holds no CIFAR-10.1: it needs cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy")
    folder, version = found
    arrays, hashes = [], []
    for part in ("data", "labels"):
        file = folder / f"cifar10.1_{version}_{part}.npy"
        if not file.is_file():
            raise UserError(f"{folder} is CIFAR-10.1 {version} without {file.name}: put it beside")
        array, digest = _array(file)
        arrays.append(array)
        hashes.append(digest)
    images, labels = arrays
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3):
        raise UserError(
            f"{folder} holds images {images.shape} of {images.dtype}, not (N, 32, 32, 3) of uint8: get it again"
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{folder} holds {len(images)} images and labels {labels.shape} of {labels.dtype}: get both again"
        )
    number = cifar.checked_labels(labels.astype(np.int64), 10, str(folder))
    split = Split(cifar.sized(images, size), number)
    published = tuple(hashes) == SHA256[version]
    return TestImages(
        f"cifar10.1-{version}", spaces.ids("cifar10"), split, space="cifar10", layout="cifar10_1", published=published
    )


def _array(file: Path) -> tuple[NDArray[Any], str]:
    if file.stat().st_size > _LARGEST:
        raise UserError(f"{file} has more than {_LARGEST >> 20} MiB, far more than CIFAR-10.1: get it again")
    with damage_told(file), untrusted.opened(file) as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        opened.seek(0)
        array = np.lib.format.read_array(opened, allow_pickle=False)
        if opened.read(1):
            raise ValueError("it is longer than it says")
    return array, digest
