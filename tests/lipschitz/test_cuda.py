"""Every Lipschitz metric on a CUDA device: it runs there, and agrees with the CPU as far as no sign hangs on rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lcrbench import registry
from lcrbench.bench import device

from .nets import built, grey, subject
from .test_metrics import NAMES, SMALL

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
# What is computed in float64, from the weights and the image.
STEADY = ("lipschitz_norms", "lipschitz_product", "lipschitz_first_layer", "lipschitz_first_flips")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("method", "backbone"), [("irnet", "resnet20"), ("full_precision", "vgg_tiny")])
def test_a_metric_on_cuda(name: str, method: str, backbone: str) -> None:
    device.prepare("cuda")
    metric = registry.load("metric", name)
    options = metric.Options(**{k: v for k, v in SMALL.items() if k in metric.Options.__dataclass_fields__})
    found = {}
    for where in ("cpu", "cuda"):
        s = subject(built(method, backbone).to(where), grey(8, 16, low=0, high=1), np.arange(8) % 4)
        s.device = where
        found[where] = {(m.statistic, m.layer, m.norm, m.radius): m.value for m in metric.measure(s, options)}
    if name in STEADY or (method == "full_precision" and name in ("lipschitz_gradients", "lipschitz_modulus")):
        assert found["cuda"].keys() == found["cpu"].keys()
        for key, value in found["cpu"].items():
            assert found["cuda"][key] == pytest.approx(value, rel=0.05, abs=0.02), key
    else:
        assert bool(found["cuda"]) == bool(found["cpu"])
