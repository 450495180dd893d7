"""Measurements that are kept: stored ball by ball, resumed, compared over networks, and written as a table and curves."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from lcrbench.bench import stats
from lcrbench.bench.evaluate import Subject
from lcrbench.bench.lipschitz import intervals, search
from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.lipschitz.search import FOUND_BY, Found, Options, Start
from lcrbench.errors import UserError

ARRAYS = [f.name for f in dataclasses.fields(Found) if f.name != "ball"]


@dataclass(frozen=True)
class Measured:
    """A network's name, how hard was searched, and what was found."""

    name: str
    options: Options
    result: search.Modulus


def identity(oracle: Oracle, start: Start, options: Options) -> str:
    """Return a hash of what a ball's result depends on besides the ball: network, images and effort."""
    effort = dataclasses.asdict(options) | {"l2": None, "linf": None}
    digest = hashlib.sha256(json.dumps(effort, sort_keys=True).encode())
    digest.update(str(oracle.block).encode() + start.indices.tobytes() + oracle.images.tobytes())
    for name, tensor in sorted(oracle.subject.network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def measure(
    name: str, subject: Subject, options: Options, folder: Path, tell: Callable[[str], None] = lambda text: None
) -> Measured:
    """Measure a network; balls that `folder` holds already are read, and each new one is stored as soon as it is found.

    A ball's result depends on the smaller balls it starts from, so a stored one counts only if all before it are there.
    """
    oracle, start = search.begin(subject, options)
    place = folder / "search" / identity(oracle, start, options)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    wanted = options.balls()
    files, chain = [], ""
    for ball in wanted:
        chain = hashlib.sha256(f"{chain}{ball}".encode()).hexdigest()[:12]
        files.append(place / f"{ball.norm}-{ball.eps * 255:g}-{chain}.npz")
    known = []
    for ball, file in zip(wanted, files, strict=True):
        if (entry := _read(file, ball)) is None:
            break
        known.append(entry)
    found = []
    for k, (entry, file) in enumerate(zip(search.balls(oracle, start, options, known), files, strict=True)):
        if k >= len(known):
            _store(file, *entry)
        found.append(entry)
        f, how = entry[0], "read" if k < len(known) else "found"
        tell(
            f"{name}: {k + 1} of {len(wanted)}, {f.ball.norm} {f.ball.eps * 255:g}/255 {how}: "
            f"median gain >= {np.median(f.gain):.3g}, flips found {f.flipped.mean():.0%}"
        )
    return Measured(name, options, search.Modulus(start, tuple(f for f, _ in found), tuple(s for _, s in found)))


def _store(file: Path, found: Found, spread: tuple[float, ...]) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}.npz")
    np.savez(draft, spread=np.array(spread), **{name: getattr(found, name) for name in ARRAYS})
    draft.replace(file)


