"""The columns of a paper's tables by name, and the styles that choose among them.

A column is made from a setting, or is None where nothing of the kind was measured, and is then left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from lcrbench.bench.records.measurement import MetricInfo, Scale
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.statistics import Statistic
from lcrbench.errors import UserError, unknown
from lcrbench.reports import mce
from lcrbench.reports.comparison import CLEAN, COMMON, COMMON_ERROR, GROUPS, Key, Row, Setting
from lcrbench.reports.context import Context
from lcrbench.reports.cost import cost, memory, operations, passes, training_cpu
from lcrbench.reports.lipschitz import title_of
from lcrbench.reports.paper.latex import Intervals, latex
from lcrbench.reports.table import Cell, Column, Table, TableRow, marked
from lcrbench.reports.tables.main import drop
from lcrbench.reports.words import listed, norm_text, radius_text
from lcrbench.reports.words.names import corruption_name
from lcrbench.reports.words.tables import failures

Made = tuple[Column, Callable[[Row], Cell]]
SHORT = {
    "gaussian_noise": "Gauss.", "shot_noise": "Shot", "impulse_noise": "Impulse", "defocus_blur": "Defocus",
    "glass_blur": "Glass", "motion_blur": "Motion", "zoom_blur": "Zoom", "snow": "Snow", "frost": "Frost", "fog": "Fog",
    "brightness": "Bright", "contrast": "Contrast", "elastic_transform": "Elastic", "pixelate": "Pixel",
    "jpeg_compression": "JPEG",
}  # fmt: skip
"""As Hendrycks and Dietterich's table has them."""


def _cell(row: Row, key: Key) -> Cell:
    """Return a number with its interval and, from two seeds on, the standard deviation over them."""
    return _spread(Cell.of(row.estimate(key)), row.per_seed(key))


def _spread(cell: Cell, values: Sequence[float]) -> Cell:
    return replace(cell, spread=float(np.std(values, ddof=1))) if len(values) > 1 and cell.value is not None else cell


def _wa(context: Context) -> Made | None:
    return Column("W/A"), lambda row: Cell(text=row.bits or "–")


def _clean(context: Context) -> Made | None:
    return Column("Clean", "%", better=True, digits=context.setting.digits, scale=100), lambda row: _cell(row, CLEAN)


def _error(context: Context, name: str, title: str, head: str = "", turn: bool = False) -> Made | None:
    key = Key("corruption_error", corruption=name)
    if not any(row.estimate(key) for row in context.setting.rows):
        return None
    digits = 1 if turn else context.setting.digits
    unit = "" if turn else "%"
    return Column(title, unit, head, False, digits, 100, turn=turn), lambda row: _cell(row, key)


def _mce(context: Context, relative: bool) -> Made | None:
    if not mce.defined(context.setting):
        return None
    title = "Relative mCE" if relative else "mCE"
    return Column(title, "%", better=False, digits=1), lambda row: Cell.of(mce.of_row(row)[int(relative)])


def _endpoint(context: Context) -> Made | None:
    """Return mCE where it is defined, and the mean error elsewhere."""
    return _mce(context, relative=False) or _error(context, "common", "Mean error")


def _drop(context: Context) -> Made | None:
    def cell(row: Row) -> Cell:
        clean, error = row.per_seed(CLEAN), row.per_seed(COMMON_ERROR)
        both = [c - (1 - e) for c, e in zip(clean, error, strict=False)] if len(clean) == len(error) else []
        return _spread(drop(row, context.outcomes), both)

    return Column("Drop", "points", digits=context.setting.digits, scale=100), cell


def _of_record(
    title: str, unit: str, digits: int, scale: float, of: Callable[[Record], float | None]
) -> Callable[[Context], Made | None]:
    def made(context: Context) -> Made | None:
        return Column(title, unit, digits=digits, scale=scale), lambda row: cost(row, of)

    return made


