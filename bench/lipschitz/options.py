"""What a search is asked for: images, radii, and how hard to search; three efforts."""

from __future__ import annotations

from dataclasses import dataclass

from lcrbench.bench.lipschitz.ball import NORMS, Ball
from lcrbench.bench.records.by_image import Effort
from lcrbench.errors import UserError, unknown

EFFORTS = {"trial": 150, "quick": 600, "default": 2400, "full": 9600}
"""Passes an image, forward and backward counted, in all norms together: each effort four times the one before.

"trial" is the first round alone, to see that a network can be measured; no effort before it checks an order.
"""

OTHERS = 32
"""Images of the data set that may serve as ends of walks, besides those that are measured."""


@dataclass(frozen=True)
class Options:
    """Which images and radii, and how hard to search.

    `l2` and `linf`: radii in 1/255 pixel units. `images`: number of test images, evenly spaced over the classes. `effort`:
    a budget of passes, one of `EFFORTS`. Without `gradients` the search uses the logits alone, so
    that networks with and without gradients can be compared.
    """

    l2: tuple[float, ...] = (2.0, 8.0, 128.0)
    linf: tuple[float, ...] = ()
    images: int = 100
    effort: str = "quick"
    gradients: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for norm in NORMS:
            # 8 and 8.0 are one radius, and one spec.
            radii = tuple(sorted({float(r) for r in getattr(self, norm)}))
            object.__setattr__(self, norm, radii)
            for radius in radii:
                if not 0 < radius < float("inf"):
                    raise UserError(f"{norm}: a radius is a positive number of 1/255, not {radius:g}")
                if norm == "linf" and radius > 255:
                    raise UserError(
                        f"linf: a radius is at most 255/255, the whole range of a pixel, not {radius:g}/255"
                    )
        if not (self.l2 or self.linf):
            raise UserError("name at least one radius")
        if self.effort not in EFFORTS:
            raise unknown("effort", self.effort, EFFORTS)
        for name, value in {"images": 1, "seed": 0}.items():
            if getattr(self, name) < value:
                raise UserError(f"{name} is at least {value}, not {getattr(self, name)}")

    def balls(self) -> list[Ball]:
        """Return the balls in the order of the search: l2 first, each norm from the smallest radius."""
        return [Ball(norm, r / 255) for norm in NORMS for r in getattr(self, norm)]

    def norms(self) -> list[str]:
        """Return the norms that have a radius."""
        return [norm for norm in NORMS if getattr(self, norm)]

    def looks(self) -> list[Effort]:
        """Return the efforts at which rounds end, up to this one: the last is the whole budget, the one before a quarter.

        An order of two networks counts only if both find it.
        """
        return [Effort(passes=n, gradients=self.gradients) for n in EFFORTS.values() if n <= EFFORTS[self.effort]]

    @property
    def passes(self) -> int:
        """Return the passes of single images through the network that the search takes at most, in all.

        On top of the budget come two checks in each ball, one in each norm and one of the images when a round ends, a look
        for gradients, and `OTHERS`. What is not known here, the gradients of one unit a channel of the first signs, is left
        out.
        """
        checks = len(self.looks()) * (2 * len(self.balls()) + len(self.norms()) + 1)
        return self.images * (EFFORTS[self.effort] + checks + 2) + OTHERS


RADII: dict[str, dict[str, tuple[float, ...]]] = {
    "default": {"l2": (2, 8, 32, 128), "linf": (2, 8)},
    "full": {"l2": (1, 2, 4, 8, 16, 32, 64, 128, 255), "linf": (1, 2, 4, 8)},
}


def of_effort(name: str) -> Options:
    """Return what `lcrbench lipschitz` searches by an effort: its radii and images too."""
    if name not in EFFORTS:
        raise unknown("effort", name, EFFORTS)
    if name not in RADII:
        return Options(effort=name)
    return Options(RADII[name]["l2"], RADII[name]["linf"], images=200 if name == "full" else 100, effort=name)
