"""Checks of an estimator."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator

import torch
from torch import Tensor

from lcrbench import registry
from lcrbench.models import api
from lcrbench.models.conformance._small import misspelt_hooks, round_trip

PROGRESS = (0.0, 0.3, 0.999)


def contract(name: str) -> Iterator[str]:
    """Its class is an estimator that can be made without arguments."""
    cls = registry.load("estimator", name).Estimator
    if not (isinstance(cls, type) and issubclass(cls, api.Estimator)):
        yield "its class 'Estimator' does not inherit from lcrbench.models.api.Estimator"
        return
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [p for p in inspect.signature(cls).parameters.values() if p.kind not in several]
    if missing := [p.name for p in parameters if p.default is p.empty]:
        yield f"its options have defaults, which {', '.join(missing)} has not"
        return
    yield from round_trip(name, {p.name: p.default for p in parameters})
    yield from misspelt_hooks(registry.load("estimator", name))


def values(name: str) -> Iterator[str]:
    """It gives -1 and +1, +1 at zero, in its input's shape and dtype."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.tensor([[-2.0, -1e-30, -0.0], [0.0, 1e-30, 2.0]], dtype=dtype)
        for progress in PROGRESS:
            out = _made(name, progress)(x)
            if out.dtype != dtype or out.shape != x.shape:
                yield f"it maps {dtype} of shape {tuple(x.shape)} to {out.dtype} of shape {tuple(out.shape)}"
                return
            if out.flatten().tolist() != [-1, -1, 1, 1, 1, 1]:
                yield f"it maps {x.flatten().tolist()} to {out.flatten().tolist()}, not to signs with sign(0) = +1"
                return


def slopes(name: str) -> Iterator[str]:
    """Its pseudo-gradient is finite, and somewhere not zero."""
    for progress in PROGRESS:
        slope = _slope(_made(name, progress))
        if not slope.isfinite().all():
            yield f"its slope is not finite at progress {progress:g}"
        elif not (slope != 0).any():
            yield f"its slope is 0 everywhere at progress {progress:g}"


def schedule(name: str) -> Iterator[str]:
    """Its slope follows from the progress alone."""
    direct, by_steps = _made(name, 0.5), _made(name, 0.9)
    by_steps.set_progress(0.1)
    by_steps.set_progress(0.5)
    if not torch.equal(_slope(direct), _slope(by_steps)):
        yield "its slope depends on the progress before: a resumed training would differ"
    if not torch.equal(_slope(direct), _slope(copy.deepcopy(direct))):
        yield "a copy has another slope"


def _made(name: str, progress: float) -> api.Estimator:
    made: api.Estimator = registry.load("estimator", name).Estimator()
    made.set_progress(progress)
    return made


def _slope(estimator: api.Estimator) -> Tensor:
    x = torch.cat([torch.linspace(-3, 3, 601), torch.tensor([0.0, 1e30, -1e30])]).requires_grad_()
    (slope,) = torch.autograd.grad(estimator(x).sum(), x)
    return slope


CHECKS = (contract, values, slopes, schedule)
