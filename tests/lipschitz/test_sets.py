"""Sets of first signs: what a network's own signs say of them, and the nearest points against a quadratic program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lcrbench.bench.lipschitz import compiled, search, sets, stem
from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import Start
from lcrbench.bench.lipschitz.tally import Tally
from lcrbench.errors import UserError
from lcrbench.models.binary import binary_layers

from . import enumerable
from .nets import Function, built, grey, subject
from .truth import nearest

READABLE = ["vgg_tiny", "vgg_small", "resnet20", "resnet18"]


def points(n: int, size: int = 16, seed: int = 0) -> Tensor:
    return torch.from_numpy(grey(n, size, seed, 0, 1)).permute(0, 3, 1, 2).contiguous()


def falling(net: nn.Module) -> nn.Module:
    """Turn the scale of every second channel of the stem's batch norm negative."""
    for m in net.body.stem.modules():
        if isinstance(m, nn.BatchNorm2d):
            with torch.no_grad():
                m.weight[::2] *= -1
    return net


def own_signs(net: nn.Module, x: Tensor) -> np.ndarray:
    """Return the values (n, units) that the network's own first sign gives."""
    net = net.double()
    first = next(iter(binary_layers(net).values()))
    seen: list[Tensor] = []
    handle = first.register_forward_pre_hook(lambda m, given: seen.append(m.sign(given[0]).clone()))
    with torch.no_grad():
        net(x.double())
    handle.remove()
    net.float()
    return seen[0].flatten(1).numpy()


def the_units(net: nn.Module, x: Tensor) -> sets.Units:
    return sets.Units(stem.read(net, x[:1]), x)


def walked(net: nn.Module, images: np.ndarray, passes: int, begin: sets.Begin) -> Probe:
    s = subject(net, images)
    oracle, start = search.begin(s, Options(l2=(8, 128), images=len(images)))
    probe = Probe(oracle, Tally(start, [Ball("l2", 8 / 255), Ball("l2", 128 / 255)]), 0)
    units = sets.units_of(probe)
    assert units is not None
    sets.search_sets(probe, units, passes, "test", np.arange(len(units.able)), begin)
    assert (probe.passes == passes).all()
    return probe


@pytest.mark.parametrize("turn", [lambda net: net, falling], ids=["rising", "falling"])
@pytest.mark.parametrize("backbone", READABLE)
def test_units_turn_where_the_networks_own_signs_do(backbone: str, turn: object) -> None:
    net = turn(built("irnet", backbone))  # type: ignore[operator]
    x, others = points(3), points(3, seed=5)
    units = the_units(net, x)
    assert (np.diff(units.away, axis=1) >= 0).all()
    before, after = own_signs(net, x), own_signs(net, others)
    told = units.turned(others)
    assert 0.1 < told.mean() < 0.9
    assert np.array_equal(told, np.take_along_axis(before != after, units.order, 1))


@pytest.mark.parametrize("backbone", ["vgg_tiny", "resnet20"])
def test_the_nearest_point_of_a_set_is_that_of_a_quadratic_program(backbone: str) -> None:
    """Sets of one to five units of neighbouring places, so that their windows overlap, and walls that bind."""
    net = falling(built("irnet", backbone, size=8))
    x = points(4, 8)
    x[:, :, :3] = 0.0
    units = the_units(net, x)
    s = units.stem
    draw = np.random.default_rng(0)
    bound = 0
    for k in range(4):
        flat = x[k].double().numpy().ravel()
        zero = s.windows(torch.zeros_like(x[:1]))
        eye = torch.eye(flat.size).view(-1, *x.shape[1:])
        gradients = s.of_units(s.windows(eye.double()) - zero).flatten(1, 2)
        for size in (1, 1, 2, 3, 5, 5):
            near = np.flatnonzero(np.abs(units.place[k, :, 1:] - units.place[k, draw.integers(200), 1:]).max(1) <= 1)
            ids = np.zeros(8, np.int64)
            ids[:size] = draw.choice(near, size, replace=False)
            a, b = [], []
            for unit in ids[:size]:
                windows = [v for v in range(units.base.shape[2]) if units.base[k, unit, v] > -np.inf]
                if not units.on[k, unit]:
                    windows = [int(units.base[k, unit].argmax())]
                side = -1.0 if units.on[k, unit] else 1.0
                for v in windows:
                    a.append(side * gradients[:, units.order[k, unit], v].numpy())
                    length = units.length[units.place[k, unit, 0]]
                    b.append(side * (units.tau[k, unit] - units.base[k, unit, v]) + compiled.BEYOND * length)
            exact, _ = nearest(np.array(a), np.array(b), flat, "l2")
            lam, y, d = np.zeros((8, units.base.shape[2])), np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
            found = np.inf
            for _ in range(40):  # from its own lambdas on, as the search goes on from those of a set like it
                found = compiled.nearest(
                    units.image(x[k].double().numpy(), k),
                    ids,
                    size,
                    lam,
                    1e-4,
                    y,
                    d,
                )
            assert found == pytest.approx(np.linalg.norm(d))
            at = flat + d.ravel()
            assert at.min() >= -1e-12
            assert at.max() <= 1 + 1e-12
            if not np.isfinite(exact):
                continue
            assert found == pytest.approx(exact, rel=0.02)
            turned = units.turned(torch.from_numpy(at).view(1, *x.shape[1:]).expand(len(x), -1, -1, -1))[k]
            assert turned[ids[:size]].all()
            bound += 1
    assert bound >= 15


