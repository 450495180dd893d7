"""Random images, drawn and not read: for measuring speed and trying things out. Nothing can be learned from them.

`fake-data` is 1,000 + 200 images of 10 classes; `fake-data:train=50000,test=10000,classes=100` says otherwise. Pixels and
labels are drawn by counter (Philox) from the split and the position, so that a larger set begins with a smaller one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.spaces import MOST_CLASSES
from lcrbench.errors import UserError, unknown

NAMES = ("fake-data",)

_DEFAULTS: Final = {"train": 1000, "test": 200, "classes": 10}
_KEY: Final = 0x6C637262  # any; that of these images for ever
_MOST_BYTES: Final = 1 << 36


def files(place: str) -> list[Path]:
    """Return no files: nothing is read."""
    return []


def load(place: str, size: int) -> Dataset:
    """Draw both splits. Raises `UserError` for an option that does not exist, or a number that does not fit."""
    options = dict(_DEFAULTS)
    _, _, text = place.partition(":")
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in options:
            raise unknown("option of fake-data", name, options)
        if not (value.isascii() and value.isdigit() and int(value[:12]) > 0):
            raise UserError(f"fake-data: {name} is a whole number from 1, not '{value}'")
        options[name] = int(value[:12])
    if (options["train"] + options["test"]) * size * size * 3 > _MOST_BYTES:
        raise UserError(f"fake-data of so many images takes more than {_MOST_BYTES >> 30} GiB: give smaller numbers")
    classes = options["classes"]
    if not 2 <= classes <= MOST_CLASSES:
        raise UserError(f"fake-data: classes is a whole number from 2 to {MOST_CLASSES:,}, not {classes}")
    splits = [_drawn(k, options[which], classes, size) for k, which in enumerate(("train", "test"))]
    told = ",".join(f"{name}={n}" for name, n in options.items() if n != _DEFAULTS[name])
    name = f"{NAMES[0]}:{told}" if told else NAMES[0]
    return Dataset(name, tuple(map(str, range(classes))), splits[0], splits[1], layout="fake_data")


def _drawn(split: int, number: int, classes: int, size: int) -> Split:
    words = -(-size * size * 3 // 8)
    images = np.empty((number, size, size, 3), np.uint8)
    for k in range(number):
        stream = np.random.Philox(key=[_KEY, split], counter=[0, 0, 0, k])
        images[k] = stream.random_raw(words).astype("<u8").view(np.uint8)[: size * size * 3].reshape(size, size, 3)
    return Split(images, np.arange(number, dtype=np.int64) % classes)
