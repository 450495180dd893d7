"""Checks of a corruption: what `lcrbench.testing` asks of our own functions and of somebody else's.

The images are small, coloured, and of noise and gradients; a corruption of several variants is checked in each of them.
"""

from __future__ import annotations

import contextlib
import random as python_random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruption_names import SEVERITIES
from lcrbench.corruptions.draws import Draws, derive_key
from lcrbench.corruptions.engine import corrupt
from lcrbench.corruptions.registered import Entry, Name, expand, find, is_ours
from lcrbench.errors import UserError
from lcrbench.testing import misspelt, own_names

PARTS = ("CONSTANTS", "GROUP", "VARIANTS", "LIBRARIES", "apply", "into")
SIZE, IMAGES = 32, 6
SEED, STREAM = 5, "conformance"


def contract(name: str) -> Iterator[str]:
    """It defines what `lcrbench.corruptions.functions` asks for."""
    for each in expand([name]):
        entry = find(each)
        yield from misspelt(PARTS, own_names(entry.module))
        rows = getattr(entry.module, "CONSTANTS", None)
        if rows is not None and not all(isinstance(row, Mapping) for row in rows):
            yield "CONSTANTS are five mappings, one a severity"
            return
        for part, what in (("GROUP", str), ("VARIANTS", tuple), ("LIBRARIES", tuple)):
            if not isinstance(getattr(entry.module, part, what()), what):
                yield f"{part} is a {what.__name__}, not {type(getattr(entry.module, part)).__name__}"


def images(name: str) -> Iterator[str]:
    """At each severity it gives images of its input's shape and type, the same every time, and leaves its input alone."""
    x = _images()
    for each in expand([name]):
        for severity in SEVERITIES:
            given = x.copy()
            with _stirred(1):
                first = _corrupt(given, each, severity)
            if not np.array_equal(given, x):
                yield f"it changes the images that it is given{_at(each, severity)}"
            with _stirred(2):
                second = _corrupt(x, each, severity)
            if not np.array_equal(first, second):
                yield f"it gives other images the second time{_at(each, severity)}: draw from `random` alone"
                break


def changes(name: str) -> Iterator[str]:
    """It changes images, at severity 5 otherwise than at severity 1."""
    x = _images()
    for each in expand([name]):
        mildest, strongest = _corrupt(x, each, 1), _corrupt(x, each, 5)
        if np.array_equal(strongest, x):
            yield f"it leaves every image as it is{_at(each, 5)}"
        elif np.array_equal(mildest, strongest):
            yield f"severities 1 and 5 give the same images{_at(each)}"


def neighbours(name: str) -> Iterator[str]:
    """An image's result depends on the image and its index alone, whatever stands beside it and in which order."""
    x, numbers = _images(), np.arange(3, 3 + IMAGES)
    back = np.arange(IMAGES)[::-1]
    for each in expand([name]):
        together = _corrupt(x, each, 3, indices=numbers)
        alone = np.concatenate([_corrupt(x[k : k + 1], each, 3, indices=numbers[k : k + 1]) for k in range(IMAGES)])
        turned = _corrupt(x[back], each, 3, indices=numbers[back])[back]
        if not (np.array_equal(together, alone) and np.array_equal(together, turned)):
            yield f"an image's result depends on the other images of its batch{_at(each)}"
        elif find(each).threads and not np.array_equal(together, _corrupt(x, each, 3, indices=numbers, threads=3)):
            yield f"several threads give other images than one{_at(each)}"


def draws(name: str) -> Iterator[str]:
    """Its random numbers depend on seed, stream and index, or it draws none."""
    x = np.repeat(_images()[:1], 12, axis=0)
    for each in expand([name]):
        moved = {"seed": False, "stream": False, "index": False}
        for severity in SEVERITIES:
            base = _corrupt(x, each, severity)
            moved["seed"] |= not np.array_equal(base, _corrupt(x, each, severity, seed=SEED + 1))
            moved["stream"] |= not np.array_equal(base, _corrupt(x, each, severity, stream=STREAM + "2"))
            moved["index"] |= not (base == base[:1]).all()
        if any(moved.values()) and (fixed := [what for what, does in moved.items() if not does]):
            yield f"its draws depend on {_and(w for w in moved if w not in fixed)}, and not on {_and(fixed)}{_at(each)}"


def shapes(name: str) -> Iterator[str]:
    """Gray and oblong images come back in their shape, or are refused by a `UserError`."""
    colour = np.random.default_rng(1).integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
    for each in expand([name]):
        for x in (colour, colour[..., 0].copy()):
            try:
                out = _corrupt(x, each, 2)
            except UserError as error:
                if f"'{find(each).name}' returned" in str(error):
                    yield str(error)
                continue
            if out.shape != x.shape:
                yield f"it maps images {x.shape} to {out.shape}{_at(each)}"


def whole(name: str) -> Iterator[str]:
    """`into` fills every pixel of `out`."""
    x = _images()
    for each in expand([name]):
        entry = find(each)
        if not entry.threads or is_ours(each):  # ours get their constants elsewhere; golden tests hold their bits
            continue
        if not np.array_equal(_filled(entry, x, 0), _filled(entry, x, 255)):
            yield f"into leaves pixels of `out` as they were{_at(each)}"


def _filled(entry: Entry, x: NDArray[np.uint8], value: int) -> NDArray[np.uint8]:
    out = np.full_like(x, value)
    entry.run(x.copy(), out, Draws(derive_key(SEED, STREAM, entry.name, 3), np.arange(len(x))), 3)
    return out


def _corrupt(x: NDArray[np.uint8], name: str, severity: int, **changed: Any) -> NDArray[np.uint8]:
    settings: dict[str, Any] = {"seed": SEED, "stream": STREAM} | changed
    return corrupt(x, name, severity, **settings)


def _images() -> NDArray[np.uint8]:
    """Return images (IMAGES, SIZE, SIZE, 3): noisy gradients of several directions, contrasts and brightnesses."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    slope, contrast, level = (
        random.uniform(low, high, (IMAGES, 1, 1, 3)) for low, high in ((0, 1), (40, 140), (10, 70))
    )
    smooth = contrast * (slope * rows[None, :, :, None] + (1 - slope) * columns[None, :, :, None])
    made: NDArray[np.uint8] = (level + smooth + random.integers(0, 40, smooth.shape)).astype(np.uint8)
    return made


@contextlib.contextmanager
def _stirred(seed: int) -> Iterator[None]:
    """Set the global random states for a while: what draws from them gives something else under another seed."""
    before, other = np.random.get_state(), python_random.getstate()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    python_random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
        python_random.setstate(other)


def _at(name: str, severity: int = 0) -> str:
    variant = Name.read(name).variant
    where = [*([f"variant {variant}"] if variant else []), *([f"severity {severity}"] if severity else [])]
    return f" ({', '.join(where)})" if where else ""


def _and(words: Iterable[str]) -> str:
    return " and ".join(words)


CHECKS = (contract, images, changes, neighbours, draws, shapes, whole)
