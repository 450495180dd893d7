"""Whether optimizers, schedules and transforms keep their contracts (api.py): one line for each finding.

Our own entries and those from outside pass the same checks. A check takes the entry's module, uses the options' defaults,
and takes less than a second.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench import registry
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.seeds import generator
from lcrbench.bench.together import ALONE
from lcrbench.bench.training import api
from lcrbench.bench.training.shards import Shards
from lcrbench.bench.training.state import State, pack, restore
from lcrbench.errors import UserError
from lcrbench.models.definitions import checked
from lcrbench.testing import raised

STEPS = 60


def check_optimizer(module: ModuleType, name: str = "") -> list[str]:
    """Return where an optimizer's module breaks its contract: groups, rate, decay, state, repetition, and descent."""
    return _guarded("optimizer", module, name, api.Optimizer, _optimizer_findings)


def check_schedule(module: ModuleType, name: str = "") -> list[str]:
    """Return where a schedule's module breaks its contract: a factor in [0, 1] that depends on its arguments alone."""
    return _guarded("schedule", module, name, api.Schedule, _schedule_findings)


def check_transform(module: ModuleType, name: str = "") -> list[str]:
    """Return where a transform's module breaks its contract: shapes, types, repetition, images apart from each other."""
    return _guarded("transform", module, name, api.Transform, _transform_findings)


def _guarded(
    kind: str, module: ModuleType, name: str, contract: type[Any], findings: Callable[[Any], list[str]]
) -> list[str]:
    found = (
        []
        if (module.__doc__ or registry.docstring_in(getattr(module, "__file__", None) or "")).strip()
        else ["the module has no docstring: its first line is what lists show"]
    )
    try:
        part = checked(module, contract, kind, name or module.__name__)
        return found + findings(part())
    except UserError as error:
        return [*found, str(error)]
    except Exception as error:
        # Whatever somebody's code raises is a finding.
        return [*found, raised(error)]


def _weights() -> tuple[nn.Parameter, nn.Parameter]:
    rows = torch.arange(12, dtype=torch.float32).reshape(4, 3) / 6 - 1
    return nn.Parameter(rows.clone()), nn.Parameter(rows[0].clone() + 0.4)


