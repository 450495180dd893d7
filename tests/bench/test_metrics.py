"""Every metric keeps the contract of `lcrbench.bench.metrics`, and the check of it finds what does not."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from lcrbench import registry
from lcrbench.bench import metrics, planning
from lcrbench.bench.data.arrays import Split
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.options import Options as SearchOptions
from lcrbench.bench.metrics import Cost, Need, not_applicable
from lcrbench.bench.metrics._conformance import check
from lcrbench.bench.records import by_image
from lcrbench.bench.records.by_image import Effort, ImageKey, Images, Kept
from lcrbench.bench.records.files import unpack
from lcrbench.bench.records.grid import Grid
from lcrbench.bench.records.measurement import Measurement, MetricInfo
from lcrbench.errors import UserError


@pytest.mark.parametrize("name", registry.names("metric"))
def test_our_own_conform(name: str) -> None:
    assert check(registry.load("metric", name)) == []


@dataclass(frozen=True)
class Good:
    images: int = 3


@dataclass
class Thawed:
    images: int = 3


@dataclass(frozen=True)
class Bare:
    images: int


@dataclass(frozen=True)
class Odd:
    listed: Any = None


def module(**changed: Any) -> ModuleType:
    def measure(subject: Any, options: Any) -> list[Measurement]:
        return [Measurement(metric="mine", value=0.5, n=options.images)]

    made = ModuleType("somewhere.mine")
    parts = {
        "INFO": MetricInfo.about("What it is.", "fraction", bound="exact"),
        "NEEDS": frozenset({Need.OUTCOMES}),
        "Options": Good,
        "measure": measure,
    } | changed
    for name, part in parts.items():
        if part is not None:
            setattr(made, name, part)
    return made


def measuring(**changed: Any) -> Any:
    return lambda subject, options: [Measurement(**({"metric": "mine", "value": 0.5, "n": 1} | changed))]


def fails(subject: Any, options: Any) -> Any:
    raise KeyError("logits\nand more")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"COST": Cost.ON_REQUEST}, []),
        ({"NEEDS": None, "INFO": None}, ["INFO is missing", "NEEDS is missing"]),
        ({"INFO": "fraction"}, ["INFO is a MetricInfo, not str"]),
        ({"INFO": MetricInfo.about("What.", "", bound="exact")}, ["INFO has no unit"]),
        ({"INFO": MetricInfo.about("", "m", bound="exact")}, ["INFO.summary is one line"]),
        ({"PHASE": "evaluation"}, ["PHASE is a field of INFO now"]),
        ({"BY_DEFAULT": "yes"}, ["BY_DEFAULT is True or False"]),
        ({"INFO": MetricInfo.about("What.", "m", bound="lower", searched=True)}, ["INFO.searched and Options"]),
        ({"Options": SearchOptions}, ["INFO.searched and Options"]),
        ({"NEEDS": {"logits"}}, ["NEEDS is a frozenset of lcrbench.bench.metrics.Need"]),
        ({"COST": "high"}, ["COST is a"]),
        ({"Options": 3}, ["Options is a dataclass"]),
        ({"Options": Thawed}, ["Options is a frozen dataclass"]),
        ({"Options": Bare}, ["the option 'images' has no default"]),
        ({"Options": Odd}, ["the option 'listed' is a number, text, or a tuple of them, not NoneType"]),
        ({"measure": fails}, ["measure raises KeyError: 'logits"]),
        ({"measure": lambda subject, options: []}, ["measure yields nothing"]),
        ({"measure": lambda subject, options: [0.5]}, ["measure yields Measurement, not float"]),
        ({"measure": measuring(metric="yours")}, ["a measurement of 'yours', not of 'mine'"]),
        ({"measure": measuring(n=0)}, ["n = 0"]),
        ({"measure": measuring(low=0.6, high=0.7)}, ["outside its interval"]),
    ],
)
def test_what_does_not_conform_is_found(changed: dict[str, Any], said: list[str]) -> None:
    found = check(module(**changed))
    assert len(found) == len(said), found
    for line, part in zip(found, said, strict=True):
        assert part in line
        assert "\n" not in line


@pytest.mark.parametrize("name", ["mine", "somewhere.mine", "of_an_entry_point"])
def test_measurements_and_reasons_have_the_name_that_was_asked_for(name: str) -> None:
    def measure(subject: Any, options: Any) -> list[Measurement]:
        subject.leave_out("mine", "half of it")
        return [Measurement(metric="mine", value=0.5, n=1)]

    subject = SimpleNamespace(left_out={})
    subject.leave_out = lambda metric, reason: subject.left_out.update({metric: reason})
    found, left_out = metrics.measure(module(measure=measure), name, subject, {"images": 3})
    assert [m.metric for m in found] == [name]
    assert left_out == "half of it"
    with pytest.raises(
        UserError, match=f"the metric '{name}' gives a measurement of 'yours': it must be called 'mine'"
    ):
        metrics.measure(module(measure=measuring(metric="yours")), name, subject, {"images": 3})


def test_what_is_not_applicable_names_all_that_is_missing() -> None:
    assert not_applicable(frozenset({Need.FORWARD}), {Need.FORWARD, Need.LOGITS}) is None
    reason = not_applicable(frozenset(Need), {Need.OUTCOMES})
    assert reason is not None
    assert reason.count(" and no ") == len(Need) - 2
    assert all(need.value.removeprefix("a ") in reason for need in Need if need is not Need.OUTCOMES)
    assert metrics.cost(module()) is Cost.EACH_IMAGE_IS_CHEAP


@pytest.mark.parametrize("radius", [8, 2.5, 2.3456789, 255])
def test_figures_by_image_are_read_back_with_their_images(radius: float) -> None:
    """Figures of one batch may be of different images: each keeps its own."""
    few, many = Images(np.arange(2), b"few"), Images(np.arange(3), b"many")
    figures = {
        ImageKey.at("lipschitz_kappa", Effort(random=5, steps=5), "linf", radius / 255): Kept(
            np.ones(2, np.float32), few
        ),
        ImageKey(metric="my_pkg.of_others"): Kept(np.zeros(3, np.float32), many),
        ImageKey.at("lipschitz_kappa", None, "l2", radius / 255): Kept(np.full(2, np.inf, np.float32), few),
    }
    entries, content = by_image.pack(figures)
    assert entries[0].key.radius_255 == radius
    assert [entry.images for entry in entries] == [0, 1, 0]
    found = by_image.unpack(entries, unpack(content))
    assert list(found) == list(figures)
    for key, kept in figures.items():
        assert found[key].values.tolist() == kept.values.tolist()
        assert found[key].images.identity == kept.images.identity


def test_a_subject_keeps_which_images_a_figure_is_of() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    subject = Subject(nn.Identity(), Split(images, np.arange(6)), 6)
    for name, indices in (("a", [0, 2]), ("b", [0, 2]), ("c", [1, 2, 3])):
        subject.keep(ImageKey(metric=name), np.zeros(len(indices)), np.array(indices))
    a, b, c = (kept.images for kept in subject.by_image.values())
    assert a is b
    assert a.identity != c.identity
    changed = Images.of(255 - images, np.array([0, 2]))
    assert changed.identity != a.identity, "what the images show, and not their places alone"


def test_what_is_measured_by_default_says_so_and_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """No list has to be edited; what somebody installed is measured where it is named."""
    own = [n for n in registry.files("metric") if metrics.by_default(registry.load("metric", n))]
    assert {"accuracy", "corruption_error", "lipschitz_kappa"} <= set(own)
    assert "calibration_error" not in own
    names = registry.names
    monkeypatch.setattr(registry, "names", lambda kind: [*names(kind), "somebodys"])
    assert list(planning.metrics_of(Grid())) == own
    assert planning.metrics_of(Grid(metrics={})) == {}
