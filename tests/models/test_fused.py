"""Backward passes written by hand against autograd's of the same formulas, and what they keep and leave alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.models import network as networks
from lcrbench.models.estimators import clip, power, sign
from lcrbench.models.fused import Fused, centred
from lcrbench.models.retention import retained, retention_matrix, top_singular_value

METHODS = registry.files("method")
LAYOUTS = (torch.channels_last, torch.contiguous_format)


def network(method: str, layout: torch.memory_format = torch.channels_last) -> nn.Module:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    made = networks.build(networks.choose(method), "vgg_tiny", 10, 16, [0.3] * 3, [0.4] * 3, generator)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if p.ndim < 2:  # thresholds, slopes and scales away from their first values, where some gradients vanish
                p.add_(0.2 * torch.rand(p.shape, generator=generator(name)))
    return made.double().to(memory_format=layout).train()


def images() -> Tensor:
    return torch.rand(4, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def loss(net: nn.Module, x: Tensor) -> Tensor:
    return F.cross_entropy(net(x), torch.arange(4))


@pytest.mark.parametrize("layout", LAYOUTS, ids=("channels_last", "contiguous"))
@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_is_that_of_autograd(method: str, layout: torch.memory_format) -> None:
    """A gradient that is differentiated again is autograd's of the plain formulas; the other one is written by hand."""
    net, x = network(method, layout), images().requires_grad_()
    wanted = [x, *net.parameters()]
    fast = torch.autograd.grad(loss(net, x), wanted, allow_unused=True)
    plain = torch.autograd.grad(loss(net, x), wanted, allow_unused=True, create_graph=True)
    names = ["images", *(name for name, _ in net.named_parameters())]
    for name, a, b in zip(names, fast, plain, strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            torch.testing.assert_close(a, b.detach(), rtol=1e-10, atol=1e-13, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("method", METHODS)
def test_training_and_evaluation_take_the_same_signs(method: str) -> None:
    """Fused in training, by single operations otherwise."""
    for part in network(method).modules():
        sign_of = getattr(part, "sign", None)
        if isinstance(sign_of, nn.Module):
            x = torch.randn(4, part.in_channels, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
            assert torch.equal(sign_of.train()(x), sign_of.eval()(x))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_changes_no_activation(method: str) -> None:
    """What one part works on in place, no other one is given: the inputs of all parts are as they were."""
    net, seen = network(method), []
    for part in net.modules():
        if not list(part.children()):
            part.register_forward_hook(
                lambda m, inputs, out: seen.extend((t, t.detach().clone()) for t in (*inputs, out))
            )
    loss(net, images()).backward()
    assert seen
    assert all(torch.equal(now.detach(), then) for now, then in seen)


def test_a_fused_function_keeps_its_inputs_alone() -> None:
    kept: list[Tensor] = []
    x, y = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    product = Fused(torch.mul, torch.mul, lambda grad, a, b: (grad * b, grad * a))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        out = product(x, y)
    assert [t.data_ptr() for t in kept] == [x.data_ptr(), y.data_ptr()]
    out.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert torch.autograd.gradgradcheck(product, (x.detach().double().requires_grad_(), y.detach().double()))


def test_sign_in_place() -> None:
    x = torch.tensor([-1.0, -0.0, 0.0, 2.0, float("nan")])
    expected = sign(x)
    assert expected.tolist() == [-1, 1, 1, 1, -1]
    assert sign(x, out=x) is x
    assert torch.equal(x, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("estimator", "end"), [(clip.Estimator(), 1.0), (power.Estimator(), 1.5)])
def test_the_ends_of_a_slope_belong_to_it(estimator: nn.Module, end: float, dtype: torch.dtype) -> None:
    """The gradient passes at the end, and not at the next number after it."""
    after = end + torch.finfo(dtype).eps
    x = torch.tensor([-after, -end, end, after], dtype=dtype, requires_grad=True)
    estimator(x).sum().backward()
    assert (x.grad != 0).tolist() == [False, True, True, False]


def test_centred() -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) + 2
    std, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True)
    found = centred(x)
    torch.testing.assert_close(found[0], x - mean)
    torch.testing.assert_close(found[1], std)


@pytest.mark.parametrize("layout", LAYOUTS, ids=("channels_last", "contiguous"))
def test_the_gradient_of_retained_values(layout: torch.memory_format) -> None:
    """That of u^T R v through the matrices themselves, in one pass and where it is differentiated again."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(4, 8), (6, 8), (6, 4), (5, 4)]

    def chain() -> list[Tensor]:
        made = [torch.randn(2, c, s, s, dtype=torch.float64, generator=generator) for c, s in shapes]
        return [a.contiguous(memory_format=layout).requires_grad_() for a in made]

    chains = [chain(), chain()]
    activations = [a for one in chains for a in one]
    weights = torch.rand(6, 2, dtype=torch.float64, generator=generator)
    pairs = [pair for one in chains for pair in pairwise(one)]
    values = torch.stack([v for one in retained(chains) for v in one])
    expected = torch.stack([top_singular_value(retention_matrix(a, b)) for a, b in pairs])
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=0)
    fast = torch.autograd.grad((weights * values).sum(), activations, retain_graph=True)
    again = torch.autograd.grad((weights * values).sum(), activations, create_graph=True)
    plain = torch.autograd.grad((weights * expected).sum(), activations)
    for one, two, three in zip(fast, again, plain, strict=True):
        assert one.is_contiguous(memory_format=layout)
        torch.testing.assert_close(one, three, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(two.detach(), three, rtol=1e-9, atol=1e-12)
