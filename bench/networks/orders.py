"""Orders of classes: which output of a network stands for which class of the data, and which order fits.

    ""                    output k is class k of the data
    background-first      1,001 outputs for 1,000 classes, the first of which is none of them; background-last likewise
    shifted-up            class k is output k + 1, the last one the first output; shifted-down the other way round
    string-order          folders sorted as text: 1, 10, 2;  natural-order: numbers by value: 1, 2, 10
    ilsvrc-ids            the order of the ids 1 to 1000 of ILSVRC2012's devkit
    imagenet1k            the 1,000 sorted WordNet ids, for data that have some of them
    FILE                  a file of the classes' ids, one at the beginning of each line, such as wnids.txt

Which order fits is named, and none is chosen by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lcrbench.bench.data import spaces
from lcrbench.errors import UserError
from lcrbench.images import natural
from lcrbench.untrusted import FILE_BYTES, bytes_of, place

DATA: Final = ""
NAMES: Final = (
    "background-first",
    "background-last",
    "shifted-up",
    "shifted-down",
    "string-order",
    "natural-order",
    "ilsvrc-ids",
    "imagenet1k",
    "imagenet1k-background-first",
)
A_CLASS: Final = 20
"""Images a class without which matching fits noise."""


class Order(NamedTuple):
    """An order: its name, the output of each class of the data, and of a file the hash of its ids."""

    name: str
    columns: tuple[int, ...]
    sha256: str = ""


def candidates(classes: Sequence[str], outputs: int, files: Iterable[Path] = ()) -> list[Order]:
    """Return the orders that a network with so many outputs may have, that of the data first if it may be."""
    k = len(classes)
    found = [Order(DATA, tuple(range(k)))] if outputs == k else []
    if outputs == k + 1:
        found += [Order("background-first", tuple(range(1, k + 1))), Order("background-last", tuple(range(k)))]
    if outputs == k:
        found.append(Order("shifted-up", tuple((i + 1) % k for i in range(k))))
        found.append(Order("shifted-down", tuple((i - 1) % k for i in range(k))))
        found.append(_ranked("string-order", classes, sorted(classes)))
        found.append(_ranked("natural-order", classes, sorted(classes, key=lambda label: natural((label,)))))
        if tuple(classes) == spaces.ids(spaces.IMAGENET):
            found.append(Order("ilsvrc-ids", ilsvrc()))
    if set(classes) < set(spaces.ids(spaces.IMAGENET)):
        whole = spaces.ids(spaces.IMAGENET)
        if outputs == len(whole):
            found.append(_ranked("imagenet1k", classes, whole))
        if outputs == len(whole) + 1:
            found.append(_ranked("imagenet1k-background-first", classes, ("", *whole)))
    for file in files:
        ids = _ids(file)
        if len(ids) == outputs and set(classes) <= set(ids):
            found.append(_ranked(file.name, classes, ids))
    seen: dict[tuple[int, ...], Order] = {}
    for order in found:
        seen.setdefault(order.columns, order)
    return [*seen.values()]


def chosen(text: str, classes: Sequence[str], outputs: int) -> Order:
    """Return the order that was named; raises `UserError` if there is none, or the outputs are too many or too few."""
    path = place(text)
    if text not in NAMES and path.is_file():
        ids = _ids(path)
        if lacking := [c for c in classes if c not in ids]:
            raise UserError(
                f"{path.name} names {len(ids)} ids and not {len(lacking)} classes of the data, such as '{lacking[0]}'"
            )
        if len(ids) != outputs:
            raise UserError(f"{path.name} names {len(ids)} ids, and the network gives {outputs} outputs")
        return _ranked(path.name, classes, ids)._replace(sha256=hashlib.sha256("\n".join(ids).encode()).hexdigest())
    for order in candidates(classes, outputs):
        if order.name == text:
            return order
    if text in ("string-order", "natural-order", "shifted-up", "shifted-down") and outputs == len(classes):
        return Order(text, tuple(range(outputs)))  # it is that of the data
    known = f"; it may be {', '.join(NAMES)}, or a file of ids"
    why = f"is none for {outputs} outputs and {len(classes)} classes" if text in NAMES else f"is not known{known}"
    raise UserError(f"the order of classes '{text}' {why}")


def ilsvrc() -> tuple[int, ...]:
    """Return for each WordNet id of ImageNet-1k, sorted, its place among ILSVRC2012's ids, from 0."""
    text = Path(spaces.__file__).with_name("ilsvrc_ids.json").read_text(encoding="utf-8")
    columns: list[int] = json.loads(text)
    return tuple(columns)


def right(outputs: NDArray[np.float32], labels: NDArray[np.int64], order: Order) -> NDArray[np.bool_]:
    """Return which images are classified right by an order: outputs (N, M) and labels (N,) to (N,)."""
    found: NDArray[np.bool_] = outputs[:, list(order.columns)].argmax(1) == labels
    return found


def matched(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> float | None:
    """Return the accuracy by the best one-to-one assignment of outputs to classes; None with too few images a class.

    It is the most accurate order that these images have, so it is above chance for an untrained network too.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < A_CLASS:
        return None
    confusion = np.zeros((len(classes), outputs.shape[1]), np.int64)
    np.add.at(confusion, (np.searchsorted(classes, labels), outputs.argmax(1)), 1)
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    return float(confusion[rows, columns].sum() / len(labels))


def _ranked(name: str, classes: Sequence[str], ids: Sequence[str]) -> Order:
    place = {label: k for k, label in enumerate(ids)}
    return Order(name, tuple(place[label] for label in classes))


def _ids(file: Path) -> list[str]:
    try:
        lines = bytes_of(file, FILE_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the order of classes in {file}: {error}") from error
    return [words[0].strip(",") for line in lines if (words := line.split())]
