"""`take`: a class-balanced random subset of a data set; `load_data`: the data set of a grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lcrbench.bench.data.arrays import Dataset, Indices, Part, Split
from lcrbench.bench.data.loading import load
from lcrbench.bench.records.grid import Data
from lcrbench.errors import UserError
from lcrbench.untrusted import whole


def load_data(choice: Data) -> Dataset:
    """Load the data set that a spec or grid names, cut down to the size it asks for; raises `UserError` as `load` does."""
    dataset = load(choice.source, size=choice.size, resize=choice.resize, stream=choice.stream)
    return take(dataset, choice.train, choice.test, seed=0) if choice.train or choice.test else dataset


def take(dataset: Dataset, train: int | None, test: int | None, seed: int) -> Dataset:
    """Return a class-balanced random subset of `train` and `test` images; None keeps that split whole.

    Each class gives the same number of images (where the number does not divide, the first classes give one more), in the
    order they have in `dataset`. The choice depends on `seed` and the positions alone, and a smaller subset is part of a
    larger one of the same seed. The subset has the name of what it is part of, and `part` says of what; a subset of a
    subset is part of the first whole.

    Raises `UserError` if a class has too few images, there are more classes than images asked for, or the seed is
    negative.
    """
    if train is None and test is None:
        return dataset
    if seed < 0:
        raise UserError(f"seed {seed} is negative: give 0 or more")
    train = None if train is None else whole(train, "the number of training images")
    test = None if test is None else whole(test, "the number of test images")
    # Two streams, so that the choice of test images does not depend on how the training images were chosen.
    kept = [
        None if number is None else _chosen(dataset, split, number, which, np.random.SeedSequence([seed, stream]))
        for stream, (which, split, number) in enumerate(
            (("training", dataset.train, train), ("test", dataset.test, test))
        )
    ]
    parts = [
        split if keep is None else split.part(keep)
        for split, keep in zip((dataset.train, dataset.test), kept, strict=True)
    ]
    indices = dataset.test_indices if kept[1] is None else dataset.test_indices[kept[1]]
    indices.setflags(write=False)
    part = Part(dataset.whole_sha256, dataset.whole_test_sha256, indices, train, test, seed)
    return replace(dataset, train=parts[0], test=parts[1], part=part)


def _chosen(dataset: Dataset, split: Split, number: int, which: str, seed: np.random.SeedSequence) -> Indices:
    """Return the positions of `number` images of a split, evenly from its classes, ascending."""
    classes = dataset.classes
    if number < len(classes):
        raise UserError(
            f"{number} {which} images are too few: {dataset.name} has {len(classes)} classes, and a subset takes one image "
            f"of each at least: ask for {len(classes)}, or for all by leaving the number out"
        )
    # Raw output of the generator, because numpy keeps that stream for ever and does not promise it for permutation().
    rank = np.random.PCG64(seed).random_raw(len(split))
    chosen = []
    for label, name in enumerate(classes):
        wanted = number // len(classes) + (label < number % len(classes))
        positions = np.flatnonzero(split.labels == label)
        if len(positions) < wanted:
            raise UserError(
                f"{number} {which} images are too many: they need {wanted} of each class, and {dataset.name} has"
                f" {len(positions)} of '{name}'"
            )
        chosen.append(positions[np.argsort(rank[positions], kind="stable")][:wanted])
    return np.sort(np.concatenate(chosen)).astype(np.int64, copy=False)
