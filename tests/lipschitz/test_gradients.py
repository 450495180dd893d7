"""Gradient figures, CLEVER and smoothing on networks whose answers are known, and against the toolbox."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lcrbench import registry
from lcrbench.bench.lipschitz import clever, gradients
from lcrbench.bench.metrics import lipschitz_smoothing as smoothing
from lcrbench.errors import UserError

from .nets import Linear, Signs, built, grey, subject

D = 48


def linear(rows: int, seed: int = 0) -> tuple[np.ndarray, Linear]:
    w = np.random.default_rng(seed).standard_normal((rows, D))
    return w, Linear(w)


class TestJacobians:
    @pytest.mark.parametrize("kind", gradients.KINDS)
    def test_of_a_linear_map(self, kind: gradients.Kind) -> None:
        w, net = linear(5)
        points = torch.from_numpy(grey(30)).permute(0, 3, 1, 2)
        norms = gradients.jacobian_norms(net, points, kind)
        np.testing.assert_allclose(norms, np.linalg.svd(w, compute_uv=False)[0], rtol=1e-5)

    def test_true_gradient_sees_no_sign_without_shortcuts(self) -> None:
        points = torch.from_numpy(grey(3, 16)).permute(0, 3, 1, 2)
        assert (gradients.jacobian_norms(built("bnn", "vgg_tiny"), points, "true") == 0).all()
        assert (gradients.jacobian_norms(built("bnn", "vgg_tiny"), points, "straight") > 0).any()
        assert (gradients.jacobian_norms(built("bi_real", "resnet20"), points, "true") > 0).any()

    def test_true_gradient_is_the_slope_between_jumps(self) -> None:
        net = built("bi_real", "resnet20").double()
        x = torch.from_numpy(grey(1, 16)).permute(0, 3, 1, 2).double()
        j = gradients.jacobians(net, x, "true")[0]
        assert (j != 0).any()
        d = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-9
        change = (net(x + d) - net(x)).detach()[0]
        torch.testing.assert_close(change, j @ d.flatten(), rtol=1e-4, atol=1e-13)

    def test_surrogate_differentiates_what_it_computes(self) -> None:
        net = built("irnet", "vgg_tiny").double()
        x = torch.from_numpy(grey(1, 16)).permute(0, 3, 1, 2).double()
        j = gradients.jacobians(net, x, "surrogate")[0]
        d = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-8
        with gradients.derivative(net, "surrogate"):
            change = (net(x + d) - net(x)).detach()[0]
        torch.testing.assert_close(change, j @ d.flatten(), rtol=1e-4, atol=1e-12)
        assert torch.equal(net(x), net(x))

    def test_hooks_are_gone_afterwards(self) -> None:
        net = built("irnet", "vgg_tiny")
        x = torch.from_numpy(grey(2, 16)).permute(0, 3, 1, 2)
        before = net(x)
        gradients.surrogate_agreement(net, x, before.argmax(1).numpy())
        assert torch.equal(net(x), before)

    def test_a_pseudo_gradient_of_its_own_is_not_called_true(self) -> None:
        """Signs outside of our binary layers, with a derivative that is not theirs."""
        images = grey(16)
        w = np.random.default_rng(0).standard_normal((6, D))
        jumps = Signs(w, -(images.reshape(16, D) @ w.T).mean(0), np.random.default_rng(1).standard_normal((4, 6)), True)
        metric = registry.load("metric", "lipschitz_gradients")
        # Even patches, as in drawings: there a pool has no derivative, which must not count as a pseudo-gradient.
        even = grey(16, 16)
        even[:, 4:] = 0
        smooth = built("full_precision:nonlinearity=relu", "vgg_tiny"), even
        for net, shown, kind in (
            (jumps, images, "straight"),
            (linear(4)[1], images, "true"),
            (*smooth, "true"),
        ):
            s = subject(net, shown)
            found = list(metric.measure(s, metric.Options(images=16)))
            assert {(m.statistic, m.detail.form) for m in found} == {("q50", kind), ("q95", kind)}
            assert (kind == "straight") == ("lipschitz_gradients" in s.left_out)

    @pytest.mark.parametrize(("scale", "shift"), [(1e-4, 3.0), (1.0, 0.0), (100.0, 0.0)])
    def test_a_gradient_of_any_size_is_true(self, scale: float, shift: float) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(D, 32), nn.Tanh(), nn.Linear(32, 4))
        with torch.no_grad():
            net[1].weight.mul_(max(1.0, scale))
            net[3].weight.mul_(min(1.0, scale))
            net[3].bias.add_(shift)
        points = torch.from_numpy(grey(16)).permute(0, 3, 1, 2)
        assert gradients.is_true(net, points)
        assert next(net.parameters()).dtype == torch.float32

    def test_the_points_are_left_alone(self) -> None:
        points = torch.from_numpy(grey(2)).permute(0, 3, 1, 2)
        gradients.jacobians(linear(3)[1], points, "straight")
        assert not points.requires_grad


class TestClever:
    @pytest.mark.parametrize(("norm", "q"), [("l2", 2), ("linf", 1), ("l1", np.inf)])
    def test_linear_network_needs_no_fit(self, norm: str, q: float) -> None:
        """T15: all maxima agree, and the score is the distance to the nearest other class."""
        w, net = linear(4)
        for k, image in enumerate(grey(4)):
            found = clever.score(subject(net, image[None], block=1), image, k, clever.Settings(radius=50, norm=norm))
            f = w @ image.ravel().astype(float)
            c = f.argmax()
            exact = min((f[c] - f[j]) / np.linalg.norm(w[c] - w[j], q) for j in range(4) if j != c)
            assert found.score == pytest.approx(exact, rel=1e-4)
            assert found.plain == pytest.approx(exact, rel=1e-4)
            assert (found.fit, found.capped) == ("constant", False)

    def test_no_gradient_is_capped_and_says_so(self) -> None:
        net = Signs(np.eye(2, D), np.zeros(2), np.eye(2), clip=True)
        image = np.full((4, 4, 3), 1.0, np.float32)
        with torch.no_grad():
            net.weight.mul_(5)
            net.weight[1].neg_()
        found = clever.score(subject(net, image[None], block=1), image, 0, clever.Settings(radius=0.1))
        assert found.capped
        assert found.score == 0.1

    def test_scores_depend_on_the_seed_and_the_index_alone(self) -> None:
        net, image = built("irnet", "vgg_tiny"), grey(1, 16)[0]
        settings = clever.Settings(batches=5, batch=5, pool_factor=2)
        one, again, other = (clever.score(subject(net, image[None], block=4), image, k, settings) for k in (3, 3, 4))
        assert one == again != other

    def test_fits_are_diagnosed(self) -> None:
        rng = np.random.default_rng(0)
        law = stats.weibull_max(1.2, loc=5.0, scale=1.0)
        location, fit = clever.fit_location(law.rvs(60, random_state=rng))
        assert fit == "good"
        assert location == pytest.approx(5, abs=0.2)
        assert clever.fit_location(np.full(10, 2.5)) == (2.5, "constant")
        tied = np.repeat(rng.uniform(3, 5, 3), 30)
        assert clever.fit_location(tied)[1] != "good"

    @pytest.mark.parametrize("change", [{"norm": "l3"}, {"radius": 0}, {"radius": float("nan")}, {"batch": 0}])
    def test_bad_settings(self, change: dict[str, object]) -> None:
        with pytest.raises(UserError):
            clever.Settings(**change)  # type: ignore[arg-type]

    def test_against_the_toolbox(self) -> None:
        """The same points give the same gradients to 1e-5, and the same maxima the same score."""
        pytest.importorskip("art.metrics")
        from art.estimators.classification import PyTorchClassifier
        from art.metrics.metrics import weibull_min

        net = built("irnet", "vgg_tiny")
        image = grey(1, 16)[0]
        settings = clever.Settings()
        points = clever.sample(np.random.default_rng(0), image, settings)
        classifier = PyTorchClassifier(
            net, nn.CrossEntropyLoss(), (3, 16, 16), 10, clip_values=(0.0, 1.0), device_type="cpu"
        )
        net.eval()
        ours = gradients.jacobians(net, points, "straight").numpy()
        theirs = classifier.class_gradient(points.numpy()).reshape(ours.shape)
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())

        from scipy.optimize import fmin

        maxima = np.random.default_rng(1).choice(np.linalg.norm(ours[:, 0], axis=1), (10, 10)).max(1)
        _, location, _ = weibull_min.fit(
            -maxima, 1, optimizer=lambda f, x, args=(), disp=0: fmin(f, x, args, disp=False)
        )
        assert np.ptp(maxima) > 1e-6 * maxima.max(), "alike, they would need no fit"
        assert clever.fit_location(maxima)[0] == pytest.approx(-location, rel=1e-12)


def test_smoothing_certifies_the_distance_to_a_plane() -> None:
    """T16: for a linear classifier of two classes the exact radius is the distance, and the bound is below it."""
    w, net = linear(2)
    options = smoothing.Options(sigma=0.5, draws=4000)
    distances, radii = [], []
    for k, image in enumerate(grey(12, seed=3)):
        f = w @ image.ravel().astype(float)
        distances.append(abs(f[0] - f[1]) / np.linalg.norm(w[0] - w[1]))
        radii.append(smoothing.radius(subject(net, image[None], block=500), image, k, options))
    cap = 0.5 * stats.norm.ppf(0.001 ** (1 / 4000))
    for distance, radius in zip(distances, radii, strict=True):
        assert radius <= distance + 1e-9
        assert radius >= min(distance, cap) - 0.12
    assert max(radii) > 0.2
