"""10,000 + 2,000 photographs of clothes in 10 classes, grey, 32 px: a balanced subset of Fashion-MNIST, embedded.

Xiao, Rasul and Vollgraf, arXiv 1708.07747; `tools/make_fashion_subset.py` makes the subset.
"""

from __future__ import annotations

import json
from importlib.resources import files as package_files
from pathlib import Path

from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.idx import PARTS, from_idx, read_idx
from lcrbench.bench.fashion import CLASSES
from lcrbench.errors import UserError

NAMES = ("fashion-mnist-10k",)


def files(place: str) -> list[Path]:
    """Return the folder of the embedded files."""
    return [Path(str(package_files("lcrbench.bench.fashion")))]


def load(place: str, size: int) -> Dataset:
    """Load the embedded subset. Raises `UserError` if a file is missing or of a wrong hash."""
    (folder,) = files(place)
    arrays = []
    try:
        expected = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
        for part in PARTS:
            name = f"{part}.idx{3 if part.endswith('images') else 1}.gz"
            array, digest = read_idx(folder / name)
            if digest != expected[name]:
                raise UserError(f"{name} has the wrong sha256")
            arrays.append(array)
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"the embedded data in {folder} is damaged ({error}): install lcrbench again") from error
    return from_idx(NAMES[0], CLASSES, arrays, size)
