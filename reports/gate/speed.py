"""The gate for speed: has a benchmark of pytest-benchmark become slower than a reference, as a ratio within one run?

Seconds differ between machines and with what else they do; a ratio of two times of one run hardly does. So a reference holds
for each benchmark

    ratio = its time / that of a base in the same run,

from `benchmark.extra_info["ratio"]` where the benchmark measured one itself (interleaved pairs are best), else its least
time over that of the benchmark that `base` names. A candidate is a regression where ratio > (1 + margin) x the reference's.

pytest-benchmark's own `--benchmark-compare-fail` lets a renamed, removed or disabled benchmark pass in silence. Here both
sides must have the same set of names, and at least one; otherwise they are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.files import replace_file
from lcrbench.errors import UserError, unknown
from lcrbench.reports.gate.bounds import Outcome
from lcrbench.reports.gate.reference import load_as
from lcrbench.untrusted import json_of, small_file

VERSION = 1


class Reason(Frozen):
    """One change of a reference: when the benchmarks ran, and why it was written."""

    reason: str
    created: str


class SpeedReference(Frozen):
    """Each benchmark's ratio, what it is a ratio to, and the history of reasons."""

    version: int = VERSION
    history: tuple[Reason, ...]
    base: str = Field("", description="the benchmark that ratios are to, where a benchmark measured none itself")
    ratios: dict[str, float]


@dataclass(frozen=True)
class Speed:
    """The verdict on one benchmark."""

    name: str
    outcome: Outcome
    reason: str


def ratios(path: Path, base: str = "") -> dict[str, float]:
    """Return the ratio of every benchmark in a file of `--benchmark-json`.

    Raises `UserError` if the file is none, has no benchmark, or has one without a ratio and `base` names none of its own.
    """
    run = _read(path)
    found = {str(b["fullname"]): b for b in run["benchmarks"]}
    if not found:
        raise UserError(f"{path} has no benchmark: were they skipped or disabled?")
    least: float | None = None
    if base:
        # A full name, or the part after the last colon if that is the name of one benchmark alone.
        named = [name for name in found if base in (name, name.rpartition("::")[2])]
        if len(named) != 1:
            raise unknown(f"benchmark in {path}", base, list(found))
        least = float(found[named[0]]["stats"]["min"])
    result = {}
    for name, b in found.items():
        own = b.get("extra_info", {}).get("ratio")
        if own is None and least is None:
            raise UserError(
                f"benchmark {name} in {path} has no ratio: name a benchmark of the same run with --base, or let it set "
                'benchmark.extra_info["ratio"]'
            )
        value = float(own) if own is not None else float(b["stats"]["min"]) / (least or math.nan)
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"benchmark {name} in {path} has the ratio {value:g}")
        result[name] = value
    return result


def _read(path: Path) -> dict[str, Any]:
    try:
        run = json_of(small_file(path, "benchmarks"), str(path))
        for b in run["benchmarks"]:
            _ = b["fullname"], float(b["stats"]["min"])
        return dict(run)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise UserError(f"{error}; `pytest --benchmark-json {path}` writes it") from error
        raise UserError(f"{path} is no file of `pytest --benchmark-json` ({type(error).__name__})") from error


def load(path: Path) -> SpeedReference:
    """Read a reference; raises `UserError` that names the file if it is missing, damaged or of a newer version."""
    return load_as(path, SpeedReference, VERSION, "reference of speed", "lcrbench reference speed")


def update(path: Path, run: Path, reason: str, *, base: str = "") -> SpeedReference:
    """Write a reference from a run of benchmarks, keeping the history of reasons; the only writer there is."""
    if not reason.strip():
        raise UserError("a new reference needs its reason: say what changed, and why that is right")
    found = ratios(run, base)
    history = load(path).history if path.exists() else ()
    created = str(_read(run).get("datetime", ""))[:19]
    new = SpeedReference(
        history=(*history, Reason(reason=reason.strip(), created=created)),
        base=base,
        ratios={name: float(f"{value:.4g}") for name, value in sorted(found.items())},
    )
    replace_file(path, (new.model_dump_json(indent=1) + "\n").encode())
    return new


def check(run: Path, against: SpeedReference, *, margin: float = 0.25) -> list[Speed]:
    """Compare a run of benchmarks with a reference; every benchmark of either side has its verdict.

    Raises `UserError` for a margin that is not positive, and as `ratios` does.
    """
    if not margin > 0:
        raise UserError(f"the margin must be above 0 (got {margin:g})")
    found = ratios(run, against.base)
    verdicts = []
    for name in sorted({*found, *against.ratios}):
        if name not in found:
            verdicts.append(Speed(name, "not comparable", "in the reference and not in this run: renamed or removed?"))
            continue
        if name not in against.ratios:
            verdicts.append(Speed(name, "not comparable", "in this run and not in the reference: write a new one"))
            continue
        now, held = found[name], against.ratios[name]
        change = now / held - 1
        said = f"ratio {now:.3g}, {held:.3g} in the reference ({change:+.0%})"
        if change > margin:
            verdicts.append(Speed(name, "regression", f"{said}: slower by more than {margin:.0%}"))
        else:
            better = ": write a new reference, with its reason" if change < -margin else ""
            verdicts.append(Speed(name, "pass", said + better))
    return verdicts


def text(verdicts: Sequence[Speed]) -> str:
    """Return the verdicts for a terminal, a line each."""
    return "".join(f"{v.outcome.upper():14} {v.name}: {v.reason}\n" for v in verdicts)
