"""Data from which nothing can be learned, or with which nothing can be told, whatever the recipe."""

from __future__ import annotations

import numpy as np

from lcrbench.bench.data.arrays import Dataset, Images, Split, Streamed
from lcrbench.errors import UserError


def training(dataset: Dataset) -> str:
    """Return why nothing can be learned from the training images; empty where something can."""
    split = dataset.train
    if len(split) and not dataset.std.all():
        which = "all channels" if not dataset.std.any() else f"channel {int(np.argmin(dataset.std))}"
        return f"the pixels of all training images have one value in {which}: nothing can be learned from them"
    if (label := _one_class(dataset.classes, split)) is not None:
        return f"all training images are of one class, '{label}': there is nothing to tell apart"
    if _equal(split.images):
        return f"all {len(split):,} training images are equal: nothing can be learned from them"
    return ""


def check_shown(name: str, classes: tuple[str, ...], split: Split) -> None:
    """Raise `UserError` if no figure of the test images tells a network from a constant."""
    if why := shown(classes, split):
        raise UserError(f"{name}: {why}")


def shown(classes: tuple[str, ...], split: Split) -> str:
    """Return why no figure of the test images tells a network from a constant; empty where one can."""
    if (label := _one_class(classes, split)) is not None:
        return f"all test images are of one class, '{label}': a constant answer would be right on all"
    if _equal(split.images):
        return f"all {len(split):,} test images are equal: a network can give them one answer only"
    return ""


def _one_class(classes: tuple[str, ...], split: Split) -> str | None:
    """Return the class that all images are of; None where there are two."""
    counts = np.bincount(split.labels, minlength=len(classes))
    return None if (counts > 0).sum() > 1 else classes[int(counts.argmax())]


def _equal(images: Images | Streamed) -> bool:
    """Tell whether all images are equal, of streamed ones by their files; of most data sets this looks at two of them."""
    if len(images) < 2:
        return False
    if isinstance(images, Streamed):
        content = images.content(0)
        return all(images.content(i) == content for i in range(1, len(images)))
    first = images[0]
    return all(np.array_equal(images[i], first) for i in range(1, len(images)))
