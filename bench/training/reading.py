"""Batches of images that stay in their files: decoded and augmented here, or in processes that read ahead.

Which images a step takes is a function of (seed, step), and what is drawn for an image one of (seed, epoch, its index). So
the number of reading processes changes no bit, and a training begins at any step without a look at those before.
"""

from __future__ import annotations

import hashlib
import signal
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from lcrbench.bench.data.arrays import Streamed
from lcrbench.bench.seeds import derive, generator
from lcrbench.bench.training import api
from lcrbench.errors import UserError

_AHEAD = 4
"""Batches that each process reads ahead."""

_NOT_OURS = (signal.SIGINT, signal.SIGTERM)
"""Signals that are for who trains, also where they are sent to all."""

Keys = list[tuple[int, int]]
"""Epoch and index of each image of a batch."""


@lru_cache(maxsize=2)
def order(n: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order (n,) of the images in an epoch; that of images in memory too."""
    return generator(seed, "data order", epoch).permutation(n)


def keys(n: int, batch: int, seed: int, step: int) -> Keys:
    """Return which images a step takes: one shuffled epoch after the other, cut into batches."""
    found = []
    for place in range(step * batch, (step + 1) * batch):
        epoch, rank = divmod(place, n)
        found.append((epoch, int(order(n, seed, epoch)[rank])))
    return found


def drawn(transform: api.Transform, seed: int, size: int, wanted: Keys) -> np.ndarray:
    """Return what is drawn for these images, int64 (batch, k): by counter, each by its own epoch and index."""
    rows = []
    for epoch, index in wanted:
        stream = np.random.Philox(key=_key(seed, epoch), counter=[0, 0, 0, index])
        rows.append(transform.draw(np.random.Generator(stream), 1, size))
    return np.concatenate(rows)


@lru_cache(maxsize=4)
def _key(seed: int, epoch: int) -> int:
    return derive(seed, "augmentation of an image", epoch)


class Steps(Sampler[Keys]):
    """The batches of all steps from `first` on, endless."""

    def __init__(self, n: int, batch: int, seed: int, first: int) -> None:
        self.n, self.batch, self.seed, self.first = n, batch, seed, first

    def __iter__(self) -> Iterator[Keys]:
        step = self.first
        while True:
            yield keys(self.n, self.batch, self.seed, step)
            step += 1


class Reader:
    """Makes a part of each batch: images (part, size, size, 3), uint8, and the draws of the whole batch (batch, k).

    Or it says in a text what is wrong.
    """

    def __init__(self, images: Streamed, transform: api.Transform, seed: int, part: slice = slice(None)) -> None:
        self.images, self.transform, self.seed, self.part = images, transform, seed, part

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, wanted: Keys) -> tuple[Tensor, np.ndarray, np.ndarray] | str:
        """Return images, draws and indices. An error is a text, because torch would put a trace in front of it."""
        size = self.images.size
        # Arrays are sent with the message. A tensor is sent by a file handle of its own, which takes a millisecond.
        draws = drawn(self.transform, self.seed, size, wanted)
        mine, rows = wanted[self.part], torch.from_numpy(draws[self.part])
        made = torch.empty(len(mine), size, size, 3, dtype=torch.uint8)
        try:
            for k, (_, index) in enumerate(mine):
                # A transform that takes originals crops before it resizes, so that it sees all that the file has.
                image = self.images.original(index) if self.transform.originals else self.images[index]
                made[k] = self.transform.apply(_tensor(image)[None], rows[k : k + 1], size)[0]
        except UserError as error:
            return str(error)
        return made, draws, np.array([index for _, index in wanted], np.int64)


def read(
    images: Streamed,
    batch: int,
    transform: api.Transform,
    seed: int,
    device: str,
    first: int,
    readers: int,
    part: slice = slice(None),
) -> Iterator[tuple[Tensor, np.ndarray, np.ndarray]]:
    """Yield for each step from `first` on images, uint8 on the device, and indices and draws of the batch; endless.

    Of each batch only the images in `part` are read. `readers` processes read ahead; without any this one reads. Raises
    `UserError` for a file that is damaged or has changed.
    """
    loader: Any = DataLoader(
        Reader(images, transform, seed, part),  # type: ignore[arg-type]  # it makes whole batches
        batch_sampler=Steps(len(images), batch, seed, first),
        num_workers=readers,
        collate_fn=_as_it_is,
        worker_init_fn=_settle,
        # A process that is forked shares the table of files.
        multiprocessing_context="fork" if readers and sys.platform == "linux" else None,
        prefetch_factor=_AHEAD if readers else None,
        pin_memory=device != "cpu",
        # Torch draws a seed for each process, which nothing uses, and not from its global generator.
        generator=torch.Generator(),
    )
    for found in _begun(loader):
        if isinstance(found, str):
            raise UserError(found)
        made, draws, index = found
        yield made.to(device, non_blocking=True), index, draws


def _begun(loader: Any) -> Iterator[Any]:
    """Begin to read. Signals wait until each process has said that it ignores them: one in between would end it."""
    if not hasattr(signal, "pthread_sigmask"):
        return iter(loader)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_OURS)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _as_it_is(batch: Any) -> Any:
    return batch


def _settle(number: int) -> None:
    """Set up a process that reads: who trains decides when it ends, also where a signal is sent to all."""
    import cv2

    cv2.setNumThreads(0)
    for each in _NOT_OURS:
        signal.signal(each, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_OURS)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())


class Chain:
    """A hash over the batches of a training that a save can hold: each step's is of the one before and its own bytes."""

    def __init__(self, state: str = "", steps: int = 0) -> None:
        self.state, self.steps = bytes.fromhex(state), steps

    def update(self, content: bytes) -> None:
        """Add the bytes of one step."""
        self.state, self.steps = hashlib.sha256(self.state + content).digest(), self.steps + 1

    def hexdigest(self) -> str:
        """Return the hash, as of a `hashlib` object."""
        return self.state.hex()

    def saved(self) -> list[Any]:
        """Return what a save holds: the arguments of a new one."""
        return [self.state.hex(), self.steps]