class _Problem(nn.Module):
    """Two parameters, the first of which decays, pulled towards 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.decayed, self.free = _weights()

    def loss(self) -> Tensor:
        return ((self.decayed - 0.5) ** 2).mean() + ((self.free - 0.5) ** 2).mean()

    def groups(self, decay: float) -> list[api.Group]:
        return [{"params": [self.decayed], "weight_decay": decay}, {"params": [self.free], "weight_decay": 0.0}]


def _descend(problem: _Problem, optimizer: torch.optim.Optimizer, steps: int, lr: float, gradient: bool = True) -> None:
    for _ in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        loss = problem.loss() if gradient else 0.0 * problem.loss()
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        optimizer.step()


def _same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def _optimizer_findings(part: api.Optimizer) -> list[str]:
    recipe, found = Recipe(lr=0.02), []

    def make(decay: float = 0.0) -> tuple[_Problem, Any]:
        problem = _Problem()
        return problem, part.make(problem.groups(decay), recipe)

    problem, optimizer = make()
    if not isinstance(optimizer, torch.optim.Optimizer):
        return [f"make returns {type(optimizer).__name__}, not a torch.optim.Optimizer"]
    held = [p for group in optimizer.param_groups for p in group["params"]]
    if sorted(map(id, held)) != sorted(map(id, problem.parameters())):
        return ["the optimizer's groups do not hold each given parameter once"]
    before, noise = float(problem.loss().detach()), torch.get_rng_state()
    _descend(problem, optimizer, STEPS, recipe.lr)
    if not float(problem.loss().detach()) < before:
        found.append(f"{STEPS} steps on a quadratic function do not lower it")
    if not torch.equal(noise, torch.get_rng_state()):
        found.append("a step draws from torch's global generator: trainings would not repeat")
    again, other = make()
    _descend(again, other, STEPS, recipe.lr)
    if not _same(problem, again):
        found.append("two equal trainings end in different bits")

    still, optimizer = make(decay=0.5)
    _descend(still, optimizer, 3, 0.0)
    if not _same(still, _Problem()):
        found.append('with "lr" set to 0 in each group, a step moves the parameters: it does not follow the schedule')
    decays, optimizer = make(decay=0.5)
    _descend(decays, optimizer, 3, recipe.lr, gradient=False)
    if not torch.equal(decays.free, _Problem().free):
        found.append("without gradient and decay a parameter moves: the groups' weight_decay is not kept apart")
    if torch.equal(decays.decayed, _Problem().decayed):
        found.append("the first group's weight_decay changes nothing")

    whole, optimizer = make(decay=0.1)
    _descend(whole, optimizer, STEPS, recipe.lr)
    half, optimizer = make(decay=0.1)
    _descend(half, optimizer, STEPS // 2, recipe.lr)
    saved = copy.deepcopy(pack(_state(half, optimizer, recipe)))
    resumed, optimizer = make(decay=0.1)
    restore(_state(resumed, optimizer, recipe), saved)
    _descend(resumed, optimizer, STEPS - STEPS // 2, recipe.lr)
    if not _same(whole, resumed):
        found.append("a training that is stopped and resumed ends in other bits: state_dict() does not hold all state")
    return found


def _state(network: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe) -> State:
    return State(network, optimizer, [{}], Shards(network, recipe, 0, ALONE))


def _schedule_findings(part: api.Schedule) -> list[str]:
    found = []
    for warmup in (0.0, 0.05, 0.5):
        places = [warmup + (1 - warmup) * k / 100 for k in range(101)]
        factors = [part.factor(p, warmup) for p in places]
        for p, factor in zip(places, factors, strict=True):
            if not isinstance(factor, float) or not math.isfinite(factor) or not 0 <= factor <= 1:
                found.append(f"factor({p:g}, {warmup:g}) is {factor!r}, not a float in [0, 1]")
                break
        if [part.factor(p, warmup) for p in reversed(places)][::-1] != factors:
            found.append(f"factor gives other values when it is asked again (warmup {warmup:g})")
        if not any(factors):
            found.append(f"the rate is 0 throughout (warmup {warmup:g})")
    return found


def _transform_findings(part: api.Transform) -> list[str]:
    found = []
    for size in (12, 32):
        n = 8
        draws = part.draw(generator(0, "conformance", 0), n, size)
        if not isinstance(draws, np.ndarray) or draws.dtype != np.int64 or draws.ndim != 2 or len(draws) != n:
            return [f"draw returns no int64 array (n, k) for n = {n}"]
        if not np.array_equal(draws, part.draw(generator(0, "conformance", 0), n, size)):
            found.append("draw gives other numbers for an equal generator")
        if part.draw(generator(0, "conformance", 1), n + 1, size).shape[1:] != draws.shape[1:]:
            found.append("draw gives another number of columns in another epoch")
        pixels = generator(0, "pixels").integers(0, 256, size=(n, size, size, 3), dtype=np.uint8)
        images, rows = torch.from_numpy(pixels.copy()), torch.from_numpy(draws)
        out = part.apply(images, rows, size)
        if out.dtype != torch.uint8 or out.shape != (n, size, size, 3):
            return [
                *found,
                f"apply returns {tuple(out.shape)} of {out.dtype}, not (N, {size}, {size}, 3) of torch.uint8",
            ]
        if not np.array_equal(images.numpy(), pixels):
            found.append("apply changes the given images")
            images = torch.from_numpy(pixels.copy())
        if not torch.equal(out, part.apply(images, rows, size)):
            found.append("apply gives another result the second time: it draws numbers of its own")
        order = torch.arange(n - 1, -1, -1)
        alone = torch.cat([part.apply(images[i : i + 1].clone(), rows[i : i + 1], size) for i in range(n)])
        turned = part.apply(images[order], rows[order], size)[order]
        if not (torch.equal(out, alone) and torch.equal(out, turned)):
            found.append("an image's result depends on the other images of its batch")
    return list(dict.fromkeys(found))
