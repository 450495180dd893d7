"""Against libraries that others wrote (the extra `peers`); a test is skipped, and says why, where its library is missing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lcrbench.bench.lipschitz import clever, gradients, search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.seeds import generator
from lcrbench.models import spectral

from .nets import built, grey, subject


@pytest.mark.parametrize(("out", "into", "k", "size"), [(8, 3, 3, 24), (6, 8, 5, 21), (16, 16, 3, 32)])
def test_torus_bound_against_orthogonium(out: int, into: int, k: int, size: int) -> None:
    """Gram iteration (Delattre et al. 2023, arXiv 2305.16173) converges from above to the norm on the same torus."""
    peer = pytest.importorskip("orthogonium.layers.conv.singular_values.delattre24")
    w = torch.randn(out, into, k, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    upper = spectral.conv_upper(w, 1, k // 2, (size, size))
    theirs = float(peer.compute_delattre2023(w.clone(), n=size + k - 1, n_iter=12))
    assert upper == pytest.approx(theirs, rel=1e-3)
    assert upper <= theirs * (1 + 1e-9), "theirs is a bound of the same norm from above"
    assert spectral.conv_lower(w, 1, k // 2, (size, size)) <= theirs


class Smooth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 8 * 8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(torch.tanh(self.conv(x)).flatten(1))
        return y


def test_a_smooth_network_against_torchlip() -> None:
    """Their Jacobian norm is ours; our search finds as much; neither it nor their attack passes the bound."""
    peer = pytest.importorskip("deel.torchlip.utils.evaluate_lip_const")
    net, images = Smooth().eval(), grey(6, 8)
    points = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    ours = gradients.jacobian_norms(net, points, "true").max()
    theirs = float(peer.evaluate_lip_const(net, points.clone(), "jacobian_norm"))
    assert ours == pytest.approx(theirs, rel=1e-4)
    found = search.modulus(subject(net, images), Options(l2=(1,), images=6)).found[0]
    attack = float(peer.evaluate_lip_const(net, points.clone(), "attack"))
    bound = spectral.product_bound(net, (3, 8, 8)).bound
    assert 0.98 * ours <= found.gain.max() <= bound
    assert attack <= bound


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_whole_clever_score_against_the_toolbox(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the image to the score: the toolbox draws our pool and our batches, and does the rest itself."""
    toolbox = pytest.importorskip("art.metrics.metrics")
    from art.estimators.classification import PyTorchClassifier

    settings = clever.Settings(radius=0.3, norm=norm, batches=8, batch=6, pool_factor=5)
    net = built("irnet", "vgg_tiny")
    classifier = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), (3, 16, 16), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    net.eval()
    for index, image in enumerate(grey(1, 16, low=0, high=1)):
        ours = clever.score(subject(net, image[None], block=1), image, index, settings)
        draw = generator(settings.seed, "clever", index)
        x = np.ascontiguousarray(image.transpose(2, 0, 1))
        steps = (clever.sample(draw, image, settings).double().numpy() - x).reshape(settings.pool_factor * 6, -1)
        rows = itertools.cycle(draw.integers(0, len(steps), size=(settings.batches, settings.batch)))

        def pool(*args: Any, steps: np.ndarray = steps, **kwargs: Any) -> np.ndarray:
            return steps.copy()

        def batch(*args: Any, rows: Any = rows) -> np.ndarray:
            return np.asarray(next(rows))

        monkeypatch.setattr(toolbox, "random_sphere", pool)
        monkeypatch.setattr(toolbox.np.random, "choice", batch)
        p = 2 if norm == "l2" else np.inf
        sampling = (settings.batches, settings.batch, settings.radius, p)
        theirs = toolbox.clever_u(classifier, x, *sampling, pool_factor=5, verbose=False)
        assert ours.score == pytest.approx(float(theirs), rel=1e-4)
