"""Lipschitz figures with their ranks, and what describes each network."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal, localcontext

from lcrbench.bench.records.measurement import Detail, Scale, in_255
from lcrbench.bench.records.statistics import Finder, Function, Statistic
from lcrbench.bench.stats import Interval
from lcrbench.reports.comparison import CLEAN, Key, Row
from lcrbench.reports.context import Context
from lcrbench.reports.lipschitz import LAYERED, Figure, Lipschitz, searched
from lcrbench.reports.table import Cell, Column, Table, TableRow
from lcrbench.reports.words import norm_text, radius_text
from lcrbench.reports.words.lipschitz import (
    SCALE,
    WHY,
    blind_note,
    cell_text,
    effort_note,
    others,
    rank_note,
    rank_text,
    span_text,
    summary,
)

SECTION, ORDER = "lipschitz", 10
FORMATS = ("md", "csv")


def table(context: Context) -> Table | None:
    """Return the scale-free figures with their ranks, then what describes each network; one column a method."""
    return figures(context.lipschitz) if context.lipschitz else None


def figures(found: Lipschitz) -> Table | None:
    """Return the table of what was found; None if it would be empty."""
    rows: list[TableRow] = []

    def add(label: str, cells: Sequence[Cell], group: str = "") -> None:
        if any(c.value is not None or c.text for c in cells):
            rows.append(TableRow(label, tuple(cells), ranked=False, group=group))

    def estimates(key: Key, scale: float = 1.0) -> list[Cell]:
        return [cell_of(row.estimate(key), scale) for row in found.rows]

    add("clean accuracy, %", estimates(CLEAN, 100))
    for metric, info in found.ranked.items():
        for norm, radius in _balls(found, metric, distance=info.ranking is not None and info.ranking.distance):
            figure = Figure.of(metric, info, norm, in_255(radius))
            assert figure is not None, "a ranked metric has figures"
            key = Key(metric, Statistic.Q50, norm=norm, radius=None if figure.distance else radius)
            where = norm_text(norm) if figure.distance else f"{norm_text(norm)}, {radius_text(radius)}"
            # What is open and finite is cut off at the largest radius: beyond it lies more than was searched.
            beyond, scale = (f"> {radius * 255:g}", 255.0) if figure.distance else ("∞", 1.0)
            unit = ", 1/255 pixel units" * figure.distance
            add(f"{figure.title}, median, {where}{unit}", [_opencell_of(row, key, beyond, scale) for row in found.rows])
            alike = [_decided(found, row, figure, beyond, scale) for row in found.rows]
            add(f"{figure.title}, median, {where}{unit}, searched without gradients", alike)
            add(f"rank by {figure.title}", [Cell(text=rank_text(found, row, figure)) for row in found.rows])
            for statistic, kind in info.other.items():
                if kind.title and kind.scale is Scale.SHARE:
                    share = key._replace(statistic=statistic)
                    add(f"{kind.title}, % of images, {where}", estimates(share, 100))
    for key in found.keys("lipschitz_slope"):
        add(f"slope of log omega on log radius, {norm_text(key.norm)}, {span_text(key)}", estimates(key))
    for norm, radius in _balls(found, "lipschitz_kappa"):
        where = f"{norm_text(norm)}, {radius_text(radius)}"
        by_chance = Detail(form=Finder.RANDOM)
        key = Key("lipschitz_modulus", Statistic.FOUND, norm=norm, radius=radius, detail=by_chance)
        add(f"largest change found by random candidates, % of images, {where}", estimates(key, 100))
        kappa = key._replace(metric="lipschitz_kappa")
        add(f"kappa found by random candidates, % of images, {where}", estimates(kappa, 100))
    add("Lipschitz constant of the deployed network", [constant(found, row) for row in found.rows])
    add(
        "product bound of the surrogate (hardtanh for sign), logits per pixel unit",
        [_doubted(row, cell) for row, cell in zip(found.rows, estimates(_product(Function.SURROGATE)), strict=True)],
    )
    add(
        "largest possible change of the logits of the deployed network, upper bound",
        estimates(Key("lipschitz_range", "all images", norm="l2")),
    )
    add("surrogate predicts the same class, % of images", estimates(Key("lipschitz_agreement"), 100))
    for metric, info in found.infos.items():
        if info.ranking is None and metric not in ELSEWHERE:
            for key in found.keys(metric):
                add(cell_text(key, info), estimates(key, PRINTED[info.kind(key.statistic).scale]))
    if not rows:
        return None
    notes = (
        effort_note(found),
        *[note for note in (blind_note(found), others(found), rank_note(found)) if note],
        "The larger the share of images whose largest change random candidates found, the less the gradients are worth "
        "that the search follows.",
        WHY,
        SCALE,
        "Slope: 1 where a network is Lipschitz, 0 where it jumps. A network of signs jumps, so its Lipschitz constant "
        "is infinite; the product bound is about another function, the surrogate with hardtanh in place of each sign, "
        "and says little where the surrogate does not predict what the network does: it stands in brackets where "
        f"they agree on less than {AGREES:.0%} of the images. The largest possible change of the logits, in ℓ2, holds "
        "for the deployed network at every image, norm and radius. Flip radii: images without a "
        "found flip count as larger than every searched radius. Where the median over images of some seeds is larger "
        "than that, the median over the seeds stands in place of their mean, with no interval.",
        "Bounds: a Lipschitz constant is the largest upper bound of the seeds, rounded up; a product bound is the mean "
        "over the seeds of each network's own.",
        *_left_out(found),
        *found.notes,
    )
    columns = tuple(
        Column(r.label + " †" * bool(r.aside), digits=None, note=r.aside, name=r.name + " †" * bool(r.aside))
        for r in found.rows
    )
    return Table(
        "lipschitz",
        f"Lipschitz figures of the deployed networks, in pixel units. {summary(found)}".strip(),
        columns,
        tuple(rows),
        notes,
        "Figure",
        "row",
        tuple(r.label for r in found.rows),
    )


def _left_out(found: Lipschitz) -> list[str]:
    """Say which figures have no number, of which methods, and why: a line a reason."""
    reasons: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for row in found.rows:
        for run in row.runs:
            for metric, reason in run.left_out.items():
                if run.lipschitz(metric):
                    metrics, labels = reasons.setdefault(reason, ({}, {}))
                    metrics[metric], labels[row.label] = None, None
    return [
        f"Left out or incomplete: {', '.join(metrics)} of {', '.join(labels)}: {reason}."
        for reason, (metrics, labels) in reasons.items()
    ]


ELSEWHERE = (
    *("lipschitz_slope", "lipschitz_modulus", "lipschitz_product", "lipschitz_range", "lipschitz_agreement"),
    *LAYERED,
    *("lipschitz_probes", "lipschitz_convergence"),
)
"""Metrics that have lines, tables or figures of their own; every other one that ranks nothing has a line a cell."""

PRINTED = {Scale.REAL: 1.0, Scale.POSITIVE: 1.0, Scale.SHARE: 100.0, Scale.DISTANCE: 255.0}
"""What a number is multiplied by to be printed."""


def _balls(found: Lipschitz, metric: str, *, distance: bool = False) -> list[tuple[str, float]]:
    """Return norms and radii of a metric, l2 first, from the smallest radius; of a distance each norm's largest one.

    A distance has no radius of its own: it is searched up to that of the other figures of the search.
    """
    metrics = searched(found.infos, found.infos) if distance else [metric]
    balls = {(k.norm, k.radius) for name in metrics for k in found.keys(name) if k.radius is not None}
    ordered = sorted(balls, key=lambda b: (b[0] != "l2", b[1]))
    return list(dict(ordered).items()) if distance else ordered


def _product(form: Function) -> Key:
    return Key("lipschitz_product", Statistic.UPPER, norm="l2", detail=Detail(form=form))


def cell_of(i: Interval | None, scale: float = 1.0) -> Cell:
    """Return a number times `scale` with its interval, which ends at 0 and 100 where it is a share in per cent."""
    if i is None:
        return Cell()
    ends = [None if v is None else v * scale for v in (i.low, i.high)]
    if scale == 100:  # a share of images: an interval over few seeds may reach beyond what there is
        ends = [None if v is None else min(100.0, max(0.0, v)) for v in ends]
    return Cell(i.value * scale, ends[0], ends[1], i.n, i.how)


AGREES = 0.9
"""Share of images on which a surrogate must predict what the network does, for its figures to say something about it."""


def _doubted(row: Row, cell: Cell) -> Cell:
    """Return a figure of the surrogate, in words where the surrogate is another classifier."""
    same = row.estimate(Key("lipschitz_agreement"))
    if cell.value is None or same is None or same.value >= AGREES:
        return cell
    return Cell(text=f"({cell.value:.3g}: agrees on {same.value:.0%})")


def _opencell_of(row: Row, key: Key, beyond: str, scale: float) -> Cell:
    """Return the cell of an open quantile; `beyond` where it lies among the images that have no finite value."""
    cell, measured = cell_of(row.estimate(key), scale), row.measured(key)
    if cell.value is not None or not measured:
        return cell
    censored = measured - len(row.per_seed(key))
    return Cell(text=beyond + (f" ({censored} of {measured} seeds)" if measured > 1 else ""))


def _decided(found: Lipschitz, row: Row, figure: Figure, beyond: str, scale: float) -> Cell:
    """Return the cell of a median that decides orders with a network without gradients, where there is one."""
    median = found.decided(row, figure)
    if median is None:
        return Cell()
    return Cell(median * scale) if median < figure.cut else Cell(text=beyond)


def constant(found: Lipschitz, row: Row) -> Cell:
    """Return what is known of the Lipschitz constant of the deployed networks: infinite with signs, else bounded.

    The bound holds for every seed: the largest of theirs, rounded up.
    """
    if row.signs:
        return Cell(text="∞ (signs jump)")
    bounds = row.per_seed(_product(Function.NETWORK))
    known = bounds and len(bounds) == len(found.networks[row.index])
    return Cell(text=f"≤ {_upward(max(bounds))}") if known else Cell()


def _upward(value: float) -> str:
    """Return a number in three significant digits, never less than it.

    >>> _upward(1230.5), _upward(0.5)
    ('1.24e+03', '0.5')
    """
    with localcontext() as context:
        context.prec, context.rounding = 3, ROUND_CEILING
        return f"{float(+Decimal(value)):.3g}"
