"""Every Lipschitz metric of the registry, on every kind of network it meets: figures that a record can hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from lcrbench import registry
from lcrbench.bench.schema import Measurement

from .nets import built, grey, subject

NAMES = [n for n in registry.names("metric") if n.startswith("lipschitz_")]
SMALL = {
    "images": 6,
    "l2": (2, 8),
    "linf": (2,),
    "random": 2,
    "steps": 2,
    "radii": (8,),
    "directions": 2,
    "batches": 3,
    "batch": 4,
    "pool_factor": 2,
    "first": 10,
    "draws": 20,
}
SILENT = {
    ("full_precision", "vgg_tiny"): {"first_layer", "first_flips", "agreement", "proxy", "layer_gain", "probes"},
    ("irnet", "vgg_tiny"): {"first_layer", "first_flips"},
    ("bnn", "resnet20"): set(),
    ("rbnn", "vgg_tiny"): {"first_layer", "first_flips", "product"},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("method", "backbone"), SILENT)
def test_measurements_are_named_finite_and_inside_their_intervals(name: str, method: str, backbone: str) -> None:
    metric = registry.load("metric", name)
    labels = np.arange(8) % 4
    s = subject(built(method, backbone), grey(8, 16, low=0, high=1), labels)
    fields = metric.Options.__dataclass_fields__
    options = metric.Options(**{k: v for k, v in SMALL.items() if k in fields})
    found: list[Measurement] = list(metric.measure(s, options))
    silent = {f"lipschitz_{short}" for short in SILENT[method, backbone]}
    if name in silent:
        assert not found
        return
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
    keys = [(m.statistic, m.layer, m.norm, m.radius) for m in found]
    assert len(set(keys)) == len(keys)
    assert metric.INFO.summary
    assert "\n" not in metric.INFO.summary
    assert metric.PHASE == "lipschitz"


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
