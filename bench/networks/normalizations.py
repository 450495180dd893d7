"""Preparations that networks commonly have, to find one that fits better than the declared one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from lcrbench.bench.records.external import Preprocess

PLAIN: Final[dict[str, Any]] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "range": (0.0, 1.0)}
COMMON: Final[dict[str, dict[str, Any]]] = {
    "no normalization": PLAIN,
    "0.5": PLAIN | {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    "ImageNet's": PLAIN | {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "CIFAR's": PLAIN | {"mean": (0.4914, 0.4822, 0.4465), "std": (0.247, 0.2435, 0.2616)},
    "0 to 255": PLAIN | {"range": (0.0, 255.0)},
}
"""By the names that findings have; means and standard deviations of the channels R, G, B."""


def others(declared: Preprocess) -> Iterator[tuple[str, Preprocess]]:
    """Yield other preparations by name: the common ones, the other order of channels, and the declared one done twice."""
    seen = [declared.facts]
    swapped = "RGB" if declared.channels == "BGR" else "BGR"
    varied = COMMON | {swapped: {"channels": swapped}, "twice the declared": _twice(declared)}
    for name, changes in varied.items():
        other = declared.model_copy(update=changes)
        if other.facts not in seen:
            seen.append(other.facts)
            yield name, other


def _twice(how: Preprocess) -> dict[str, Any]:
    """Return the fields of a normalization that is done again on its own result: (v - m) / s twice is one of the form."""
    return {
        "mean": tuple(m * (1 + s) for m, s in zip(how.mean, how.std, strict=True)),
        "std": tuple(s * s for s in how.std),
    }
