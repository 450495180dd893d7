"""The processes that compute one training or evaluation together, as that sees them; `training/group.py` starts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

Saved = tuple[dict[str, Tensor], dict[str, Any]]


class Group(Protocol):
    """The processes of one training or evaluation, which all call the same methods in the same order; `rank` 0 leads."""

    rank: int
    world: int

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows (n, N) of all processes as one (world n, N), in their order."""

    def numbers(self, own: Sequence[float]) -> list[list[float]]:
        """Return the numbers of each process, as many of each, in their order."""

    def share(self, saved: Saved | None) -> Saved | None:
        """Return what the first process gives; the others give nothing."""

    def collect(self, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Return the tensors of each process, by name."""


class Alone:
    """One process."""

    rank, world = 0, 1

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows."""
        return rows

    def numbers(self, own: Sequence[float]) -> list[list[float]]:
        """Return the numbers."""
        return [list(own)]

    def share(self, saved: Saved | None) -> Saved | None:
        """Return what is given."""
        return saved

    def collect(self, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Return the tensors."""
        return [tensors]


ALONE = Alone()
