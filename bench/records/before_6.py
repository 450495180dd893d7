"""Reads what records of schema 5 and older wrote as text and schema 6 has fields for. Nothing writes these forms any more.

    data's name "clothes[train=300,test=all,seed=0]"      the name "clothes"; the numbers of images have fields
    images shown by "clean" and "corruption"              by phase: all of them are "evaluation"

The functions take JSON values and change them in place.
"""

from __future__ import annotations

import re
from typing import Any

_SUBSET = re.compile(r"(\[train=(all|\d+),test=(all|\d+),seed=\d+\])+\Z")


def training(data: dict[str, Any]) -> None:
    """Bring a training of schema 5 into the present form."""
    name(data["spec"]["data"])


def evaluation(data: dict[str, Any]) -> None:
    """Bring an evaluation of schema 5 into the present form."""
    if data["training"]:
        name(data["training"]["data"])
    for batch in data["batches"]:
        batch["forward"] = _by_phase(batch["forward"])
    for asked in data["asked"]:
        name(asked["protocol"]["test"])


def run(data: dict[str, Any]) -> None:
    """Bring a run of schema 1 to 3 into the present form."""
    name(data["spec"]["data"])
    if data.get("ledger"):
        data["ledger"]["evaluation_forward"] = _by_phase(data["ledger"]["evaluation_forward"])


def name(data: dict[str, Any]) -> None:
    """Take from the name of data what it says of a subset."""
    data["name"] = _SUBSET.sub("", data["name"])


def _by_phase(forward: dict[str, int]) -> dict[str, int]:
    """Return the images by phase, in which a cell's count as the evaluation's."""
    shown = {"evaluation": sum(n for key, n in forward.items() if key in ("clean", "corruption", "evaluation"))}
    rest = {key: n for key, n in forward.items() if key not in ("clean", "corruption", "evaluation")}
    return (shown if shown["evaluation"] else {}) | rest
