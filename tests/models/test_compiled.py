"""Compiled loops of training steps against the operations of torch that they stand for: the same bits."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from lcrbench.models import retention
from lcrbench.models.compiled import retained as loops
from lcrbench.models.compiled import serves, slopes
from lcrbench.models.estimators import ede
from lcrbench.models.retention import _pooled, _spread, retained

BY_SERIES = (1e-3, 0.0123, 0.1, slopes.HIGHEST)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_torch(grad: Tensor, z: Tensor, t: float) -> Tensor:
    slope = 1 - torch.mul(z, t).tanh_().square_()
    return (slope.mul_(t) if t > 1 else slope).mul_(grad)


def bits(x: Tensor) -> list[int]:
    return x.contiguous().view(torch.int32).flatten().tolist()


def neighbours(around: float, count: int = 2**15) -> Tensor:
    """Return float32 numbers that follow one another."""
    first = np.float32(around).view(np.int32)
    return torch.from_numpy(np.arange(first, first + count, dtype=np.int32).view(np.float32))


INPUTS = {
    "as after Hardtanh": random(4, 16, 32, 32).clamp(-1, 1),
    "standardized weights": random(64, 64, 3, 3),
    "far outside": 30 * random(1000),
    "ends": torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-38, 3e38, torch.inf, -torch.inf, torch.nan] * 3),
    **{f"neighbours of {x}": neighbours(x) for x in (0.01, 0.3, 0.77, 0.999, 1.7)},
    **{f"{n} numbers": random(n) for n in (1, 15, 16, 17, slopes.AT_ONCE + 5)},
}


@pytest.mark.parametrize("t", [*BY_SERIES, 0.21, 1.0, 9.7])
@pytest.mark.parametrize("name", INPUTS)
def test_slopes_have_the_bits_of_torch(name: str, t: float) -> None:
    z = INPUTS[name]
    grad = random(*z.shape, seed=1)
    assert serves(grad, z)
    assert bits(ede.gradient(grad, z, t, max(t, 1.0))) == bits(by_torch(grad, z, t))


@pytest.mark.parametrize("t", BY_SERIES)
def test_no_slope_by_the_series_hangs_on_the_last_place_of_a_tanh(monkeypatch: pytest.MonkeyPatch, t: float) -> None:
    """With a tanh that is rounded down everywhere, or up, none of them would be another one."""
    z = torch.cat([random(2**17).clamp(-1, 1), *(neighbours(x) for x in (0.1, 0.5, 0.9))])
    z = z[z.abs() != 1]
    left: list[int] = []
    plain = slopes._by_series

    def noting(*given: object) -> int:
        count: int = plain(*given)
        left.append(count)
        return count

    monkeypatch.setattr(slopes, "_by_series", noting)
    # What is left to torch is not a number then, and tells itself apart.
    monkeypatch.setattr(slopes, "_by_tanh", lambda grad, out, places, h, n: _spoil(out, places, n))
    found = slopes.gradient(torch.ones_like(z), z, t)
    own = ~found.isnan()
    assert int(own.sum()) == len(z) - sum(left)
    assert own.float().mean() > 0.85
    exact = torch.mul(z, t).double().tanh()
    nearest = exact.float()
    above, below = (torch.nextafter(nearest, torch.full_like(nearest, end)) for end in (2.0, -2.0))
    for h in (torch.where(nearest > exact, below, nearest), torch.where(nearest < exact, above, nearest)):
        assert torch.equal(found[own], (1 - h.square())[own])


def _spoil(out: int, places: int, n: int) -> None:
    where = (ctypes.c_uint32 * n).from_address(places)
    for k in where:
        ctypes.c_float.from_address(out + 4 * k).value = float("nan")


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_layouts(layout: torch.memory_format) -> None:
    z, grad = (random(2, 16, 6, 6, seed=s).contiguous(memory_format=layout) for s in (0, 1))
    found = ede.gradient(grad, z, 0.1, 1.0)
    assert found.stride() == z.stride()
    assert torch.equal(found, by_torch(grad, z, 0.1))


def test_what_the_loops_do_not_serve() -> None:
    z = random(2, 16, 6, 6)
    assert serves(z, z)
    other = z.contiguous(memory_format=torch.channels_last)
    for tensors in [
        (z.double(), z.double()),
        (z, other),
        (z[:, ::2], z[:, ::2]),
        (z, z.bfloat16()),
        (z.to("meta"),) * 2,
    ]:
        assert not serves(*tensors)
    with torch.enable_grad():
        assert not serves(z, z)
    torch.set_num_threads(2)
    assert not serves(z, z)
    torch.set_num_threads(1)
    for grad, x in [(z, other), (z[:, ::2], z[:, 1::2])]:
        assert torch.equal(ede.gradient(grad, x, 0.1, 1.0), by_torch(grad, x.contiguous(), 0.1))


@pytest.mark.parametrize("sign", [False, True])
@pytest.mark.parametrize("images", [2, 5, 64])
def test_retained_chains_have_the_bits_of_torch(images: int, sign: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps that keep their side, are halved, are pooled unevenly, and have positions that are no sixteens; zeros too."""
    shapes = [(16, 12), (16, 12), (32, 6), (48, 5), (48, 1)]
    chains = []
    for first in (0, 1):
        made = [random(images, c, s, s, seed=k + 9 * first).clamp(-1, 1) for k, (c, s) in enumerate(shapes[first:])]
        made = [a.sign() if sign else a for a in made]
        made[1][0].zero_()
        chains.append([a.contiguous(memory_format=torch.channels_last) for a in made])
    taken: list[int] = []
    run = loops.run
    monkeypatch.setattr(loops, "run", lambda *given: (taken.append(len(given[0])), run(*given))[1])
    found = [_values_and_gradients(chains)]
    by_loops = taken[-1:] == [7]  # after the shapes' proofs
    monkeypatch.setattr(loops, "fits", lambda *_: False)
    found.append(_values_and_gradients(chains))
    for one, two in zip(*found, strict=True):
        assert bits(one) == bits(two)
        assert one.stride() == two.stride()
    if not by_loops:
        pytest.skip("this machine's library adds up in another order, so that torch did the work both times")