@pytest.mark.parametrize(("begin", "passes"), [("none", 3000), ("flip", 500)])
def test_a_flip_that_needs_a_set_of_signs_is_found_near_its_nearest_point(begin: sets.Begin, passes: int) -> None:
    """Three given units must turn, of the hundreds that can; each helps, and no other: climbs that give up take longest."""
    net = built("irnet", "vgg_tiny")
    images = grey(4, 16, 0, 0, 1)
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    units = the_units(net, x)
    ranks = [3, 9, 20]
    wanted = units.order[:, ranks]
    s = units.stem

    def both(batch: Tensor) -> Tensor:
        on = (s.of_units(s.windows(batch)).amax(3) >= s.tau.flatten(1)).flatten(1)
        where = torch.cdist(batch.flatten(1).double(), x.flatten(1).double()).argmin(1)
        now = torch.stack([on[torch.arange(len(batch)), torch.from_numpy(wanted)[where, k]] for k in range(3)], 1)
        first = torch.from_numpy(np.stack([units.on[where.numpy(), rank] for rank in ranks], 1))
        moved = (now != first).sum(1)
        margin = torch.tensor([1.0, 0.9, 0.6, -0.1])[moved]
        return torch.stack([margin, torch.zeros_like(margin)], 1)

    network = Function(both)
    start = Start(np.arange(4), np.tile([[1.0, 0.0]], (4, 1)), x)
    probe = Probe(
        Oracle(subject(network, images), images), Tally(start, [Ball("l2", float(units.away[:, 60].max()))]), 0
    )
    sets.search_sets(probe, units, passes, "test", np.arange(len(units.able)), begin)
    assert np.isfinite(probe.tally.radius).all()
    for k in range(4):
        lam, y, d = np.zeros((3, 4)), np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
        for _ in range(10):
            least = compiled.nearest(
                units.image(x[k].double().numpy(), k),
                np.array(ranks),
                3,
                lam,
                1e-4,
                y,
                d,
            )
        assert least * 0.98 <= probe.tally.radius[k] <= 1.5 * least, k


@pytest.mark.parametrize("begin", ["none", "flip"])
def test_passes_are_spent_whole_and_repeat(begin: sets.Begin) -> None:
    net, images = built(), grey(5, 16, low=0, high=1)
    first, second = (walked(net, images, 60, begin).tally for _ in range(2))
    assert np.isfinite(first.radius).any()
    assert np.array_equal(first.radius, second.radius)
    assert torch.equal(first.flips, second.flips)


def test_climbs_from_none_give_up_by_lubys_sequence() -> None:
    assert [sets.luby(k) for k in range(1, 16)] == [1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8]
    net, images = built(), grey(3, 16, low=0, high=1)
    oracle, start = search.begin(subject(net, images), Options(l2=(8,), images=3))
    units = the_units(net, start.x)
    probe = Probe(oracle, Tally(start, [Ball("l2", float(units.away[:, 60].min()))]), 0)
    nothing, far = np.zeros(3), np.full(3, 1e-3)

    def ended(begin: sets.Begin) -> list[int]:
        """Return after which steps the first image's climbs end, if no set is worth anything."""
        walks = sets._Walks(probe, units, np.arange(3), [probe.generator(k, "test") for k in range(3)], begin)
        steps, before = [], 0
        for step in range(130):
            walks.proposed()
            walks.judge(nothing, far)
            steps += [step + 1] * int(walks.climbs[0] - before)
            before = int(walks.climbs[0])
        return steps

    assert ended("none") == np.cumsum([11, 11, 21, 11, 11, 21, 41]).tolist()
    assert ended("flip") == [41, 82, 123]


def test_networks_without_such_a_stem_are_searched_without_sets() -> None:
    images = grey(4, 16)
    for net in (built("full_precision"), Function(lambda x: x.flatten(1)[:, :3])):
        s = subject(net, images)
        oracle, start = search.begin(s, Options(l2=(8,), images=4))
        assert sets.units_of(Probe(oracle, Tally(start, [Ball("l2", 8 / 255)]), 0)) is None
    with pytest.raises(UserError, match="need a stem of convolution"):
        stem.read(enumerable.binary_conv(), points(1, 2))
    with pytest.raises(UserError, match="takes the image itself"):
        stem.read(nn.Sequential(nn.Upsample(scale_factor=2), built()), points(1, 8))
    own = built()
    own.body.stem[-1] = Function(lambda x: x.reshape(3, -1))
    with pytest.raises(UserError, match=r"runs in float64|runs alone"):
        stem.read(own, points(1))
    with pytest.raises(UserError, match="depends on others"):
        stem.read(built("rbnn", "resnet20"), points(1))
