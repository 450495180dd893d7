"""What a search is asked for: images, radii, and how hard to search; three presets of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lcrbench.bench.lipschitz.ball import NORMS, Ball
from lcrbench.bench.records.by_image import Effort
from lcrbench.errors import UserError, unknown


@dataclass(frozen=True)
class Options:
    """Which images and radii, and how hard to search.

    `l2` and `linf`: radii in 1/255 pixel units. `images`: number of test images, evenly spaced over the classes. An image
    and radius gets `restarts` rounds of `random` candidates and two chains of `steps` steps; `searches` repeats all of it
    with other seeds, and the best of them counts.
    """

    l2: tuple[float, ...] = (2.0, 8.0, 128.0)
    linf: tuple[float, ...] = ()
    images: int = 100
    random: int = 5
    steps: int = 5
    restarts: int = 1
    searches: int = 1
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
        least = {"images": 1, "random": 1, "restarts": 1, "searches": 1, "steps": 0, "seed": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise UserError(f"{name} is at least {value}, not {getattr(self, name)}")

    def balls(self) -> list[Ball]:
        """Return the balls in the order of the search: l2 first, each norm from the smallest radius."""
        return [Ball(norm, r / 255) for norm in NORMS for r in getattr(self, norm)]

    def efforts(self) -> list[Options]:
        """Return this effort, after the quick one on the same images and radii if this one looks harder.

        An order of two networks counts only if both find it.
        """
        one = PRESETS["quick"]
        quick = replace(self, random=one.random, steps=one.steps, restarts=one.restarts, searches=one.searches)
        return [quick, self] if self.passes > quick.passes else [self]

    @property
    def passes(self) -> int:
        """Return about how many passes of single images through the network the search takes."""
        chains = self.restarts * (self.random + 2 * (self.steps + bool(self.steps))) * self.searches
        return self.images * len(self.balls()) * (chains + 2)

    @property
    def effort(self) -> Effort:
        """Return how hard the search looks."""
        rounds = self.restarts * self.searches
        return Effort(random=self.random * rounds, steps=self.steps * rounds, searches=self.searches)


PRESETS = {
    "quick": Options(),
    "default": Options(l2=(2, 8, 32, 128), linf=(2, 8), images=500),
    "full": Options(
        l2=(1, 2, 4, 8, 16, 32, 64, 128, 255),
        linf=(1, 2, 4, 8),
        images=500,
        random=10,
        steps=10,
        restarts=2,
        searches=3,
    ),
}


def preset(name: str) -> Options:
    """Return the options of "quick", "default" or "full"."""
    if name not in PRESETS:
        raise unknown("Lipschitz preset", name, PRESETS)
    return PRESETS[name]
