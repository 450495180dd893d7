"""Where a network's maps lie in a thread's own memory."""

from __future__ import annotations

from lcrbench.models.packed.graph import Map


class Memory:
    """Offsets of floats that lie in a thread's own memory, the first free place for each map."""

    def __init__(self) -> None:
        self.taken: dict[Map, tuple[int, int]] = {}
        self.most = 0

    def place(self, x: Map) -> int:
        """Take the first gap that a map fits into, and return its offset."""
        at = 0
        for start, end in sorted(self.taken.values()):
            if at + x.numbers <= start:
                break
            at = max(at, end)
        self.taken[x] = at, at + x.numbers
        self.most = max(self.most, at + x.numbers)
        return at
