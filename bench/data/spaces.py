"""Label spaces: which classes a data set or a network can name, by id, in which order.

    cifar10, cifar100            the names of the classes, in the published order (cifar100: the 100 fine ones)
    imagenet1k                   the 1,000 WordNet ids, sorted; the index of a class is its rank
    imagenet-a, imagenet-r       the 200 ids of imagenet1k that these test sets have, in its order
    tiny-imagenet-200            the ids in the set's own wnids.txt, sorted
    own                          names that mean nothing outside of their data set

A data set of a part of imagenet1k's ids (Imagenette) declares imagenet1k too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

MOST_CLASSES = 100_000
"""Classes that a data set may have: a network has an output for each, and ImageNet-21k has 21,841."""

OWN = "own"
TINY = "tiny-imagenet-200"
IMAGENET = "imagenet1k"


@cache
def spaces() -> dict[str, tuple[str, ...]]:
    """Return the ids of the label spaces that are the same in every copy, in their order."""
    text = Path(__file__).with_name("label_spaces.json").read_text(encoding="utf-8")
    return {name: tuple(ids.split()) for name, ids in json.loads(text).items()}


def ids(space: str) -> tuple[str, ...]:
    """Return the ids of a label space, such as `imagenet1k`."""
    return spaces()[space]


def is_wnid(text: str) -> bool:
    """Tell whether a text has the form of a WordNet id: n and eight digits.

    >>> is_wnid("n01440764"), is_wnid("tench")
    (True, False)
    """
    return len(text) == 9 and text[0] == "n" and text[1:].isascii() and text[1:].isdigit()


def of_folders(classes: Iterable[str]) -> str:
    """Return the label space that class folders of these names are of: imagenet1k if all are ids of it, else own."""
    return IMAGENET if set(classes) <= set(ids(IMAGENET)) else OWN


def reordered(found: Iterable[str], space: str) -> bool:
    """Tell whether names are those of a space in another order: labels would then stand for other classes.

    Names that differ in themselves are no such sign: a published copy of CIFAR-100 calls the crab "cra".
    """
    names = tuple(found)
    return names != ids(space) and sorted(names) == sorted(ids(space))
