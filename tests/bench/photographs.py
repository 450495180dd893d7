"""Small JPEG trees for tests: smooth colours with noise, of several shapes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def photograph(seed: int, width: int, height: int) -> Image.Image:
    """Return an image whose JPEG is as large as a photograph's: smooth colours with some noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int64)
    return Image.fromarray((smooth + rng.integers(-9, 10, smooth.shape)).clip(0, 255).astype(np.uint8))


def tree(root: Path, train: int, test: int, classes: Sequence[str] = ("a", "b", "c"), side: int = 20) -> Path:
    """Write class folders of JPEG files, `train` and `test` of each class, and set their times back."""
    for split, number in (("train", train), ("test", test)):
        for k, label in enumerate(classes):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(number):
                seed = hash((split == "train", k, i)) % 100_000
                shape = (side + seed % 7, side + seed % 5)
                photograph(seed, *shape).save(folder / f"{i}.jpg", "JPEG", quality=85)
    past = time.time() - 60
    for place in (root, *root.rglob("*")):
        os.utime(place, (past, past))
    return root
