"""Lipschitz figures with their ranks, and what describes each network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, Decimal, localcontext

from lcrbench.bench.records.measurement import in_255
from lcrbench.bench.stats import Interval
from lcrbench.reports.comparison import CLEAN, Key, Row, is_lipschitz
from lcrbench.reports.context import Context
from lcrbench.reports.lipschitz import Figure, Lipschitz, Span
from lcrbench.reports.table import Cell, Column, Table, TableRow
from lcrbench.reports.words import norm_text, radius_text
from lcrbench.reports.words.lipschitz import SCALE, WHY, effort_note, others, summary

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

    def opened(key: Key, beyond: str, scale: float = 1.0) -> list[Cell]:
        return [_opencell_of(row, key, beyond, scale) for row in found.rows]

    balls = sorted(
        {(k.norm, k.radius or 0.0) for k in found.keys("lipschitz_kappa")}, key=lambda b: (b[0] != "l2", b[1])
    )
    add("clean accuracy, %", estimates(CLEAN, 100))
    for norm, radius in balls:
        where = f"{norm_text(norm)}, {radius_text(radius)}"
        figure = Figure("kappa", norm, in_255(radius))
        add(f"kappa, median, {where}", opened(Key("lipschitz_kappa", "q50", norm=norm, radius=radius), "∞"))
        add("rank by kappa", [Cell(text=found.rank(row, figure)) for row in found.rows])
        add(
            f"flip found, % of images, {where}",
            estimates(Key("lipschitz_kappa", "flipped", norm=norm, radius=radius), 100),
        )
    for norm, radius in balls:
        where = f"{norm_text(norm)}, {radius_text(radius)}"
        figure = Figure("relative_gain", norm, in_255(radius))
        add(
            f"relative gain, median, {where}",
            estimates(Key("lipschitz_relative_gain", "q50", norm=norm, radius=radius)),
        )
        add("rank by relative gain", [Cell(text=found.rank(row, figure)) for row in found.rows])
    for norm in dict.fromkeys(b[0] for b in balls):
        largest = max(r for n, r in balls if n == norm) * 255
        key = Key("lipschitz_flip_radius", "q50", norm=norm)
        cells = opened(key, f"> {largest:g}", 255)
        if found.keys("lipschitz_flip_radius"):
            add(f"smallest radius with a found flip, median, {norm_text(norm)}, 1/255 pixel units", cells)
            figure = Figure("flip_radius", norm, in_255(largest / 255))
            add("rank by flip radius", [Cell(text=found.rank(row, figure)) for row in found.rows])
    for key in found.keys("lipschitz_slope"):
        low, high = Span.of(key)
        add(f"slope of log omega on log radius, {norm_text(key.norm)}, {low}/255 to {high}/255", estimates(key))
    for norm, radius in balls:
        key = Key("lipschitz_modulus", "found by random", norm=norm, radius=radius)
        add(
            f"largest change found by random candidates, % of images, {norm_text(norm)}, {radius_text(radius)}",
            estimates(key, 100),
        )
        add(
            f"kappa found by random candidates, % of images, {norm_text(norm)}, {radius_text(radius)}",
            estimates(key._replace(metric="lipschitz_kappa"), 100),
        )
    add("Lipschitz constant of the deployed network", [constant(found, row) for row in found.rows])
    surrogate = Key("lipschitz_product", "surrogate", norm="l2")
    add(
        "product bound of the surrogate (hardtanh for sign), logits per pixel unit",
        [_doubted(row, cell) for row, cell in zip(found.rows, estimates(surrogate), strict=True)],
    )
    add(
        "largest possible change of the logits of the deployed network, upper bound",
        estimates(Key("lipschitz_range", "all images", norm="l2")),
    )
    add("surrogate predicts the same class, % of images", estimates(Key("lipschitz_agreement"), 100))
    for metric in BESIDE:
        for key in found.keys(metric):
            add(*_beside(key, estimates))
    if not rows:
        return None
    notes = (
        effort_note(found),
        *[note for note in [others(found)] if note],
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
    columns = tuple(Column(r.label + " †" * bool(r.aside), digits=None, note=r.aside) for r in found.rows)
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
                if is_lipschitz(metric):
                    metrics, labels = reasons.setdefault(reason, ({}, {}))
                    metrics[metric], labels[row.label] = None, None
    return [
        f"Left out or incomplete: {', '.join(metrics)} of {', '.join(labels)}: {reason}."
        for reason, (metrics, labels) in reasons.items()
    ]


BESIDE = (
    "lipschitz_gradients",
    "lipschitz_clever",
    "lipschitz_smoothing",
    "lipschitz_first_layer",
    "lipschitz_first_flips",
)
"""Metrics beside the search: shown where they were measured, and never ranked."""


def _beside(key: Key, estimates: Callable[[Key, float], list[Cell]]) -> tuple[str, list[Cell]]:
    """Return the line of such a metric: what it is, in which unit, and what it bounds."""
    *kind, last = key.statistic.split(" ")
    over = {"q5": "5 % quantile", "q50": "median", "q95": "95 % quantile"}.get(last, last)
    ball = ", ".join(t for t in (norm_text(key.norm), radius_text(key.radius)) if t)
    label, unit, scale, means = {
        "lipschitz_gradients": (
            f"gradient norm by the {' '.join(kind)} derivative, {over}",
            "logits per pixel unit",
            1.0,
            "estimate, bounds nothing",
        ),
        "lipschitz_clever": (
            f"CLEVER{' without the fit' * bool(kind)}, {over}",
            "pixel units",
            1.0,
            "estimate, bounds nothing",
        ),
        "lipschitz_smoothing": (
            f"certified radius, {over}",
            "1/255 pixel units",
            255.0,
            "certified for the smoothed classifier, not for the network",
        ),
        "lipschitz_first_layer": (
            f"distance to the first layer's nearest flip, {over}",
            "1/255 pixel units",
            255.0,
            "exact without the walls of the box, within it a lower bound",
        ),
        "lipschitz_first_flips": (
            "first layer's signs that can each flip",
            "% of units",
            100.0,
            "exact without the walls of the box, within it an upper bound",
        ),
    }[key.metric]
    if share := {"good": "good fits", "capped": "scores capped at the radius", "abstained": "abstained"}.get(last):
        label, unit, scale = f"{label.split(',')[0]}: {share}", "% of images", 100.0
    return f"{label}, {ball}, {unit} ({means})", estimates(key, scale)


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


def constant(found: Lipschitz, row: Row) -> Cell:
    """Return what is known of the Lipschitz constant of the deployed networks: infinite with signs, else bounded.

    The bound holds for every seed: the largest of theirs, rounded up.
    """
    if _signs(row):
        return Cell(text="∞ (signs jump)")
    bounds = row.per_seed(Key("lipschitz_product", "network", norm="l2"))
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


def _signs(row: Row) -> bool:
    """Tell whether a network has binary layers: by the record, or by what was measured of it."""
    only = {"lipschitz_agreement", "lipschitz_proxy", "lipschitz_probes", "lipschitz_layer_gain"}
    return row.binary or any(k.metric in only or k.statistic == "surrogate" for k in row.values)
