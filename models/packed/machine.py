"""The one entry to the kernels: tables, a thread's memory, and the checks without which no kernel is called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lcrbench.models.packed import fields as f
from lcrbench.models.packed import kernels

SLACK = 8
"""Words of 16 bits behind the last bits of a map that a window's load may read."""


@dataclass(frozen=True)
class Tables:
    """What the operations of all segments read: filters and constants by border (int32), parameters and levels (float32)."""

    weights: np.ndarray
    parameters: np.ndarray
    bases: np.ndarray
    levels: np.ndarray

    @property
    def addresses(self) -> np.ndarray:
        """Return the addresses of the four."""
        return _addresses(self.weights, self.parameters, self.bases, self.levels)


@dataclass(frozen=True)
class Needs:
    """The memory that one image needs: words of 16 bits of signs, positions of a map with its border, floats."""

    words: int
    positions: int
    floats: int


class Memory:
    """The memory of one thread. The borders of the bits are zeros and stay so."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self._arrays = (
            np.zeros(needs.words // 2 + 1, np.int32),
            np.zeros(needs.positions * 5 + 8, np.int32),
            np.zeros(needs.positions, np.float32),
            np.zeros(needs.positions, np.float32),
            np.zeros(64, np.float32),
            np.zeros(needs.floats + 16, np.float32),
        )
        self.addresses = _addresses(*self._arrays)


@dataclass(frozen=True)
class Segment:
    """Operations that follow one another without torch; numbers an image of what it is given, beside and wanted."""

    operations: np.ndarray
    given: int
    beside: int
    wanted: int

    def check(self, tables: Tables, needs: Needs) -> None:
        """Raise `IndexError` for an operation that would read or write beyond the end of anything."""
        ends = {f.GIVEN: self.given, f.BESIDE: self.beside, f.WANTED: self.wanted, f.OWN: needs.floats}
        if self.operations.dtype != np.int64 or self.operations.shape[1:] != (f.FIELDS,):
            raise IndexError(f"operations are {self.operations.dtype} {self.operations.shape}")
        if not self.operations.flags.c_contiguous or not all(
            a.flags.c_contiguous and a.dtype == t
            for a, t in zip(
                (tables.weights, tables.parameters, tables.bases, tables.levels),
                (np.int32, np.float32, np.int32, np.float32),
                strict=True,
            )
        ):
            raise IndexError("a table has another type or layout than the kernels read")
        for row in self.operations.tolist():
            _check(row, tables, needs, ends)

    def run(
        self,
        tables: Tables,
        memory: Memory,
        given: np.ndarray,
        beside: np.ndarray,
        wanted: np.ndarray,
        images: tuple[int, int],
    ) -> int:
        """Run on images of float32 arrays (N, numbers); returns how many are in doubt. Raises `IndexError` by size."""
        first, last = images
        for array, numbers in ((given, self.given), (beside, self.beside), (wanted, self.wanted)):
            fits = array.dtype == np.float32 and array.flags.c_contiguous and array.shape[1:] == (numbers,)
            if numbers and not (fits and 0 <= first <= last <= len(array)):
                raise IndexError(
                    f"images {first} to {last} of {numbers} floats do not lie in {array.shape} {array.dtype}"
                )
        sizes = np.array([self.given, self.beside, self.wanted], np.int64)
        a, b, c = (array.ctypes.data for array in (given, beside, wanted))
        doubts: int = kernels.run(self.operations, tables.addresses, memory.addresses, a, b, c, sizes, first, last)
        return doubts


def _addresses(*arrays: np.ndarray) -> np.ndarray:
    return np.array([array.ctypes.data for array in arrays], np.int64)


def bits_words(channels: int, height: int, width: int) -> int:
    """Return the words of 16 bits of a map's signs, an even number with what a load may read behind them."""
    words = (height + 2) * (width + 2) * (channels // 16) + SLACK
    return words + words % 2


def _check(row: list[int], tables: Tables, needs: Needs, ends: dict[int, int]) -> None:
    kind, channels, out = row[f.KIND], row[f.IN], row[f.OUT]
    rows, columns, height, width = row[f.ROWS], row[f.COLUMNS], row[f.HEIGHT], row[f.WIDTH]

    def within(what: str, first: int, numbers: int, size: int) -> None:
        if first < 0 or first + numbers > size:
            raise IndexError(f"{what} {first} to {first + numbers} of {size}, in operation {row}")

    if not all(n > 0 for n in (channels, out, rows, columns, height, width)) or channels % 16 or out % 16:
        raise IndexError(f"sizes of operation {row}")
    pooled = kind == f.CONVOLVE and row[f.POOL] != f.UNPOOLED
    places = rows * columns // (4 if pooled else 1)
    if pooled and (rows % 2 or columns % 2):
        raise IndexError(f"a pool of odd sides in operation {row}")
    if row[f.TO] != f.NONE:
        pitch = row[f.TO_PITCH] if kind == f.CONVOLVE else out
        channel = row[f.TO_CHANNEL] if kind == f.CONVOLVE else 0
        within("channels", channel, out, pitch)
        within("output", row[f.TO_AT], places * pitch, ends[row[f.TO]])
    if kind == f.CONVOLVE:
        kernel, stride = row[f.KERNEL], row[f.STRIDE]
        padding = kernel // 2
        sides = [(n + 2 * padding - kernel) // stride + 1 for n in (height, width)]
        if kernel not in (1, 3) or sides != [rows, columns] or (channels != 16 and (channels % 32 or row[f.BITS] % 2)):
            raise IndexError(f"a convolution's form in operation {row}")
        if row[f.FROM] != f.NONE:
            within("shortcut", row[f.FROM_AT], rows * columns * out, ends[row[f.FROM]])
        within("bits", row[f.BITS], bits_words(channels, height, width), needs.words)
        words = -(-channels * kernel * kernel // 32)
        if words != row[f.WORDS]:
            raise IndexError(f"{row[f.WORDS]} words of a filter, not {words}")
        within("filters", row[f.WEIGHTS], words * out, tables.weights.size)
        within("cases", row[f.CASES], f.BORDERS * out, min(tables.bases.size, tables.levels.size))
        within("positions", 0, (height + 2) * (width + 2), needs.positions)
    else:
        before = height * width * channels
        if kind in (f.FINISH, f.MEAN, f.TAKE, f.SIGN, f.CENTRE):
            within("input", row[f.FROM_AT], before, ends[row[f.FROM]])
        strides = {f.UNPOOLED: 1, f.POOL_FIRST: 2, f.POOL_LAST: 2}
        step = strides.get(row[f.POOL], 0) if kind == f.FINISH else row[f.STRIDE]
        if kind == f.FINISH and step == 0:
            step_fits = [rows, columns] == [(n - 1) // 2 + 1 for n in (height, width)]
        elif kind in (f.SIGN, f.CENTRE):
            step_fits = True
        else:
            reach = 2 if kind == f.MEAN else step if kind == f.FINISH else 1
            step_fits = all((a - 1) * step + reach <= b for a, b in ((rows, height), (columns, width)))
        if not step_fits:
            raise IndexError(f"sizes of operation {row}")
    if kind in (f.CONVOLVE, f.FINISH, f.SIGN):
        within("parameters", row[f.PARAMETERS], f.ROWS_OF_PARAMETERS * out, tables.parameters.size)
    if row[f.SIGNS] != f.NONE:
        high, wide = (rows // 2, columns // 2) if pooled else (rows, columns)
        pitch = row[f.SIGNS_PITCH]
        within("blocks of signs", row[f.SIGNS_BLOCK], out // 16, pitch)
        within("signs", row[f.SIGNS], bits_words(pitch * 16, high, wide), needs.words)
