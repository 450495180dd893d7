"""Checks of a method."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.models import network as networks
from lcrbench.models.api import Order
from lcrbench.models.audit import audit
from lcrbench.models.binary import BinaryConv2d, binary_layers
from lcrbench.models.conformance._small import (
    IMAGES,
    different,
    few,
    images,
    make,
    misspelt_hooks,
    round_trip,
    sgd,
    step,
)
from lcrbench.models.definitions import definition


def contract(name: str) -> Iterator[str]:
    """Its class keeps to models/api.py."""
    cls = definition("method", name)
    cls()
    if not cls.__dataclass_params__.frozen:
        yield "its dataclass is not frozen: write @dataclass(frozen=True)"
    yield from misspelt_hooks(registry.load("method", name))


def options(name: str) -> Iterator[str]:
    """Its options are recorded, and read as they are written."""
    choice = networks.choose(name)
    yield from round_trip(name, dataclasses.asdict(choice.method))
    if networks.choose(choice.label) != choice:
        yield f"its label '{choice.label}' gives another method"


def shapes(name: str) -> Iterator[str]:
    """Its layers have the shapes that they are asked for."""
    method = networks.choose(name).method
    for given, expected in (((3, 4, 3, 2, 1), (2, 4, 4, 4)), ((4, 8, 1, 1, 0), (2, 8, 8, 8))):
        found = tuple(method.conv(*given)(_real(2, given[0])).shape)
        if found != expected:
            yield f"conv{given} maps (2, {given[0]}, 8, 8) to {found}, not {expected}"
    if (found := tuple(method.activation(4)(_real(2, 4)).shape)) != (2, 4, 8, 8):
        yield f"activation(4) maps (2, 4, 8, 8) to {found}"


def order(name: str) -> Iterator[str]:
    """The order of its blocks is one that backbones have."""
    if (found := networks.choose(name).method.order) not in get_args(Order):
        yield f"its order is {found!r}, and none of {', '.join(get_args(Order))}"


def decays(name: str) -> Iterator[str]:
    """What it declares to decay are parameters of the part that declares it."""
    net = make(name)
    try:
        networks.must_decay(net)
    except AttributeError as error:
        yield f"'decays' names what is no parameter: {error}"


def bits(name: str) -> Iterator[str]:
    """It makes what its bits say."""
    method, net = networks.choose(name).method, make(name)
    layers = binary_layers(net)
    binary = (method.weight_bits, method.activation_bits) == (1, 1)
    if binary != bool(layers):
        said = f"weight_bits = {method.weight_bits} and activation_bits = {method.activation_bits}"
        yield f"says {said}, and its network has {len(layers)} layers of {BinaryConv2d.__name__}"
    elif binary:
        step(net, sgd(net), on_gradient=method.on_gradient)
        yield from audit(net.eval(), images(2)).faults


def precision(name: str) -> Iterator[str]:
    """It computes in the dtype of its inputs and weights."""
    net = make(name).double()
    for layer, signs in binary_layers(net).items():
        weights, scale = signs.binarize()
        given = {"signs of weights": weights, "scale": scale, "offset": signs.binarizer.offset(signs.weight)}
        given["signs of inputs"] = signs.sign(_real(2, signs.in_channels).double())
        for what, value in given.items():
            if value is not None and value.dtype != torch.float64:
                yield f"under float64 the {what} of {layer} are {value.dtype}"
                return
    out = net(images().double())
    if out.dtype != torch.float64:
        yield f"under float64 its network gives {out.dtype}"


def modes(name: str) -> Iterator[str]:
    """Its layers give in training what they give in evaluation, and the same every time."""
    method, x = networks.choose(name).method, _real(4, 4)
    for what, layer in (("conv", method.conv(4, 8, 3, 1, 1)), ("activation", method.activation(4))):
        training, evaluation = (layer.train(mode)(x).detach() for mode in (True, False))
        if not torch.equal(training, evaluation):
            yield f"what {what} makes gives other values in training than in evaluation"
        elif not torch.equal(evaluation, layer(x).detach()):
            yield f"what {what} makes gives other values the second time"


def batches(name: str) -> Iterator[str]:
    """The result for an image does not depend on the others, and evaluation changes no state."""
    net = make(name).double()
    net.train()(images().double())
    before = copy.deepcopy(net.eval())
    x = images().double()
    with torch.no_grad():
        together, alone = net(x), torch.cat([net(one) for one in x.chunk(len(x))])
    if not torch.allclose(together, alone, rtol=1e-9, atol=1e-9):
        yield f"the logits of an image depend on its batch (by {float((together - alone).abs().max()):.3g})"
    if changed := different(net, before):
        yield f"evaluation changes the network's state: {few(changed)}"


def gradients(name: str) -> Iterator[str]:
    """Every parameter is trained, by finite gradients."""
    net, method = make(name), networks.choose(name).method
    method.on_stage(net, max(0, len(method.stages) - 1))
    method.on_progress(net, 0.5)
    F.cross_entropy(net(images()), torch.arange(IMAGES)).backward()  # type: ignore[no-untyped-call]
    if lost := [k for k, p in net.named_parameters() if p.grad is None]:
        yield f"no gradient reaches {few(lost)}"
    if broken := [k for k, p in net.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]:
        yield f"the gradient is not finite in {few(broken)}"


def resume(name: str) -> Iterator[str]:
    """A training that goes on from its saved state ends in the same bits."""
    method = networks.choose(name).method
    straight, resumed = make(name), make(name, seed=1)
    method.on_stage(straight, 0)
    for t in (0.125, 0.375):
        method.on_progress(straight, t)
        step(straight, sgd(straight), on_gradient=method.on_gradient)
    # As the training loop does: what is outside the state as the last step left it, then the state.
    method.on_stage(resumed, 0)
    method.on_progress(resumed, 0.375)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    for net in (straight, resumed):
        method.on_progress(net, 0.625)
        step(net, sgd(net), on_gradient=method.on_gradient)
    if changed := different(straight, resumed):
        yield f"a resumed training differs in {few(changed)}: keep what it depends on in buffers, or derive it from t"


def _real(n: int, channels: int) -> Tensor:
    return torch.randn(n, channels, 8, 8, generator=torch.Generator().manual_seed(2))


CHECKS = (contract, options, shapes, order, decays, bits, precision, modes, batches, gradients, resume)
