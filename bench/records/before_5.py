"""Reads what records of schema 4 and older wrote as text and schema 5 has fields for. Nothing writes these forms any more.

    metric's name `lipschitz_...`                  its phase; unit "fraction of ..."     its scale
    statistic "found by random", "8-128", "p1"     `Detail.form`, `.inner_radius`, `.probe`, `.search`
    layer "stage 2"                                `Detail.stage`
    ledger key "training X as a teacher"           `Ledger.teachers`
    array "lipschitz/EFFORT/FIGURE/NORM/RADIUS"    `ImageKey`
    array "subset 100"                             the predictions' `chosen` and `positions`

The functions take JSON values and change them in place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench.records.by_image import ByImage, Effort, ImageKey, Images, kept
from lcrbench.bench.records.measurement import Probe, Scale
from lcrbench.bench.records.statistics import Statistic

FAMILY = "lipschitz"
SEARCHED = {"searched": True, "scale": Scale.POSITIVE}
INFOS: dict[str, dict[str, Any]] = {
    "lipschitz_kappa": SEARCHED
    | {"title": "kappa", "open": [Statistic.Q50, Statistic.Q95], "ranking": {"order": 0, "threshold": 1.0}},
    "lipschitz_relative_gain": SEARCHED | {"title": "relative gain", "ranking": {"order": 1}},
    "lipschitz_flip_radius": {
        "searched": True,
        "scale": Scale.DISTANCE,
        "title": "flip radius",
        "open": [Statistic.Q5, Statistic.Q50],
        "ranking": {"order": 2, "higher_is_better": True, "distance": True},
    },
    "lipschitz_modulus": SEARCHED,
    "lipschitz_shell": SEARCHED | {"title": "shell gain"},
    "lipschitz_slope": {"searched": True, "scale": Scale.REAL},
    "lipschitz_gradients": {"title": "gradient norm"},
    "lipschitz_clever": {"title": "CLEVER", "scale": Scale.DISTANCE},
    "lipschitz_smoothing": {
        "title": "certified radius",
        "scale": Scale.DISTANCE,
        "note": "certified for the smoothed classifier, not for the network",
    },
    "lipschitz_first_layer": {
        "title": "distance to the first layer's nearest flip",
        "scale": Scale.DISTANCE,
        "note": "exact without the walls of the box, within it a lower bound",
    },
    "lipschitz_first_flips": {
        "title": "first layer's signs that can each flip",
        "note": "exact without the walls of the box, within it an upper bound",
    },
}
"""What the metrics of schema 4 said nowhere and their modules say now (a test compares the two)."""

TITLES = {
    "flipped": "flip found",
    "good": "good fits",
    "capped": "scores capped at the radius",
    "abstained": "abstained",
}

_EFFORT = re.compile(r"(\d+) random candidates and 2 x (\d+) steps an image and radius(?:, (\d+) searches)?")
_TEACHER = re.compile(r"training (.+) as a teacher")
_STAGE = re.compile(r"stage (\d+)")
_PROBE = re.compile(rf"({'|'.join(Probe)}), (\w+)(, passed)?")


def training(data: dict[str, Any]) -> None:
    """Bring a training of schema 4 into the present form."""
    _ledger(data["ledger"])


def evaluation(data: dict[str, Any]) -> None:
    """Bring an evaluation of schema 4 into the present form."""
    for batch in data["batches"]:
        for measured in batch["measured"]:
            if measured["info"] is not None:
                _info(measured["metric"], measured["info"])
            for m in measured["measurements"]:
                _measurement(m)


def run(data: dict[str, Any]) -> None:
    """Bring the ledger and the numbers of a run of schema 1 to 3 into the present form."""
    if data.get("ledger"):
        _ledger(data["ledger"])
    for metric, info in data.get("metrics", {}).items():
        _info(metric, info)
    for m in data.get("measurements", ()):
        _measurement(m)


def _ledger(ledger: dict[str, Any]) -> None:
    """Move what a teacher's own training took to the teachers, which records of before schema 3 did not list."""
    ledger.pop("budget_class", None)
    teachers = ledger.setdefault("teachers", [])
    known = {teacher["method"] for teacher in teachers}
    for network, images in list(ledger["forward"].items()):
        if not (found := _TEACHER.fullmatch(network)):
            continue
        del ledger["forward"][network]
        ledger["backward"].pop(network, None)
        if found[1] not in known:
            steps = round(images * ledger["steps"] / ledger["images"])
            teachers.append({"method": found[1], "id": "", "images": int(images), "steps": steps, "weights_sha256": ""})