def _read(file: Path, ball: Ball) -> tuple[Found, tuple[float, ...]] | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            return Found(ball, **{name: stored[name] for name in ARRAYS}), tuple(map(float, stored["spread"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None  # missing or cut short: found again


def table(measured: Sequence[Measured]) -> pd.DataFrame:
    """Return one row a network, effort and ball: the scale-free figures first, then the gain, each with its interval."""
    rows = []
    for m in measured:
        start = m.result.start
        for f, spread in zip(m.result.found, m.result.spread, strict=True):
            n = len(f.omega)
            kappa = intervals.open_quantile(f.kappa, 0.5)
            flips = stats.proportion(int(f.flipped.sum()), n)
            gain = stats.quantile(f.gain, 0.5)
            rows.append(
                {
                    "network": m.name,
                    "search": m.options.effort,
                    "norm": f.ball.norm,
                    "radius_255": f.ball.eps * 255,
                    "images": n,
                    "bound": "lower",
                    "kappa_median": kappa.value if kappa else float("nan"),
                    "kappa_low": kappa.low if kappa else None,
                    "kappa_high": kappa.high if kappa else None,
                    "flipped": flips.value,
                    "flipped_low": flips.low,
                    "flipped_high": flips.high,
                    "relative_gain_median": gain.value / start.scale if start.scale else float("nan"),
                    "gain_median": gain.value,
                    "gain_low": gain.low,
                    "gain_high": gain.high,
                    "gain_max": float(f.gain.max()),
                    "omega_mean": float(f.omega.mean()),
                    "omega_mean_of_single_searches": " ".join(f"{s:.4g}" for s in spread),
                    "found_by_random": float((f.omega_by == FOUND_BY.index("random")).mean()),
                }
            )
    return pd.DataFrame(rows)


def verdicts(measured: Sequence[Measured]) -> list[str]:
    """Say for each pair of networks and ball which has the smaller median kappa, if the search can tell.

    The order must be the same by every effort that was searched, and the paired bootstrap interval over images of the
    difference must leave out 0; otherwise the two are not separated. It speaks about these trained networks alone.
    """
    by_name: dict[str, list[Measured]] = {}
    for m in measured:
        by_name.setdefault(m.name, []).append(m)
    lines = []
    for a, b in itertools.combinations(by_name, 2):
        hardest = {m.options.effort: m for m in by_name[b]}
        pairs = [(m, hardest[m.options.effort]) for m in by_name[a] if m.options.effort in hardest]
        for f in by_name[a][-1].result.found:
            gaps = []
            for first, second in pairs:
                both = [next((g for g in m.result.found if g.ball == f.ball), None) for m in (first, second)]
                same = np.array_equal(first.result.start.indices, second.result.start.indices)
                if both[0] is not None and both[1] is not None and same:
                    gaps.append(intervals.difference(np.minimum(both[0].kappa, 1e9), np.minimum(both[1].kappa, 1e9)))
            if not gaps:
                continue
            last = gaps[-1]
            where = f"{f.ball.norm} {f.ball.eps * 255:g}/255"
            if len({np.sign(g.value) for g in gaps}) > 1:
                why = "a quick and a longer search disagree on the order"
            elif last.low is None or last.high is None or last.low <= 0 <= last.high:
                why = "the interval of the difference holds 0"
            else:
                less, more = (a, b) if last.value < 0 else (b, a)
                lines.append(f"{where}: found kappa of {less} is below that of {more} by {abs(last.value):.3g}")
                continue
            lines.append(f"{where}: {a} and {b} are not separated ({why})")
    return lines


NOTE = (
    "All figures are lower bounds by search, in pixel space on logits, evaluation mode: kappa below 1 proves nothing. "
    "Networks are compared by kappa, which has no scale, and never by gains: the scale of logits is arbitrary, and one "
    "radius can order two networks either way. The exact Lipschitz constant of a network of signs is infinite."
)


def write(measured: Sequence[Measured], folder: Path) -> list[str]:
    """Write lipschitz.csv, lipschitz.md and the curves lipschitz.svg and .png; return lines to print."""
    rows = table(measured)
    rows.to_csv(folder / "lipschitz.csv", index=False)
    lines = []
    for network, part in rows.groupby("network", sort=False):
        hardest = part[part["search"] == part["search"].iloc[-1]]
        lines.append(f"{network}: {hardest['images'].iloc[0]} images, {hardest['search'].iloc[0]}")
        lines += [
            f"  {row['norm']:4} {row['radius_255']:>4g}/255  kappa >= {row['kappa_median']:<8.3g} "
            f"flipped >= {row['flipped']:<6.1%} gain >= {row['gain_median']:<8.3g} "
            f"relative >= {row['relative_gain_median']:<8.3g} found by random {row['found_by_random']:.0%}"
            for row in hardest.to_dict("records")
        ]
    lines += verdicts(measured)
    lines.append(NOTE)
    (folder / "lipschitz.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    _draw(rows, folder)
    return [*lines, str(folder / "lipschitz.md")]


def _draw(rows: pd.DataFrame, folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    norms = list(dict.fromkeys(rows["norm"]))
    figure, axes = plt.subplots(2, len(norms), figsize=(4.2 * len(norms), 6), squeeze=False, layout="constrained")
    for column, norm in enumerate(norms):
        for (network, _), part in rows[rows["norm"] == norm].groupby(["network", "search"], sort=False):
            longest = rows.loc[rows["network"] == network, "search"].iloc[-1]
            if part["search"].iloc[0] != longest:
                continue
            part = part.sort_values("radius_255")
            for axis, figure_name, title in ((0, "gain", "logits per pixel unit"), (1, "kappa", "margins")):
                ax = axes[axis, column]
                line = ax.plot(part["radius_255"], part[f"{figure_name}_median"], marker="o", label=str(network))[0]
                low, high = (part[f"{figure_name}_{end}"].astype(float) for end in ("low", "high"))
                ax.fill_between(part["radius_255"], low, high, color=line.get_color(), alpha=0.15)
                ax.set(
                    xscale="log", yscale="log" if axis == 0 else "linear", xlabel=f"{norm} radius, 1/255 pixel units"
                )
                ax.set_ylabel(f"median {figure_name}, lower bound ({title})")
        axes[1, column].axhline(1, color="grey", linewidth=0.8, linestyle="--")
    axes[0, 0].legend(fontsize="small")
    for ending in ("svg", "png"):
        figure.savefig(folder / f"lipschitz.{ending}", dpi=150, metadata={"Date": None} if ending == "svg" else None)
    plt.close(figure)
