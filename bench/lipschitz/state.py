"""The arrays from which a search's next round follows: what `stored` keeps when a round ends."""

from __future__ import annotations

import numpy as np
import torch

from lcrbench.bench.lipschitz.descent import Chain
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import Mark
from lcrbench.bench.lipschitz.tally import FIGURES


def state_of(probe: Probe, pool: list[Chain], curve: list[Mark]) -> dict[str, np.ndarray]:
    """Return the arrays of a norm from which the next round follows."""
    tally = probe.tally
    state = {"passes": probe.passes.copy(), "radius": tally.radius.copy(), "flips": tally.flips.numpy().copy()}
    state["not finite"] = np.array(tally.not_finite)
    for figure in FIGURES:
        for k, best in enumerate(tally.best(figure)):
            state |= {f"{figure} {k}": best.value.copy(), f"{figure} {k} points": best.points.numpy().copy()}
            state[f"{figure} {k} by"] = best.by.copy()
        best = tally.beyond[figure]
        state |= {f"{figure} beyond": best.value.copy(), f"{figure} beyond points": best.points.numpy().copy()}
    for k, chain in enumerate(pool):
        state |= {f"chain {k}": chain.radius.copy(), f"chain {k} points": chain.points.numpy().copy()}
    state["curve"] = np.array([(m.passes, *m.flips, *m.kappa) for m in curve])
    return {f"{tally.norm} {name}": array for name, array in state.items()}


def restored(probe: Probe, state: dict[str, np.ndarray]) -> tuple[list[Chain], list[Mark]]:
    """Set a norm's tally and passes to a state, and return its chains and curve."""
    tally, n = probe.tally, len(probe.tally.balls)

    def of(name: str) -> np.ndarray:
        return state[f"{tally.norm} {name}"].copy()

    probe.passes, tally.radius, tally.flips = of("passes"), of("radius"), torch.from_numpy(of("flips"))
    tally.not_finite = int(of("not finite"))
    for figure in FIGURES:
        for k, best in enumerate(tally.best(figure)):
            best.value, best.by = of(f"{figure} {k}"), of(f"{figure} {k} by")
            best.points = torch.from_numpy(of(f"{figure} {k} points"))
        best = tally.beyond[figure]
        best.value, best.points = of(f"{figure} beyond"), torch.from_numpy(of(f"{figure} beyond points"))
    pool: list[Chain] = []
    while f"{tally.norm} chain {len(pool)}" in state:
        name = f"chain {len(pool)}"
        pool.append(Chain(torch.from_numpy(of(f"{name} points")), of(name)))
    rows = [tuple(map(float, row)) for row in of("curve")]
    return pool, [Mark(int(r[0]), r[1 : 1 + n], r[1 + n :]) for r in rows]