def _info(metric: str, info: dict[str, Any]) -> None:
    """Say of a metric what its name and the units said."""
    lipschitz = metric.startswith("lipschitz_")
    info["phase"] = "lipschitz" if lipschitz else "evaluation"
    share = info["unit"] == "fraction" or info["unit"].startswith("fraction of")
    info["scale"] = Scale.SHARE if share else Scale.POSITIVE if lipschitz else Scale.REAL
    info |= INFOS.get(metric, {})
    other: dict[str, dict[str, Any]] = {}
    for name, kind in info.get("other", {}).items():
        statistic = Statistic.FOUND if name.startswith("found by ") else name
        statistic = Statistic.PASSED if name.endswith(", passed") else statistic
        kind["scale"] = Scale.SHARE if kind["unit"].startswith("fraction") else Scale.POSITIVE
        other[statistic] = kind | {"title": TITLES.get(name, "")}
    info["other"] = other


def _measurement(m: dict[str, Any]) -> None:
    """Part what the statistic and the layer said of a number into fields."""
    statistic, detail = _statistic(m["metric"], m.get("statistic", "mean"))
    if m["metric"].startswith("lipschitz_") and (stage := _STAGE.fullmatch(m.get("layer", ""))):
        m["layer"] = ""
        detail["stage"] = int(stage[1])
    m["statistic"], m["detail"] = statistic, detail or None


def _statistic(metric: str, text: str) -> tuple[str, dict[str, Any]]:
    """Return the statistic and the detail that a statistic of schema 4 stands for."""
    if metric in ("lipschitz_kappa", "lipschitz_modulus"):
        if text.startswith("found by "):
            return Statistic.FOUND, {"form": text.removeprefix("found by ")}
        if text.startswith("mean of search "):
            return Statistic.MEAN, {"search": int(text.removeprefix("mean of search "))}
    elif metric == "lipschitz_slope" and "-" in text:
        return Statistic.MEAN, {"inner_radius": float(text.partition("-")[0]) / 255}
    elif metric in ("lipschitz_gradients", "lipschitz_clever") and " " in text:
        form, _, statistic = text.partition(" ")
        return statistic, {"form": form}
    elif metric == "lipschitz_proxy":
        return Statistic.MEAN, {"form": text}
    elif metric == "lipschitz_product":
        return Statistic.UPPER, {"form": text}
    elif metric == "lipschitz_probes" and (found := _PROBE.fullmatch(text)):
        return Statistic.PASSED if found[3] else Statistic.WORST, {"probe": found[1], "form": found[2]}
    return text, {}


def subsets(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the chosen images of a file of predictions as the present form has them."""
    found = {int(name.removeprefix("subset ")): v for name, v in arrays.items() if name.startswith("subset ")}
    chosen = sorted(found)
    nowhere = np.empty(0, np.int64)
    return {"chosen": np.array(chosen, np.int64), "positions": np.concatenate([nowhere, *(found[n] for n in chosen)])}


def figures(arrays: Mapping[str, NDArray[Any]]) -> ByImage:
    """Return the figures in a file of figures by image; what the search did not put there is left out."""
    if f"{FAMILY}/images" not in arrays:
        return {}
    pixels = arrays.get(f"{FAMILY}/pixels", np.empty(0, np.uint8))
    images = Images(arrays[f"{FAMILY}/images"], pixels.tobytes())
    found: ByImage = {}
    for name, values in arrays.items():
        parts = name.split("/")
        if len(parts) != 5 or parts[0] != FAMILY or not (effort := _EFFORT.fullmatch(parts[1])):
            continue
        key = ImageKey(
            metric=f"lipschitz_{parts[2]}",
            effort=Effort(random=int(effort[1]), steps=int(effort[2]), searches=int(effort[3] or 1)),
            norm=parts[3],
            radius_255=float(parts[4]),
        )
        found[key] = kept(values, images)
    return found
