"""Networks with odd forwards, each with what a measurement has to report of it. All but the refused compute one function.

That function is `enumerable.sign_mlp`, so the exact answers are known: whatever a forward does with types, memory,
gradients or its input, what is found lies within them.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lcrbench.models.estimators import clip

from .enumerable import Enumerable, sign_mlp

SEED = 5


class Odd(NamedTuple):
    """A network and what is to be reported of it.

    `report` is "measured", or "refused" with a `UserError` of one line that matches `reason`, before anything is searched.
    `blind`: no gradient comes back, or only zeros; a measurement says so, and only decisions may guide it. `slack`: by how
    much, in l2 pixel units, its planes are off through the precision it chose itself. `scale`: what its logits are
    multiplied by.
    """

    name: str
    make: Callable[[], nn.Module]
    report: str = "measured"
    blind: bool = False
    reason: str = ""
    slack: float = 1e-5
    scale: float = 1.0


def twin() -> Enumerable:
    """Return the function that they compute, in an ordinary way: with an estimator, in float64."""
    return sign_mlp((6,), seed=SEED)


class Plain(nn.Module):
    """The twin with `forward` = `how(self, x)`; `self.w`, `self.b`, `self.a`, `self.c` are its weights as float32."""

    def __init__(self, how: Callable[[Any, Tensor], Any], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        first, last = twin().affine.get_submodule("1"), twin().rest.get_submodule("1")
        values = [p.detach().to(dtype) for m in (first, last) for p in (m.weight, m.bias)]
        self.w, self.b, self.a, self.c = (nn.Parameter(v, requires_grad=False) for v in values)
        self.sign, self.how = clip.Estimator(), how
        self.calls = 0
        self.kept: list[Any] = []
        self.eval()

    def z(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w.T + self.b

    def out(self, signs: Tensor) -> Tensor:
        return signs @ self.a.T + self.c

    def ordinary(self, x: Tensor) -> Tensor:
        return self.out(self.sign(self.z(x)))

    def forward(self, x: Tensor) -> Any:
        return self.how(self, x)


class _NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        raise NotImplementedError("no derivative here")


def _in_place(m: Plain, x: Tensor) -> Tensor:
    x.mul_(2).sub_(1)
    return m.ordinary(x.add_(1).div_(2))


def _in_place_through(m: Plain, x: Tensor) -> Tensor:
    """Leave the input changed: half of what it was."""
    x.div_(2)
    return m.ordinary(2 * x)


@torch.no_grad()
def _no_grad(m: Plain, x: Tensor) -> Tensor:
    return m.ordinary(x)


@torch.inference_mode()
def _inference(m: Plain, x: Tensor) -> Tensor:
    return m.ordinary(x)


def _grad_off_for_good(m: Plain, x: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    return m.ordinary(x)


def _hungry_backward(m: Plain, x: Tensor) -> Tensor:
    """Need too much memory where activations of more than four images are kept for a backward pass."""
    if x.requires_grad and torch.is_grad_enabled() and len(x) > 4:
        raise torch.OutOfMemoryError("needs 640 GiB")
    return m.ordinary(x)


def _hungry(m: Plain, x: Tensor) -> Tensor:
    if len(x) > 4:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")
    return m.ordinary(x)


def _hoards(m: Plain, x: Tensor) -> Tensor:
    """Keep every output with its graph, 64 kB a call."""
    out = m.ordinary(x)
    m.kept.append((out, torch.zeros(2**14)))
    return out


def _counts(m: Plain, x: Tensor) -> Tensor:
    m.calls += 1
    return m.ordinary(x) + 1e-3 * m.calls


def _nan_gradient(m: Plain, x: Tensor) -> Tensor:
    return m.ordinary(x) + 0 * (0 * x.flatten(1)[:, :1]).sqrt()


def _from_numpy(m: Plain, x: Tensor) -> Tensor:
    return m.ordinary(torch.from_numpy(x.detach().cpu().numpy().copy()))


def _numpy_of_leaf(m: Plain, x: Tensor) -> Tensor:
    return m.ordinary(torch.from_numpy(x.numpy().copy()))  # an error where x requires a gradient


def _resets(m: Plain, x: Tensor) -> Tensor:
    x.requires_grad_(False)  # an error where x is not a leaf
    return m.ordinary(x)


def _asks(m: Plain, x: Tensor) -> Tensor:
    """Take its own gradient on the way, as networks do that look at their saliency."""
    with torch.inference_mode(False), torch.enable_grad():
        own = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(m.z(own).sum(), own)
    return m.ordinary(x) + 0 * g.flatten(1)[:, :1]


def _renews_weights(m: Plain, x: Tensor) -> Tensor:
    m.w.requires_grad_(True)
    with torch.no_grad():
        m.w.copy_(m.w.clone())
    return m.ordinary(x)


def _with_lock(m: Plain, x: Tensor) -> Tensor:
    with m.kept[0]:
        return m.ordinary(x)


def _locked() -> Plain:
    made = Plain(_with_lock)
    made.kept.append(threading.Lock())  # cannot be copied
    return made


def _in(dtype: torch.dtype) -> Callable[[], Plain]:
    return lambda: Plain(lambda m, x: m.ordinary(x.to(dtype)), dtype)


def _how(how: Callable[[Any, Tensor], Any]) -> Callable[[], Plain]:
    return lambda: Plain(how)


ODD = [
    # Types.
    Odd("float", _how(lambda m, x: m.out(2 * (m.z(x) >= 0).float() - 1)), blind=True),
    Odd("where", _how(lambda m, x: m.out(torch.where(m.z(x) >= 0, 1.0, -1.0))), blind=True),
    Odd("torch.sign", _how(lambda m, x: m.out(torch.sign(m.z(x)))), blind=True),
    Odd("double", _in(torch.float64)),
    Odd("half", _in(torch.float16), slack=2e-2),
    Odd("bfloat16", _in(torch.bfloat16), slack=1e-1),
    Odd("integers", _how(lambda m, x: (1e6 * m.ordinary(x)).round().long()), blind=True, scale=1e6),
    Odd("view", _how(lambda m, x: m.ordinary(x.view(len(x), -1).view(x.shape)))),
    # Gradients.
    Odd("detach", _how(lambda m, x: m.ordinary(x.detach())), blind=True),
    Odd("data", _how(lambda m, x: m.ordinary(x.data)), blind=True),
    Odd("no_grad", _how(_no_grad), blind=True),
    Odd("inference_mode", _how(_inference), blind=True),
    Odd("grad off for good", _how(_grad_off_for_good), blind=True),
    Odd("backward raises", _how(lambda m, x: m.ordinary(_NoBackward.apply(x))), blind=True),
    Odd("nan gradient", _how(_nan_gradient), blind=True),
    Odd("numpy", _how(_from_numpy), blind=True),
    Odd("numpy of a leaf", _how(_numpy_of_leaf), blind=True),
    Odd("own gradient", _how(_asks)),
    # Its input, and itself.
    Odd("in place", _how(_in_place)),
    Odd("in place, left changed", _how(_in_place_through)),
    Odd("resets requires_grad", _how(_resets), blind=True),
    Odd("renews its weights", _how(_renews_weights)),
    Odd("lock", _locked),
    # Memory.
    Odd("hungry backward", _how(_hungry_backward)),
    Odd("hungry", _how(_hungry), "refused", reason="memory"),
    Odd("hoards", _how(_hoards)),
    # What is no fixed function of the single image with logits of two classes or more.
    Odd("counts its calls", _how(_counts), "refused", reason="not deterministic"),
    Odd("nan", _how(lambda m, x: m.ordinary(x) * torch.nan), "refused", reason="not finite"),
    Odd("tuple", _how(lambda m, x: (m.ordinary(x), x)), "refused", reason="logits"),
    Odd("one logit", _how(lambda m, x: m.ordinary(x)[:, :1]), "refused", reason="two classes|logits"),
    Odd("map of logits", _how(lambda m, x: m.ordinary(x)[:, :, None, None]), "refused", reason="logits"),
    Odd("raises", _how(lambda m, x: m.ordinary(x[:, :2])), "refused", reason="does not take|shapes"),
]


def constant() -> nn.Module:
    """Return a network that puts everything into one class: omega and kappa 0, no flip, and no gradient."""
    return Plain(lambda m, x: m.c.expand(len(x), -1) + 0 * copy.copy(x).flatten(1)[:, :1])
