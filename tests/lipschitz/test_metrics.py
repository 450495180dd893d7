"""Every Lipschitz metric of the registry, on every kind of network it meets: figures that a record can hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from torch import nn

from lcrbench import registry
from lcrbench.bench.records.measurement import Measurement

from .nets import built, grey, subject

NAMES = [n for n in registry.names("metric") if n.startswith("lipschitz_")]
SMALL = {
    "images": 6,
    "l2": (2, 8),
    "linf": (2,),
    "effort": "trial",
    "batches": 3,
    "batch": 4,
    "pool_factor": 2,
    "first": 10,
    "draws": 20,
}
OPTIONS = {f for name in NAMES for f in registry.load("metric", name).Options.__dataclass_fields__}
KINDS = {
    ("lipschitz_modulus", "found"): ("fraction of images", "exact"),
    ("lipschitz_kappa", "flipped"): ("fraction of images", "lower"),
    ("lipschitz_kappa", "found"): ("fraction of images", "exact"),
    ("lipschitz_convergence", "flipped"): ("fraction of images", "lower"),
    ("lipschitz_clever", "good"): ("fraction of images", "exact"),
    ("lipschitz_clever", "capped"): ("fraction of images", "exact"),
    ("lipschitz_smoothing", "abstained"): ("fraction of images", "exact"),
    ("lipschitz_probes", "passed"): ("1 passed, 0 failed", "exact"),
}
"""Unit and bound of the statistics whose metric has others."""

SILENT = {
    ("full_precision", "vgg_tiny"): {"first_layer", "first_flips", "agreement", "proxy", "layer_gain", "probes"},
    ("irnet", "vgg_tiny"): {"first_layer", "first_flips"},
    ("bnn", "resnet20"): set(),
    ("reste", "resnet20"): set(),
    ("rbnn", "vgg_tiny"): {"first_layer", "first_flips", "product"},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("method", "backbone"), SILENT)
def test_measurements_are_named_finite_and_inside_their_intervals(name: str, method: str, backbone: str) -> None:
    metric = registry.load("metric", name)
    labels = np.arange(8) % 4
    s = subject(built(method, backbone), grey(8, 16, low=0, high=1), labels)
    fields = metric.Options.__dataclass_fields__
    assert set(SMALL) <= OPTIONS
    options = metric.Options(**{k: v for k, v in SMALL.items() if k in fields})
    found: list[Measurement] = list(metric.measure(s, options))
    silent = {f"lipschitz_{short}" for short in SILENT[method, backbone]}
    if name in silent:
        assert not found
        assert s.left_out[name]
        return
    if name in ("lipschitz_slope", "lipschitz_flip_radius"):
        assert found or s.left_out[name]
    else:
        assert (name in s.left_out) == (method == "rbnn" and name == "lipschitz_probes"), "its sign centres by image"
    if name not in ("lipschitz_slope", "lipschitz_flip_radius"):
        assert found
    for m in found:
        assert m.metric == name
        assert math.isfinite(m.value)
        assert m.n >= 1
        assert m.low is None or m.low <= m.value + 1e-9
        assert m.high is None or m.high >= m.value - 1e-9
        if m.statistic == "max":
            assert m.low is None
            assert m.high is None
        json.loads(m.model_dump_json())
        assert (metric.INFO.kind(m.statistic).unit, metric.INFO.kind(m.statistic).bound) == KINDS.get(
            (name, m.statistic), (metric.INFO.unit, metric.INFO.bound)
        )
    assert set(metric.INFO.other) == {statistic for key, statistic in KINDS if key == name}
    keys = [(m.statistic, m.layer, m.norm, m.radius, m.detail) for m in found]
    assert len(set(keys)) == len(keys)
    assert metric.INFO.summary
    assert "\n" not in metric.INFO.summary
    assert metric.INFO.lipschitz


@pytest.mark.parametrize("name", NAMES)
def test_options_can_stand_in_a_spec(name: str) -> None:
    import dataclasses

    options = dataclasses.asdict(registry.load("metric", name).Options())
    for value in options.values():
        assert isinstance(value, (bool, int, float, str, tuple))


def test_quick_metrics_share_one_search() -> None:
    s = subject(built(), grey(8, 16, low=0, high=1))
    options = registry.load("metric", "lipschitz_modulus").Options(l2=(8,), images=6)
    list(registry.load("metric", "lipschitz_modulus").measure(s, options))
    before = s.passes
    for name in ("lipschitz_kappa", "lipschitz_relative_gain", "lipschitz_slope"):
        list(registry.load("metric", name).measure(s, options))
    assert s.passes == before


def test_first_layer_figures_are_bounds_within_the_box() -> None:
    assert registry.load("metric", "lipschitz_first_layer").INFO.bound == "lower"
    assert registry.load("metric", "lipschitz_first_flips").INFO.bound == "upper"


def test_a_layer_without_a_bound_is_left_out_with_its_reason() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, dilation=2), nn.Flatten(), nn.Linear(4 * 4 * 4, 3))
    s = subject(net, grey(4, 8))
    for name in ("lipschitz_norms", "lipschitz_product"):
        metric = registry.load("metric", name)
        assert not list(metric.measure(s, metric.Options()))
        assert s.left_out[name] == "no bound is known for the dilated convolution '0'"