def _lipschitz(context: Context, metric: str, statistic: str) -> Made | None:
    """Return a ranked metric at its middle radius, in l2 if it was searched; of a share of images in percent."""
    found = context.lipschitz
    info = found.ranked.get(metric) if found else None
    if found is None or info is None or info.ranking is None:
        return None
    keys = [k for k in found.keys(metric) if (k.statistic, k.detail) == (statistic, None)]
    keys = [k for k in keys if k.norm == "l2"] or keys
    if not keys:
        return None
    key = sorted(keys, key=lambda k: k.radius or 0.0)[len(keys) // 2]
    rows = {row.index: row for row in found.every}
    return _ball_column(info, key, metric), lambda row: _cell(rows[row.index], key) if row.index in rows else Cell()


def _ball_column(info: MetricInfo, key: Key, metric: str) -> Column:
    kind = info.kind(key.statistic)
    share, distance = kind.scale is Scale.SHARE, bool(info.ranking and info.ranking.distance)
    where = " ".join(t for t in (norm_text(key.norm), radius_text(None if distance else key.radius)) if t)
    title = kind.title if share and kind.title else f"median {title_of(metric, info)}"
    unit = "%" if share else "1/255" if distance else ""
    scale = 100.0 if share else 255.0 if distance else 1.0
    better = None if info.higher_is_better is None else info.higher_is_better
    return Column(f"{title}, {where}", unit, better=better, digits=1 if share else None, scale=scale)


def _seeds(context: Context) -> Made | None:
    return Column("Seeds", digits=0), lambda row: Cell(float(len(row.runs)))


COLUMNS: dict[str, Callable[[Context], Made | None]] = {
    "wa": _wa,
    "clean": _clean,
    "endpoint": _endpoint,
    "error": partial(_error, name="common", title="Mean error"),
    "mce": partial(_mce, relative=False),
    "relative_mce": partial(_mce, relative=True),
    **{g: partial(_error, name=g, title=g.capitalize(), head="Error") for g in GROUPS if g != "extra"},
    "extra": partial(_error, name="extra", title="Extra"),
    "drop": _drop,
    "kappa": partial(_lipschitz, metric="lipschitz_kappa", statistic=Statistic.Q50),
    "flips": partial(_lipschitz, metric="lipschitz_kappa", statistic="flipped"),
    "gain": partial(_lipschitz, metric="lipschitz_relative_gain", statistic=Statistic.Q50),
    "flip_radius": partial(_lipschitz, metric="lipschitz_flip_radius", statistic=Statistic.Q50),
    "params": _of_record("Parameters", "thousands", 1, 1e-3, lambda r: r.model.parameters if r.model else None),
    "memory": _of_record("Memory", "kB", 1, 1e-3, memory),
    "ops": _of_record("OPs", "millions", 2, 1e-6, operations),
    "images": _of_record("Images", "thousands", 1, 1e-3, lambda r: r.ledger.images if r.ledger else None),
    "passes": _of_record("Passes", "thousands", 1, 1e-3, passes),
    "cpu": _of_record("CPU", "s", 0, 1.0, training_cpu),
    "seeds": _seeds,
    **{c: partial(_error, name=c, title=SHORT[c], head=g.capitalize(), turn=True)
       for g, names in GROUPS.items() for c in names if c in SHORT},
}  # fmt: skip
STYLES: dict[str, tuple[str, ...]] = {
    "main": ("wa", "clean", "endpoint", "noise", "blur", "weather", "digital"),
    "corruptions": ("clean", "endpoint", *COMMON),
    "lipschitz": ("wa", "clean", "kappa", "flips", "gain", "flip_radius"),
    "cost": ("wa", "params", "memory", "ops", "images", "passes", "cpu"),
}

NEEDS_LIPSCHITZ = {"kappa", "flips", "gain", "flip_radius"}


def paper_table(
    context: Context, style: str, columns: Sequence[str] = (), intervals: Intervals = "pm", *, marks: bool = True
) -> Table | None:
    """Return a style's table of a setting, or one of these columns; None where nothing of it was measured.

    Columns are named as in `COLUMNS`, a corruption by its name. Raises `UserError` for another name. Without `marks` the
    caption says nothing of the best values, because plain text has no bold letters.
    """
    if style not in STYLES:
        raise unknown("style", style, STYLES)
    setting = context.setting
    made = []
    for name in columns or STYLES[style]:
        if name not in COLUMNS and name not in setting.corruptions:
            raise unknown("column", name, [*COLUMNS, *setting.corruptions])
        one = COLUMNS.get(name) or partial(_error, name=name, title=corruption_name(name), turn=True)
        if found := one(context):
            column, cell = found
            # Of fifteen side by side the field prints whole percents.
            made.append((replace(column, digits=0), cell) if column.turn and not columns else found)
        elif columns:
            raise UserError(f"the column '{name}' has no number here: nothing of it was measured in {setting.title}")
    shown = [row for row in setting.rows if row.runs]
    if not shown or not any(c.value is not None for _, cell in made for c in map(cell, shown)):
        return None
    rows = [
        TableRow(
            row.label, tuple(cell(row) for _, cell in made), row in setting.pool, row.aside, failures(row), row=row
        )
        for row in shown
    ]
    caption = _caption(setting, shown, style, intervals)
    if marks and any(column.better is not None for column, _ in made):
        who = "binary networks" if setting.pool and all(r.binary for r in setting.pool) else "methods"
        caption += f" Best printed value of the {who} in bold, second underlined."
    return marked(Table(style, caption, tuple(column for column, _ in made), tuple(rows)))


WHAT = {
    "main": "Clean accuracy and corruption error (%)",
    "corruptions": "Error (%) by corruption",
    "lipschitz": "Lipschitz figures of the deployed networks, lower bounds by search,",
    "cost": "Size and cost",
}


def _caption(setting: Setting, rows: Sequence[Row], style: str, intervals: Intervals) -> str:
    n = sorted({len(row.runs) for row in rows})
    seeds = f"{n[0]}" if len(n) == 1 else f"{n[0]} to {n[-1]}"
    spread = {
        "pm": f"mean ± standard deviation over n = {seeds} training seeds",
        "ci": f"mean and 95 % interval, n = {seeds} training seeds",
        "none": f"mean over n = {seeds} training seeds",
    }[intervals]
    if n == [1]:
        images = f"{setting.any.spec.data.test:,} test images"
        spread = f"one training seed, {'95 % intervals over' if intervals == 'ci' else 'tested on'} {images}"
    said = [f"{WHAT[style]} on {setting.title}: {spread}."]
    if style in ("main", "corruptions"):
        common = [c for c in setting.corruptions if c in COMMON]
        some = f"{len(common)} of " if len(common) < len(COMMON) else ""
        over = f"{some}the {len(COMMON)} common corruptions"
        said.append(f"Errors are means over severities {listed(setting.severities)}; the mean error is over {over}.")
    if style == "cost":
        said.append("OPs of one image, a binary one counted as 1/64; CPU seconds of one training.")
    return " ".join(said)


def paper_tables(context: Context) -> dict[str, str]:
    """Return every style's table of a setting as LaTeX, as far as there is something in it."""
    made = {style: paper_table(context, style) for style in STYLES}
    return {
        style: latex(table, intervals="none" if style == "corruptions" else "pm", label=style)
        for style, table in made.items()
        if table is not None
    }