@pytest.mark.parametrize(("images", "channels", "side"), [(1, 64, 8), (5, 512, 2), (3, 64, 56), (3, 128, 32)])
def test_where_torch_comes_to_one_image_alone_its_bits_are_kept(
    images: int, channels: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one matrix, as of a batch of one or a part that is left over, torch's library may add up in another order."""
    chains = [
        [random(images, channels, side, side, seed=k).contiguous(memory_format=torch.channels_last) for k in (0, 1)]
    ]
    found = _values_and_gradients(chains)
    monkeypatch.setattr(loops, "fits", lambda *_: False)
    for one, two in zip(found, _values_and_gradients(chains), strict=True):
        assert bits(one) == bits(two)


def test_products_that_differ_for_one_image_alone_are_not_taken() -> None:
    ours = retention._BY_TORCH

    def other(x: Tensor, y: Tensor) -> Tensor:
        found = ours.product(x, y)
        if len(found) == 1:
            found[..., -1] += 1
        return found

    assert not loops.block(ours._replace(product=other), 5, 16, 32, 40)


def test_the_defaults_of_a_caller_change_no_proof() -> None:
    expected = loops.block(retention._BY_TORCH, 5, 16, 16, 40), loops.projects(retention._BY_TORCH, 16, 40)
    loops.block.cache_clear()
    loops.projects.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = loops.block(retention._BY_TORCH, 5, 16, 16, 40), loops.projects(retention._BY_TORCH, 16, 40)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found == expected


def _values_and_gradients(chains: list[list[Tensor]]) -> list[Tensor]:
    with torch.enable_grad():
        own = [[a.clone().requires_grad_() for a in chain] for chain in chains]
        values = torch.cat(retained(own, 5))
        return [values.detach(), *torch.autograd.grad(values.square().sum(), [a for chain in own for a in chain])]


@pytest.mark.parametrize("wrong", ["product", "vectors", "projected", "outer"])
def test_loops_that_differ_from_torch_in_one_bit_are_not_taken(wrong: str) -> None:
    ours = retention._BY_TORCH
    if not (loops.block(ours, 5, 16, 32, 40) and loops.projects(ours, 16, 40)):
        pytest.skip("this machine's library adds up in another order")
    plain = getattr(ours, wrong)

    def other(*given: Tensor) -> object:
        found = plain(*given)
        (found if isinstance(found, Tensor) else found[0])[-1].view(torch.int32)[..., -1] += 1
        return found

    by = ours._replace(**{wrong: other})
    assert not (loops.block(by, 5, 16, 32, 40) and loops.projects(by, 16, 40))


def test_what_the_loops_of_retention_do_not_take() -> None:
    x = random(2, 9, 16)
    assert loops.fits(x)
    for other in (x.double(), random(2, 9, 8), random(2, 16, 9).transpose(1, 2), x.to("meta"), random(3, 9, 16)):
        assert not loops.fits(x, other)
    assert not loops.fits(x[:1])
    torch.set_num_threads(2)
    assert not loops.fits(x)


@pytest.mark.parametrize(("small", "large"), [((4, 4), (8, 8)), ((2, 3), (6, 6)), ((3, 3), (7, 7)), ((5, 5), (5, 5))])
def test_a_spread_is_the_gradient_of_the_pool(small: tuple[int, int], large: tuple[int, int]) -> None:
    a = random(2, 1, *small)
    a[0, 0, 0, 0] = -0.0
    with torch.enable_grad():
        whole = torch.zeros(2, 1, *large, requires_grad=True)
        (expected,) = torch.autograd.grad(_pooled(whole, small), whole, a)
    assert bits(_spread(a, large)) == bits(expected)
