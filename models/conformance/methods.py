"""Checks of a method."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle
import random
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.models import network as networks
from lcrbench.models.api import Order
from lcrbench.models.audit import audit
from lcrbench.models.binary import BinaryConv2d, Shared, binary_layers, sharing
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


def of_weight_alone(name: str) -> Iterator[str]:
    """A binarizer that declares `of_weight_alone` trains slices of a batch alike whether or not they share what it makes."""
    stages = range(max(1, len(networks.choose(name).method.stages)))
    for stage, t in ((stage, t) for stage in stages for t in (0.0, 0.5, 0.999)):
        net = _training(name, stage, t)
        declared = {k: m for k, m in binary_layers(net).items() if m.binarizer.of_weight_alone}
        kinds = ", ".join(sorted({type(m.binarizer).__name__ for m in declared.values()}))
        wrong, way = f"'of_weight_alone' is declared by {kinds}, but", "leave the declaration out"
        for layer, m in declared.items():
            before, generators = _kept(m), _generators()
            m.binarize()
            if _generators() != generators:
                yield f"{wrong} its forward pass draws random numbers: {way}"
                return
            after = _kept(m)
            if changed := [f"{layer}.{k}" for k in after if after[k] != before.get(k)]:
                yield f"{wrong} its forward pass changes {few(changed)}: {way}"
                return
        if declared:
            own, shared = (_in_slices(_training(name, stage, t), share) for share in (False, True))
            if differ := [k for k in own if k not in shared or not torch.equal(own[k], shared[k])]:
                yield f"{wrong} where slices of a batch share what it makes, other gradients reach {few(differ)}: {way}"
                return


def _training(name: str, stage: int, t: float) -> networks.Network:
    """Return a network in training mode, at progress t of a stage."""
    method, net = networks.choose(name).method, make(name)
    method.on_stage(net, stage)
    method.on_progress(net, t)
    return net.train()


class _Values(pickle.Pickler):
    """Writes tensors and generators by their values; torch writes addresses too."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Generator):
            value = value.get_state()
        if isinstance(value, Tensor):
            return bytes, (value.detach().flatten().view(torch.uint8).numpy().tobytes(),)
        return NotImplemented


def _written(value: Any) -> bytes:
    out = io.BytesIO()
    _Values(out).dump(value)
    return out.getvalue()


def _generators() -> bytes:
    """Return the states of the generators that belong to nobody."""
    return _written([torch.default_generator, random.getstate(), np.random.get_state()])  # noqa: NPY002


def _kept(module: nn.Module) -> dict[str, bytes]:
    """Return what a module and its parts hold by name: parameters, buffers and other attributes."""
    found = {}
    for part, m in module.named_modules():
        for name, value in {**vars(m), **m._parameters, **m._buffers}.items():
            if name not in ("_parameters", "_buffers", "_modules"):
                with suppress(Exception):  # what cannot be written, such as a function, is not looked at
                    found[f"{part}.{name}".lstrip(".")] = _written(value)
    return found


def _in_slices(net: nn.Module, share: bool) -> dict[str, Tensor]:
    """Return the summed gradients of a batch in three slices, each with its own random numbers."""
    shared: Shared = {}
    with torch.random.fork_rng(devices=[]):
        for k, (x, labels) in enumerate(zip(images().chunk(3), torch.arange(IMAGES).chunk(3), strict=True)):
            torch.default_generator.manual_seed(k)
            with sharing(net, shared) if share else nullcontext():
                logits = net(x)
            F.cross_entropy(logits, labels).backward(retain_graph=k < 2)  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def _real(n: int, channels: int) -> Tensor:
    return torch.randn(n, channels, 8, 8, generator=torch.Generator().manual_seed(2))


CHECKS = (contract, options, shapes, order, decays, bits, precision, modes, batches, gradients, resume, of_weight_alone)
