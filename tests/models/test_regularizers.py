"""Every regularizer of the registry: what it adds, that weight 0 adds nothing, and its value against its formula."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.errors import UserError
from lcrbench.models import api
from lcrbench.models import network as networks
from lcrbench.models.audit import audit
from lcrbench.models.binary import binary_layers, deployed_weight
from lcrbench.models.regularizers import jacobian_penalty, lcr_fixed, lcr_released, parseval, spectral_penalty

NAMES = registry.names("regularizer")


def make(method: str, backbone: str = "vgg_tiny", size: int = 16, seed: int = 0) -> networks.Network:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed + sum(map(ord, name)))

    return networks.build(networks.choose(method), backbone, 10, size, [0.3] * 3, [0.4] * 3, generator)


def images(n: int = 6, size: int = 16) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def attach(name: str, net: nn.Module, **options: object):
    regularizer = registry.load("regularizer", name).Regularizer(**options)
    if regularizer.teacher:
        teacher = make(regularizer.teacher, seed=3)
        regularizer.start(net, teacher)
        return regularizer.attach(net, teacher)
    return regularizer.attach(net)


def seen(net: nn.Module, *terms: api.Term, measure: bool = False) -> api.Context:
    return api.observe(net, terms, images(), torch.arange(6), measure)


def step(net: nn.Module, terms: list, measure: bool = False) -> dict[str, torch.Tensor]:
    """Take one forward and backward pass; return the gradients."""
    context = seen(net, *terms, measure=measure)
    loss = F.cross_entropy(context.logits, context.labels)
    for term in terms:
        if (extra := term.loss(context)) is not None:
            loss = loss + extra
    loss.backward()
    return {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("measure", [False, True])
def test_weight_zero_changes_no_bit(name: str, measure: bool) -> None:
    plain, zero = make("adabin"), make(f"adabin+{name}:weight=0")
    assert [*plain.state_dict()] == [*zero.state_dict()]
    term = attach(name, zero, weight=0.0)
    a, b = step(plain, []), step(zero, [term], measure)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert all(torch.equal(x, zero.state_dict()[k]) for k, x in plain.state_dict().items())
    assert term.loss(seen(zero, term)) is None
    term.detach()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in zero.modules())


@pytest.mark.parametrize("method", ["bnn", "adabin"])
@pytest.mark.parametrize("name", NAMES)
def test_it_moves_the_gradient_and_says_so(name: str, method: str) -> None:
    plain, treated = make(method), make(f"{method}+{name}")
    term = attach(name, treated)
    a, b = step(plain, []), step(treated, [term], True)
    assert all(torch.isfinite(g).all() for g in b.values())
    layers = [f"{k}.weight" for k in binary_layers(plain)]
    assert any(not torch.equal(a[k], b[k]) for k in layers)
    figures = term.figures()
    assert figures["weight"] == registry.load("regularizer", name).Regularizer().weight
    assert all(torch.isfinite(torch.tensor(v)) for v in figures.values())
    term.detach()


@pytest.mark.parametrize("name", NAMES)
def test_the_treated_network_is_still_binary(name: str) -> None:
    net = make(f"adabin+{name}")
    term = attach(name, net)
    step(net, [term])
    term.detach()
    found = audit(net, images())
    assert found.passed, found.faults


@pytest.mark.parametrize("name", NAMES)
def test_options_are_checked(name: str) -> None:
    with pytest.raises(UserError, match=name):
        networks.choose(f"irnet+{name}:weight=-1")
    assert dataclasses.is_dataclass(registry.load("regularizer", name).Regularizer())


@pytest.mark.parametrize("name", ["lcr", "spectral_norm", "spectral_penalty", "parseval"])
def test_what_needs_signs_refuses_a_network_without(name: str) -> None:
    with pytest.raises(ValueError, match="needs binary"):
        attach(name, make("full_precision+" + name))


# --- values ----------------------------------------------------------------------------------------------------------


def value(term, net: nn.Module) -> float:
    term.loss(seen(net, term, measure=True))
    return term.figures()["loss"]


def test_spectral_penalty_value() -> None:
    net = make("xnor_net")
    expected = sum(
        0.5 * float(torch.linalg.svdvals(deployed_weight(m).detach().flatten(1))[0]) ** 2
        for m in binary_layers(net).values()
    )
    found = value(spectral_penalty.Regularizer(iterations=300).attach(net), net)
    assert found == pytest.approx(expected, rel=1e-3)


def test_parseval_value() -> None:
    net = make("bnn")
    expected = 0.0
    for m in binary_layers(net).values():
        w = torch.where(m.weight >= 0, 1.0, -1.0).flatten(1) / (m.in_channels * 9) ** 0.5
        expected += 0.5 * sum(float((w[i] @ w[j] - float(i == j)) ** 2) for i in range(len(w)) for j in range(len(w)))
    assert value(parseval.Regularizer().attach(net), net) == pytest.approx(expected, rel=1e-4)


def test_jacobian_penalty_estimates_the_frobenius_norm() -> None:
    net = make("full_precision:nonlinearity=hardtanh").eval()
    x = images(2)
    jacobian = torch.autograd.functional.jacobian(lambda v: net(v).sum(0), x)
    expected = 0.5 * float(jacobian.square().sum((0, 2, 3, 4)).mean())
    term = jacobian_penalty.Regularizer().attach(net)
    values = []
    for _ in range(400):
        context = api.observe(net, [term], x, torch.arange(2), True)
        values.append(float(term.loss(context).detach()) / 1e-3)
    found = torch.tensor(values)
    assert abs(float(found.mean()) - expected) < 4 * float(found.std()) / 20


def test_spectral_norm_divides_by_the_top_singular_value() -> None:
    plain, divided = make("adabin"), make("adabin+spectral_norm").eval()
    for name, layer in binary_layers(divided).items():
        before = deployed_weight(binary_layers(plain)[name]).detach()
        sigma = torch.linalg.svdvals(before.flatten(1))[0]
        torch.testing.assert_close(deployed_weight(layer).detach(), before / sigma, rtol=1e-3, atol=1e-6)


def dense(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if a.shape[-1] > b.shape[-1]:
        a = F.adaptive_avg_pool2d(a, b.shape[-2:])
    return torch.einsum("nihw,nohw->nio", a, b) / b[0, 0].numel()


def features(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    kept: list[torch.Tensor] = []
    handles = [s.register_forward_hook(lambda m, i, o: kept.append(o.detach())) for s in net.body.stages()]
    net(x)
    for handle in handles:
        handle.remove()
    return kept


def test_released_value_by_the_formula() -> None:
    net, teacher = make("irnet+lcr_released", "resnet20"), make("full_precision", "resnet20", seed=3)
    with torch.no_grad():
        net.body.lcr_gamma.values.copy_(torch.tensor([0.5, 2.0, 1.5]))
    student = [g * F.hardtanh(a) for g, a in zip((0.5, 2.0, 1.5), features(copy.deepcopy(net), images()), strict=True)]
    guide = [F.relu(a) for a in features(copy.deepcopy(teacher).train(), images())]
    expected = 0.0
    for i in range(2):
        e = []
        for f in (student, guide):
            r = dense(f[i], f[i + 1])
            k = r @ r.transpose(1, 2)
            e.append(k.sum(2).norm(dim=1).sqrt())
        expected += 2.0 ** (i + 1 - 3) * float((e[0] - e[1]).square().mean())
    term = lcr_released.Regularizer().attach(net, teacher)
    loss = term.loss(seen(net, term))
    assert float(loss.detach()) == pytest.approx(8 * expected / 6 / 10_000, rel=1e-4)
    loss.backward()
    assert net.body.lcr_gamma.values.grad.abs().min() > 0
    assert int(net.body.stem[1].num_batches_tracked) == 2, "two passes a step move the statistics twice"
    assert term.passes == {"student": (1.0, 1.0), "teacher": (1.0, 0.0)}
    assert all(p.grad is None for p in teacher.parameters())


def test_fixed_value_by_the_formula() -> None:
    net, teacher = make("irnet", "resnet20"), make("full_precision", "resnet20", seed=3).eval()
    student, guide = features(copy.deepcopy(net), images()), features(teacher, images())
    expected = 0.0
    for i in range(2):
        s, t = (torch.linalg.matrix_norm(dense(f[i], f[i + 1]), ord=2) for f in (student, guide))
        expected += 3.0 ** (i - 1) * float((s / t - 1).square().mean())
    term = lcr_fixed.Regularizer(weight=0.5, beta=3.0, iterations=200).attach(net, teacher)
    assert float(term.loss(seen(net, term)).detach()) == pytest.approx(0.5 * expected, rel=1e-3)
    assert int(net.body.stem[1].num_batches_tracked) == 1
    assert term.passes == {"teacher": (1.0, 0.0)}


def test_the_cache_asks_once_and_survives_a_resume() -> None:
    net, teacher = make("irnet"), make("full_precision", seed=3)
    terms = [lcr_fixed.Regularizer(cache=c).attach(net, copy.deepcopy(teacher)) for c in (False, True)]
    found = []
    for _ in range(2):
        context = seen(net, *terms)
        found.append([float(t.loss(context).detach()) for t in terms])
    assert found[0][0] == found[0][1]
    assert terms[1].passes["teacher"][0] == 0
    assert terms[0].passes["teacher"][0] == 1
    resumed = lcr_fixed.Regularizer(cache=True).attach(net, copy.deepcopy(teacher))
    resumed.restore(terms[1].state())
    resumed.loss(seen(net, resumed))
    assert resumed.passes["teacher"][0] == 0


def test_several_compose() -> None:
    net = make("irnet+lcr_released+lcr+jacobian_penalty")
    terms = [attach(n, net) for n in ("lcr_released", "lcr", "jacobian_penalty")]
    alone = make("irnet")
    one = attach("lcr", alone)
    step(net, terms, True)
    step(alone, [one], True)
    assert terms[1].figures()["loss"] == one.figures()["loss"]
