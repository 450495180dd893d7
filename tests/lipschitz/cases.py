"""The kinds of networks whose exact answers the search is held to."""

from __future__ import annotations

from collections.abc import Callable

from . import enumerable
from .enumerable import Enumerable, Layer
from .truth import Hardtanh, Linear

NORMS = ("l2", "linf")

JUMPS: dict[str, list[Callable[[], Enumerable]]] = {
    "one hidden layer": [lambda k=k, h=h: enumerable.sign_mlp((h,), seed=k) for k, h in enumerate((4, 6, 8))],
    "two hidden layers": [
        lambda: enumerable.sign_mlp((6, 6), seed=0),
        lambda: enumerable.sign_mlp((8, 8), seed=1, by="identity"),
        lambda: enumerable.sign_mlp((8, 8), seed=3),
    ],
    "binary convolutions": [
        lambda: enumerable.binary_conv("irnet", (2, 2), 0),
        lambda: enumerable.binary_conv("bnn", (4, 4), 1),
        lambda: enumerable.binary_conv("adabin", (2, 2), 2),
    ],
    "no gradient": [lambda k=k: enumerable.sign_mlp((8,) * (1 + k % 2), seed=k, by="blind") for k in range(2)],
}

SMOOTH: dict[str, tuple[Callable[[int], Layer], type[Linear] | type[Hardtanh]]] = {
    "linear": (enumerable.linear, Linear),
    "hardtanh": (enumerable.hardtanh, Hardtanh),
}
