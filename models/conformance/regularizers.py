"""Checks of a regularizer, with the method `irnet` and a teacher where it needs one."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator

import torch
from torch import nn

from lcrbench.models import network as networks
from lcrbench.models.api import Term
from lcrbench.models.audit import audit
from lcrbench.models.conformance._small import different, few, finite, images, make, round_trip, sgd, step
from lcrbench.models.definitions import definition

METHOD = "irnet"


def contract(name: str) -> Iterator[str]:
    """Its class keeps to models/api.py."""
    cls = definition("regularizer", name)
    made = cls()
    if not cls.__dataclass_params__.frozen:
        yield "its dataclass is not frozen: write @dataclass(frozen=True)"
    if made.teacher:
        networks.choose(made.teacher)


def options(name: str) -> Iterator[str]:
    """Its options are recorded, and read as they are written."""
    choice = networks.choose(f"{METHOD}+{name}")
    yield from round_trip(name, dataclasses.asdict(choice.regularizers[name]))
    for text in (choice.label, f"{choice.label}:weight=0.0"):
        if networks.choose(text).label != text:
            yield f"'{text}' is labelled '{networks.choose(text).label}'"


def weight_zero(name: str) -> Iterator[str]:
    """With weight 0 training is that of the method alone, to the bit."""
    for measure in (False, True):
        plain, net = make(METHOD), make(f"{METHOD}+{name}:weight=0")
        if changed := different(plain, net):
            yield f"with weight 0 the network starts with another state: {few(changed)}"
            return
        term = _attach(name, net, 0.0)
        for _ in range(2):
            step(plain, sgd(plain))
            _, added = step(net, sgd(net), [term], measure)
            if added:
                yield "with weight 0 its loss is a tensor: return None, since plus a term times 0 changes bits"
                return
        if changed := different(plain, net):
            yield f"with weight 0 training differs{' where it measures' * measure}: {few(changed)}"
            return


def start(name: str) -> Iterator[str]:
    """Its network starts from the latent weights that every method starts from."""
    if networks.weights_hash(make(METHOD)) != networks.weights_hash(make(f"{METHOD}+{name}")):
        yield "its network has other initial latent weights: put parameters of its own into packed.TrainingOnly"


def training(name: str) -> Iterator[str]:
    """Its loss and figures are finite, and what it says of itself fits."""
    net = make(f"{METHOD}+{name}")
    term = _attach(name, net)
    if not 0 <= term.replaces <= 1:
        yield f"its term replaces {term.replaces} of the cross-entropy, not a share in [0, 1]"
    for network, passes in term.passes.items():
        if network not in ("student", "teacher") or len(passes) != 2 or min(passes) < 0:
            yield f"its term's passes {{'{network}': {passes}}} are no (forward, backward) of student or teacher"
    for _ in range(2):
        _, added = step(net, sgd(net), [term], True)
        if not all(a.isfinite() for a in added):
            yield "its loss is not finite"
    if not finite(term.figures()):
        yield f"its figures are not all finite numbers: {term.figures()}"
    if lost := [k for k, p in net.named_parameters() if p.grad is None]:
        yield f"no gradient reaches {few(lost)}"
    term.detach()
    faults = audit(net.eval(), images(2)).faults
    yield from (f"its network is not binary any more: {fault}" for fault in faults)


def few_images(name: str) -> Iterator[str]:
    """It takes steps of two, three and four images, on which the harness counts what it computes."""
    net = make(f"{METHOD}+{name}")
    for n in (2, 3, 4):
        term = _attach(name, net)
        try:
            step(net, sgd(net), [term], n=n)
        except Exception as error:
            yield f"a step of {n} images raises {type(error).__name__}: {error}".partition("\n")[0]
            return
        finally:
            term.detach()


def hooks(name: str) -> Iterator[str]:
    """After `detach` no hook is left in the network."""
    net = make(f"{METHOD}+{name}")
    before = _hooks(net)
    term = _attach(name, net)
    step(net, sgd(net), [term])
    term.detach()
    if left := [k for k, n in _hooks(net).items() if n != before[k]]:
        yield f"after detach hooks are left in {few(left)}"


def resume(name: str) -> Iterator[str]:
    """A training that goes on from its saved state ends in the same bits."""
    straight = make(f"{METHOD}+{name}")
    term = _attach(name, straight)
    step(straight, sgd(straight), [term])
    resumed = make(f"{METHOD}+{name}", seed=1)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    again = _attach(name, resumed, begun=True)
    state = term.state()
    if not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()):
        yield "its state is no dict of names and tensors"
        return
    again.restore({k: v.clone() for k, v in state.items()})
    for net, one in ((straight, term), (resumed, again)):
        step(net, sgd(net), [one])
    if changed := different(straight, resumed):
        yield f"a resumed training differs in {few(changed)}: give what it depends on in `state`"


def refusal(name: str) -> Iterator[str]:
    """A network that it does not fit is refused by a ValueError, and one with no binary layer is no exception."""
    try:
        _attach(name, make(f"full_precision+{name}"))
    except ValueError as error:
        if not str(error):
            yield "it refuses a network without binary layers by an error that says nothing"


def _attach(name: str, net: nn.Module, weight: float | None = None, *, begun: bool = False) -> Term:
    """Attach a regularizer to a network whose training begins, or has begun."""
    cls = definition("regularizer", name)
    made = cls() if weight is None else cls(weight=weight)
    # As in a training: with weight 0 no teacher is trained.
    teacher = make(made.teacher, seed=3) if made.teacher and made.weight > 0 else None
    if teacher is not None and not begun:
        made.start(net, teacher)
    term = made.attach(net, teacher)
    if not isinstance(term, Term):
        raise TypeError(f"attach returns {type(term).__name__}, and no lcrbench.models.api.Term")
    return term


def _hooks(net: nn.Module) -> dict[str, int]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {name or "the network": sum(len(vars(m)[kind]) for kind in kinds) for name, m in net.named_modules()}


CHECKS = (contract, options, weight_zero, start, training, few_images, hooks, resume, refusal)
