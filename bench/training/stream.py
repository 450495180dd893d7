"""The data of a training: what is held out, the order of the rest, and augmented batches."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.data.arrays import Split, Streamed
from lcrbench.bench.seeds import derive, generator
from lcrbench.bench.training import api, reading
from lcrbench.bench.training.spent import Spent
from lcrbench.errors import UserError


def held_out(labels: np.ndarray, number: int) -> np.ndarray:
    """Return which of the training images (N,) are held out for validation, boolean (N,): `number` of them.

    Each class gives the same number (where it does not divide, the first classes give one more). The choice depends on
    the positions and labels alone, so that it is the same for all methods and seeds. Raises `UserError` if a class has
    too few images: at least one of each class is trained on.
    """
    chosen = np.zeros(len(labels), bool)
    if not number:
        return chosen
    classes = np.unique(labels)
    # Raw output of the generator, whose stream numpy keeps for ever (it does not promise that for permutation()).
    rank = np.random.PCG64(derive(0, "validation")).random_raw(len(labels))
    for k, label in enumerate(classes):
        wanted = number // len(classes) + (k < number % len(classes))
        positions = np.flatnonzero(labels == label)
        if not 0 < wanted < len(positions):
            raise UserError(
                f"recipe.validation: {number} images cannot be held out of {len(labels)} in {len(classes)} classes: class "
                f"{label} has {len(positions)} images, would give {wanted}, and one at least is to be held out and one kept"
            )
        chosen[positions[np.argsort(rank[positions], kind="stable")][:wanted]] = True
    return chosen


def parted(split: Split, number: int) -> tuple[Split, Split]:
    """Return the images to train on and those held out for validation, in their order; raises as `held_out` does."""
    out = held_out(split.labels, number)
    return (split.part(~out) if number else split), split.part(out)


def stream(
    n: int, size: int, batch: int, transform: api.Transform, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each step the images' indices (batch,) and their draws (batch, k), both int64; endless.

    One shuffled epoch after the other, cut into batches. The order depends on (seed, epoch), the draws of an image on
    (seed, epoch, its index), and on nothing else.
    """
    order, draws = _epoch(n, size, transform, seed, 0)
    epoch = 1
    while True:
        while len(order) < batch:
            more, drawn = _epoch(n, size, transform, seed, epoch)
            order, draws = np.concatenate([order, more]), np.concatenate([draws, drawn])
            epoch += 1
        yield order[:batch], draws[:batch]
        order, draws = order[batch:], draws[batch:]


def _epoch(n: int, size: int, transform: api.Transform, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    order = generator(seed, "data order", epoch).permutation(n)
    return order, transform.draw(generator(seed, "augmentation", epoch), n, size)[order]


def batches(
    split: Split,
    batch: int,
    transform: api.Transform,
    seed: int,
    spent: Spent,
    device: str,
    first: int = 0,
    readers: int = 0,
    part: slice = slice(None),
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Yield batches (N, 3, H, W) in [0, 1], channels last, with labels (N,), from step `first` on; endless.

    The digests in `spent` cover the stream up to the last batch that was asked for and used, from step 0 on. `readers`
    processes read streamed images ahead. Of each batch only the images in `part` are made.
    """
    if isinstance(split.images, Streamed):
        yield from _streamed(split.images, split.labels, batch, transform, seed, spent, device, first, readers, part)
        return
    images, labels = _tensor(split.images).to(device), _tensor(split.labels).to(device)

    size = images.shape[1]
    for step, (index, draws) in enumerate(stream(len(labels), size, batch, transform, seed)):
        if step >= first:
            where = _moved(index[part], device)
            augmented = transform.apply(images[where], _moved(draws[part], device), size)
            yield augmented.permute(0, 3, 1, 2).float().div_(255), labels[where]
        # After the yield, because the loop takes one batch more than it uses.
        spent.data_order.update(index.astype("<i8").tobytes())
        spent.augmentation.update(draws.astype("<i8").tobytes())


def _moved(numbers: np.ndarray, device: str) -> Tensor:
    # From pinned memory, or the copy would wait for all that the device still has to do.
    made = torch.from_numpy(numbers)
    return made if device == "cpu" else made.pin_memory().to(device, non_blocking=True)


def _tensor(array: np.ndarray) -> Tensor:
    """Return an array as a tensor that must not be written to, without a copy: the images may be mapped, and shared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def _streamed(
    images: Streamed,
    labels: np.ndarray,
    batch: int,
    transform: api.Transform,
    seed: int,
    spent: Spent,
    device: str,
    first: int,
    readers: int,
    part: slice,
) -> Iterator[tuple[Tensor, Tensor]]:
    if not isinstance(spent.data_order, reading.Chain):
        spent.data_order, spent.augmentation = reading.Chain(), reading.Chain()

    def note(index: np.ndarray, draws: np.ndarray) -> None:
        spent.data_order.update(index.astype("<i8").tobytes())
        spent.augmentation.update(draws.astype("<i8").tobytes())

    # A save is made within a step, whose batch is noted after it.
    for step in range(spent.data_order.steps, first):
        taken = reading.keys(len(labels), batch, seed, step)
        note(np.array([index for _, index in taken]), reading.drawn(transform, seed, images.size, taken))
    for made, index, draws in reading.read(images, batch, transform, seed, device, first, readers, part):
        yield made.permute(0, 3, 1, 2).float().div_(255), _moved(labels[index[part]], device)
        note(index, draws)
