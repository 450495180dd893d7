"""The search for the local modulus against cases whose answer is known."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from lcrbench.bench.lipschitz import options as efforts
from lcrbench.bench.lipschitz import rays, results, search
from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.errors import UserError
from lcrbench.models.estimators import clip

from .nets import Linear, Signs, built, grey, subject

D = 48


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def orthonormal(rows: int, seed: int = 0) -> np.ndarray:
    q, _ = np.linalg.qr(rng(seed).standard_normal((D, rows)))
    return q.T


class TestLinear:
    """T1: for f = Wx the gain is the operator norm at every radius that the box leaves room for."""

    def test_l2_gain_is_the_largest_singular_value(self) -> None:
        w = rng().standard_normal((10, D))
        result = search.modulus(subject(Linear(w), grey(4)), Options(l2=(1, 8, 25), images=4, effort="default"))
        sigma = np.linalg.svd(w, compute_uv=False)[0]
        for found in result.found:
            assert (found.gain <= sigma * (1 + 1e-6)).all()
            assert (found.gain >= 0.99 * sigma).all()

    def test_linf_gain_of_a_difference_is_the_l1_norm(self) -> None:
        w = rng(1).standard_normal(D)
        result = search.modulus(subject(Linear(np.stack([w, -w])), grey(4)), Options(l2=(), linf=(2, 8), images=4))
        for found in result.found:
            np.testing.assert_allclose(found.gain, np.sqrt(2) * np.abs(w).sum(), rtol=1e-4)

    def test_box_is_used_to_its_corners(self) -> None:
        """At a corner of the box only one sign of each pixel is open, and walls leave their radius to the others."""
        w = rng(2).standard_normal(D)
        images = rng(3).integers(0, 2, (4, 4, 4, 3)).astype(np.float32)
        found = search.modulus(subject(Linear(np.stack([w, 0 * w])), images), Options(l2=(128,), images=4)).found[0]
        for k in range(4):
            open_ = np.where(images[k].ravel() == 0, 1, -1)
            up, down = np.maximum(w * open_, 0), np.maximum(-w * open_, 0)
            assert found.gain[k] == pytest.approx(max(np.linalg.norm(up), np.linalg.norm(down)), rel=2e-2)

    def test_kappa_of_two_classes_is_distance_over_radius(self) -> None:
        w = rng(4).standard_normal((2, D))
        s = subject(Linear(w), grey(6))
        result = search.modulus(s, Options(l2=(1, 4), images=6))
        distance = result.start.margins / np.linalg.norm(w[0] - w[1])
        for found in result.found:
            np.testing.assert_allclose(found.kappa, found.ball.eps / distance, rtol=1e-4)
            assert np.array_equal(found.flipped, found.kappa >= 1)


class TestSigns:
    """T5 and T6: sign networks small enough to know all their jumps."""

    @pytest.mark.parametrize("eps", [0.05, 0.15, 0.25, 0.5])
    @pytest.mark.parametrize("clip", [False, True])
    def test_single_unit_is_found_exactly_where_it_flips(self, eps: float, clip: bool) -> None:
        a = 0.7
        for k in range(4):
            w = rng(k).standard_normal(D)
            w /= np.linalg.norm(w)
            images = grey(1, seed=k, low=0.45, high=0.55)
            t = rng(100 + k).uniform(0.02, 0.6)
            b = t * rng(k).choice([-1, 1]) - images.astype(np.float64).ravel() @ w
            net = Signs(w[None], np.array([b]), np.array([[a], [0.0]]), clip)
            found = search.modulus(subject(net, images, block=1), Options(l2=(eps * 255,), images=1)).found[0]
            assert found.omega[0] == pytest.approx(2 * a if t < eps * (1 - 1e-4) else 0, rel=1e-6), (k, t)

    @pytest.mark.parametrize("eps", [0.15, 0.5])
    @pytest.mark.parametrize("norm", ["l2", "linf"])
    def test_shell_gain_of_a_single_unit_is_its_jump_over_its_distance(self, eps: float, norm: str) -> None:
        """L_[r, eps] = 2 |a| / max(t, r) for eps >= t, else 0, with r = eps / 2 and t the distance to the plane.

        Never above; and not below what the smallest searched ball that reaches the plane allows.
        """
        a, seen = 0.7, set()
        radii = [eps * part for part in (0.4, 0.6, 0.8, 1)]
        for k in (0, 1, 2, 3, 6, 9):
            w = rng(k).standard_normal(D)
            w /= np.linalg.norm(w) if norm == "l2" else np.abs(w).sum()
            images = grey(1, seed=k, low=0.495, high=0.505)
            t = eps * rng(100 + k).uniform(0.3, 1.1)
            b = t * rng(k).choice([-1, 1]) - images.astype(np.float64).ravel() @ w
            s = subject(Signs(w[None], np.array([b]), np.array([[a], [0.0]])), images, block=1)
            options = Options(**{"l2": (), "linf": (), norm: tuple(255 * r for r in radii)}, images=1)
            gain = rays.shell_gains(s, search.modulus(s, options), norm)[-1][0]
            reaching = [r for r in radii if r * (1 - 1e-4) > t]
            assert gain <= (2 * a / max(t, eps / 2) * (1 + 1e-4) if t <= eps else 0), (k, t)
            if reaching:
                assert gain >= 2 * a / max(reaching[0], eps / 2) * (1 - 1 / 200), (k, t)
            seen.add("far" if t > eps else "shell" if t > eps / 2 else "near")
        assert seen == {"near", "shell", "far"}

    def test_shell_gains_hold_where_the_search_found_something(self) -> None:
        s = subject(built(), grey(6, 16, low=0, high=1))
        result = search.modulus(s, Options(l2=(2, 8, 64), linf=(4,), images=6))
        for norm in ("l2", "linf"):
            for found, gains in zip(result.of(norm), rays.shell_gains(s, result, norm), strict=True):
                length = found.ball.length(torch.from_numpy(found.omega_points - s.test.images[:6]))
                there = (length >= found.ball.eps / 2).numpy()
                assert there.any()
                assert (gains[there] >= found.gain[there] * (1 - 1e-6)).all()
                assert (gains[found.omega > 0] > 0).all()
        w = rng().standard_normal((10, D))
        s = subject(Linear(w), grey(4))
        result = search.modulus(s, Options(l2=(1, 8), images=4, effort="default"))
        sigma = np.linalg.svd(w, compute_uv=False)[0]
        for gains in rays.shell_gains(s, result, "l2"):
            assert (gains <= sigma * (1 + 1e-4)).all()
            assert (gains >= 0.99 * sigma).all()

    def test_orthonormal_layer_never_exceeds_brute_force(self) -> None:
        w, a = orthonormal(8), rng(5).uniform(0.5, 2, 8)
        images = grey(8, low=0.45, high=0.55)
        z0 = images.reshape(8, D).astype(np.float64) @ w.T
        bias = -z0.mean(0)
        net = Signs(w, bias, np.diag(a))
        shares = []
        result = search.modulus(subject(net, images), Options(l2=(10, 20, 40), images=8))
        for found in result.found:
            z = z0 + bias
            for k in range(8):
                exact = 0.0
                for flips in itertools.product([False, True], repeat=8):
                    chosen = np.array(flips)
                    if (z[k, chosen] ** 2).sum() <= found.ball.eps**2:
                        exact = max(exact, float(np.sqrt((4 * a[chosen] ** 2).sum())))
                assert found.omega[k] <= exact + 1e-6
                if exact:
                    shares.append(found.omega[k] / exact)
        assert np.mean(shares) > 0.7, np.mean(shares)

    def test_a_network_that_jumps_has_slope_zero(self) -> None:
        net = Signs(orthonormal(2), -grey(1).reshape(1, D).astype(float) @ orthonormal(2).T + 1e-4, np.eye(2))
        result = search.modulus(subject(net, grey(1), block=1), Options(l2=(2, 8), images=1))
        small, large = (f.omega.mean() for f in result.found)
        assert np.log(large / small) / np.log(4) == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def binary() -> tuple[nn.Module, np.ndarray]:
    return built(), grey(12, 16, low=0, high=1)


OPTIONS = Options(l2=(2, 8, 64), linf=(2, 8), images=12)


def test_found_points_hold_what_they_claim(binary: tuple[nn.Module, np.ndarray]) -> None:
    """T7: each reported point lies in ball and box, and the deployed network gives the reported figures there."""
    s = subject(*binary)
    result = search.modulus(s, OPTIONS)
    clean = s.logits(s.test.images[result.start.indices]).astype(np.float64)
    for found in result.found:
        for points in (found.omega_points, found.kappa_points):
            assert points.dtype == np.float32
            assert points.min() >= 0
            assert points.max() <= 1
            d = (points.astype(np.float64) - s.test.images[result.start.indices]).reshape(12, -1)
            size = np.linalg.norm(d, axis=1) if found.ball.norm == "l2" else np.abs(d).max(1)
            assert (size <= found.ball.eps).all()
        again = s.logits(found.omega_points).astype(np.float64)
        assert np.array_equal(np.linalg.norm(again - clean, axis=1), found.omega)
        moved = s.logits(found.kappa_points).argmax(1) != clean.argmax(1)
        assert np.array_equal(moved, found.flipped)


def test_curves_are_monotone_and_linf_is_above_l2(binary: tuple[nn.Module, np.ndarray]) -> None:
    """T8, and T17: what a smaller ball found is a candidate of the larger one."""
    result = search.modulus(subject(*binary), OPTIONS)
    for norm in ("l2", "linf"):
        for small, large in itertools.pairwise(result.of(norm)):
            assert (large.omega >= small.omega).all()
            assert (large.kappa >= small.kappa).all()
    l2 = {f.ball.eps: f for f in result.of("l2")}
    for found in result.of("linf"):
        assert (found.omega >= l2[found.ball.eps].omega).all()


def test_l2_ball_around_the_linf_ball_finds_no_less() -> None:
    """T8: a linf ball lies in the l2 ball of sqrt(d) times its radius; for a linear map both maxima are reached."""
    s = subject(Linear(rng(8).standard_normal((6, D))), grey(4))
    eps = 4.0
    result = search.modulus(s, Options(l2=(eps * D**0.5,), linf=(eps,), images=4))
    wide, narrow = result.of("l2")[0], result.of("linf")[0]
    assert (wide.omega >= 0.99 * narrow.omega).all()


def test_scale_and_shift_of_the_logits() -> None:
    """T9: under f -> 4 f + 3 gains scale by 4; kappa, the flips and who found them stay."""
    w = orthonormal(6)
    images = grey(6)
    bias = -(images.reshape(6, D) @ w.T).mean(0)
    out = rng(7).standard_normal((5, 6))
    plain = search.modulus(subject(Signs(w, bias, out), images), Options(l2=(8, 32), images=6))
    scaled_net = nn.Sequential(Signs(w, bias, out), _Affine(4.0, 3.0))
    scaled = search.modulus(subject(scaled_net, images), Options(l2=(8, 32), images=6))
    for a, b in zip(plain.found, scaled.found, strict=True):
        np.testing.assert_allclose(b.omega, 4 * a.omega, rtol=1e-5)
        np.testing.assert_allclose(b.kappa, a.kappa, rtol=1e-4)
    assert scaled.start.scale == pytest.approx(4 * plain.start.scale, rel=1e-6)
    assert np.array_equal(plain.start.logits.argmax(1), scaled.start.logits.argmax(1))
    slopes = [np.log(r.found[1].omega.mean() / r.found[0].omega.mean()) / np.log(4) for r in (plain, scaled)]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-5)
    assert 0 < slopes[0] < 1


class _Affine(nn.Module):
    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return self.a * y + self.b


def test_an_image_does_not_depend_on_its_batch(binary: tuple[nn.Module, np.ndarray]) -> None:
    """T10: alone, among others, in another order, in another number of blocks: the same bytes."""
    net, images = binary
    options = dataclasses.replace(OPTIONS, l2=(8,), linf=(2,))
    whole = search.modulus(subject(net, images), options)
    s = subject(net, images)
    oracle, start = search.begin(s, options)
    for part in ([3], [7, 2, 11], list(range(11, -1, -1))):
        sub = results.Start(start.indices[part], start.logits[part], start.x[part])
        *_, last = search.rounds(oracle, sub, options)
        for found, expected in zip(last.look.found, whole.found, strict=True):
            assert np.array_equal(found.omega, expected.omega[part])
            assert np.array_equal(found.kappa, expected.kappa[part])
            assert found.omega_points.tobytes() == expected.omega_points[part].tobytes()


def test_the_size_of_a_batch_changes_nothing() -> None:
    """T10, in float64, where the shape of a batch cannot round anything away: blocks of 1, 7 and 64 images."""
    w = orthonormal(6)
    images = grey(9)
    net = Signs(w, -(images.reshape(9, D) @ w.T).mean(0), rng(7).standard_normal((5, 6)))
    options = Options(l2=(8, 32), linf=(4,), images=9)
    found = [search.modulus(subject(net, images, block=block), options).found for block in (1, 7, 64)]
    for one, *others in zip(*found, strict=True):
        assert (one.omega > 0).any()
        for other in others:
            np.testing.assert_allclose(other.omega, one.omega, rtol=1e-6)
            np.testing.assert_allclose(other.kappa, one.kappa, rtol=1e-5)
            assert np.array_equal(other.omega_by, one.omega_by)


def test_same_seed_same_bytes_and_another_seed_differs(binary: tuple[nn.Module, np.ndarray]) -> None:
    options = dataclasses.replace(OPTIONS, l2=(8,), linf=(), effort="trial")
    first, again = (search.modulus(subject(*binary), options).found[0] for _ in range(2))
    other = search.modulus(subject(*binary), dataclasses.replace(options, seed=1)).found[0]
    assert first.omega_points.tobytes() == again.omega_points.tobytes()
    assert first.omega_points.tobytes() != other.omega_points.tobytes()


def test_a_larger_effort_begins_as_the_smaller_one(binary: tuple[nn.Module, np.ndarray]) -> None:
    options = dataclasses.replace(OPTIONS, l2=(8,), linf=(), effort="trial")
    small = search.modulus(subject(*binary), options)
    large = search.modulus(subject(*binary), dataclasses.replace(options, effort="quick"))
    assert [look.effort.passes for look in large.looks] == [150, 600]
    for one, first, last in zip(small.found, large.looks[0].found, large.found, strict=True):
        assert one.omega_points.tobytes() == first.omega_points.tobytes()
        assert (last.omega >= first.omega).all()
        assert (last.kappa >= first.kappa).all()


def test_going_on_from_a_stored_round_gives_the_same(binary: tuple[nn.Module, np.ndarray]) -> None:
    s = subject(*binary)
    oracle, start = search.begin(s, OPTIONS)
    whole = list(search.rounds(oracle, start, OPTIONS))
    before = s.passes
    resumed = list(search.rounds(oracle, start, OPTIONS, [whole[0].state]))
    assert s.passes - before < 0.8 * before
    for a, b in zip(whole, resumed, strict=True):
        assert a.curves == b.curves
        for one, other in zip(a.look.found, b.look.found, strict=True):
            assert one.kappa_points.tobytes() == other.kappa_points.tobytes()
            assert one.omega_by.tobytes() == other.omega_by.tobytes()
        for norm in ("l2", "linf"):
            assert np.array_equal(a.look.radius[norm], b.look.radius[norm])


@pytest.mark.parametrize("gradients", [True, False])
def test_no_image_takes_more_passes_than_the_effort_states(
    binary: tuple[nn.Module, np.ndarray], gradients: bool
) -> None:
    """What confirms the finds at the end of a round, and what is shown once for all images, is not counted."""
    s = subject(*binary)
    options = dataclasses.replace(OPTIONS, gradients=gradients)
    oracle, start = search.begin(s, options)
    before = s.passes
    *_, last = search.rounds(oracle, start, options)
    most = [int(last.state[f"{norm} passes"].max()) for norm in options.norms()]
    assert 0.8 * 600 <= sum(most) <= 600
    channels = 2 * 16  # of the first signs, one gradient each
    assert s.passes - before <= options.passes + channels
    assert last.look.effort.gradients == gradients


def test_flip_radius_of_a_linear_classifier() -> None:
    w = rng(4).standard_normal((2, D))
    s = subject(Linear(w), grey(6))
    result = search.modulus(s, Options(l2=(2, 32, 128), images=6))
    distance = result.start.margins / np.linalg.norm(w[0] - w[1])
    radii = result.looks[-1].radius["l2"]
    reached = distance < 128 / 255 * 0.99
    assert reached.any()
    assert (radii[reached] >= distance[reached] * (1 - 1e-6)).all()
    assert (radii[reached] <= distance[reached] * 1.01).all()


def test_a_network_without_gradients_is_searched_by_its_logits() -> None:
    class Dead(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.detach().flatten(1)[:, :4] > 0.5).float()

    result = search.modulus(subject(Dead(), grey(4)), Options(l2=(128,), images=4))
    assert result.blind
    assert not any(look.effort.gradients for look in result.looks)
    assert (result.found[0].omega > 0).any()
    assert not search.modulus(subject(built(), grey(4, 16)), Options(l2=(8,), images=4, effort="trial")).blind


class TestBall:
    def test_furthest_meets_the_conditions_of_optimality(self) -> None:
        g = torch.Generator().manual_seed(0)
        x = torch.rand(32, 3, 4, 4, generator=g)
        x[::2] = x[::2].round()
        v = torch.randn(32, 3, 4, 4, generator=g)
        for eps in (0.01, 0.5, 2.0, 9.0):
            d = Ball("l2", eps).furthest(x, v)
            assert ((x + d) >= 0).all()
            assert ((x + d) <= 1).all()
            for _ in range(300):
                other = Ball("l2", eps).inside(x, d + 0.3 * eps * torch.randn(d.shape, generator=g))
                assert ((other * v).sum((1, 2, 3)) <= (d * v).sum((1, 2, 3)) * (1 + 1e-3) + 1e-6).all()

    @pytest.mark.parametrize("norm", ["l2", "linf"])
    def test_settled_points_are_inside_in_exact_arithmetic(self, norm: str) -> None:
        g = torch.Generator().manual_seed(0)
        x = torch.rand(16, 3, 8, 8, generator=g)
        for eps in (1e-3, 1 / 255, 0.5, 3.0):
            ball = Ball(norm, eps)
            y = ball.settle(x, ball.furthest(x, torch.randn(x.shape, generator=g)))
            length = ball.length(y.double() - x.double())
            assert (length <= eps).all()
            if eps < 1:
                assert (length >= eps * (1 - 1e-2)).all()


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "message"),
        [({"l2": (0,)}, "positive"), ({"linf": (-1,)}, "positive"), ({"l2": ()}, "radius"), ({"images": 0}, "images")],
    )
    def test_options(self, change: dict[str, object], message: str) -> None:
        with pytest.raises(UserError, match=message):
            Options(**change)  # type: ignore[arg-type]

    def test_norm(self) -> None:
        with pytest.raises(UserError, match="did you mean 'linf'"):
            Ball("inf", 0.1)

    def test_effort(self) -> None:
        with pytest.raises(UserError, match="quick"):
            efforts.of_effort("quik")
        with pytest.raises(UserError, match="quick"):
            Options(effort="quik")

    def test_training_mode(self) -> None:
        s = subject(built(), grey(4, 16))
        s.network.train()
        with pytest.raises(UserError, match="training mode"):
            search.modulus(s, Options(images=4))

    def test_one_layer_in_training_mode(self) -> None:
        s = subject(built(), grey(4, 16))
        next(m for m in s.network.modules() if isinstance(m, nn.BatchNorm2d)).train()
        with pytest.raises(UserError, match=r"stem\.\d is in training mode"):
            search.modulus(s, Options(images=4))

    def test_random_output(self) -> None:
        class Noisy(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.flatten(1)[:, :3] + torch.rand(len(x), 3)

        with pytest.raises(UserError, match="not deterministic"):
            search.modulus(subject(Noisy(), grey(4)), Options(images=4))

    def test_output_that_depends_on_the_batch(self) -> None:
        class Mixed(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                y = x.flatten(1)[:, :3]
                return y - y.mean(0)

        with pytest.raises(UserError, match="other images"):
            search.modulus(subject(Mixed(), grey(4)), Options(images=4))
        with pytest.raises(UserError, match="other images"):
            search.modulus(subject(Mixed(), grey(4)), Options(images=1))

    @pytest.mark.parametrize("images", [grey(4) * 255, grey(4) - 1, np.full((2, 4, 4, 3), np.nan, np.float32)])
    def test_images_out_of_range(self, images: np.ndarray) -> None:
        with pytest.raises(UserError, match=r"\[0, 1\]"):
            Oracle(subject(Linear(np.ones((2, D))), images), images)


def test_a_search_tells_of_all_its_passes() -> None:
    """A bar over `options.passes`, which bounds them, comes near its end and not beyond."""
    looked = subject(Linear(rng().standard_normal((3, D))), grey(4))
    seen: list[int] = []
    looked.tick = seen.append
    options = Options(l2=(8,), images=4)
    search.modulus(looked, options)
    assert 0.8 * options.passes < sum(seen) <= 1.05 * options.passes
    assert max(seen) < 0.2 * options.passes


def test_signs_that_no_image_meets_are_none() -> None:
    """A network may hold parts that its forward does not call."""
    network = Linear(rng().standard_normal((3, D)))
    network.unused = clip.Estimator()
    (found,) = search.modulus(subject(network, grey(4)), Options(l2=(8,), images=4)).found
    assert (found.omega > 0).all()
