"""The one sentence that a report begins with: the primary comparison with its interval, or what there is without one."""

from __future__ import annotations

from collections.abc import Sequence

from lcrbench.reports.comparison import CLEAN, COMMON_ERROR, Key, Row, Setting
from lcrbench.reports.context import Context
from lcrbench.reports.significance import Difference
from lcrbench.reports.table import Cell, Column, bounds, number
from lcrbench.reports.words import plural
from lcrbench.reports.words.findings import FAMILIES, best_of
from lcrbench.reports.words.names import corruption_name

LEVEL = 0.05


def claim(context: Context) -> str:
    """Return the sentence: what the most accurate method's regularizer changes, or what it is to the reference."""
    setting, pool = context.setting, context.setting.pool
    key = COMMON_ERROR if any(r.estimate(COMMON_ERROR) for r in pool) else CLEAN
    best = best_of(pool, key)
    if best is None:
        return _outside(setting) or "No run has finished, so there is nothing to compare yet."
    for family in FAMILIES:
        known = [d for d in context.differences[family, "common"] if d.interval is not None]
        chosen = next((d for d in known if d.row is best), None)
        if chosen is None and known:
            if family == "base":
                chosen = known[0]
            elif known[0].reference is best:  # the only one of its kind, beside it the most accurate of the others
                chosen = max(known, key=lambda d: d.interval.value if d.interval else 0.0)
        if chosen is not None:
            return _of_pair(chosen)
    return f"{_alone(setting, best, key)}; there is no other method to compare it with."


def _outside(setting: Setting) -> str:
    """Say what networks from outside are measured to have, where nothing else has finished; "" without any."""
    measured = [r for r in setting.rows if r.runs]
    key = COMMON_ERROR if any(r.estimate(COMMON_ERROR) for r in measured) else CLEAN
    known = [(i.value, r) for r in measured if (i := r.estimate(key))]
    if not known or not all(run.external for r in measured for run in r.runs):
        return ""
    if len(known) == 1:
        return f"{_alone(setting, known[0][1], key)}. Its training budget is not known, so it is not ranked."
    column = Column("", digits=setting.digits, scale=100)
    low, high = (number(end(value for value, _ in known), column) for end in (min, max))
    what = "mean corruption errors" if key is COMMON_ERROR else "clean accuracies"
    span = f"of {low} %" if low == high else f"from {low} to {high} %"
    return f"{len(known)} networks from outside have {what} {span}. Their training budgets are not known, so none is ranked."


def _alone(setting: Setting, row: Row, key: Key) -> str:
    column = Column("", digits=setting.digits, scale=100)
    cell = Cell.of(row.estimate(key))
    what = "a mean corruption error" if key is COMMON_ERROR else "a clean accuracy"
    value = f"{row.name} has {what} of {number(cell.value, column)} % {bounds(cell, column)}".rstrip()
    unit = "training seeds" if len(row.runs) > 1 else "test images"
    return f"{value} (95 % interval over {cell.n or 0:,} {unit})"


def _of_pair(d: Difference) -> str:
    interval = d.interval
    assert interval is not None
    column = Column("", digits=2, scale=100)
    cell, p = Cell.of(interval), d.p if d.holm is None else d.holm
    size = number(abs(interval.value), column)
    low, high = cell.low, cell.high
    if interval.value < 0 and low is not None and high is not None:
        low, high = -high, -low
    ends = bounds(Cell(abs(interval.value), low, high), column)
    several = len(d.row.runs) > 1 and len(d.reference.runs) > 1 and d.unit == "seeds"
    over = (
        f"95 % interval over {_seeds([len(d.row.runs), len(d.reference.runs)])}"
        if several
        else f"95 % interval over {interval.n:,} test images"
    )
    if interval.low is None:
        over = f"{_seeds([len(d.row.runs), len(d.reference.runs)])}, all alike"
    about = (
        "" if several else " With one training seed this holds for these two networks, and says nothing of the methods."
    )
    if interval.value and p is not None and p < LEVEL:
        more = "more" if interval.value > 0 else "less"
        said = (
            f"{d.row.name} is {f'{size} points {ends}'.rstrip()} {more} accurate under the common corruptions than "
            f"{d.reference.name} ({over})."
        )
        return said + about
    seen = f"; {d.detectable * 100:.1f} points would have been found with power .8" if d.detectable else ""
    sign = "−" if interval.value < 0 and float(size) else "+"
    plain = bounds(cell, column)
    apart = interval.low is not None and interval.high is not None and interval.low * interval.high > 0
    # The interval is this comparison's alone. Without the reason it would seem to contradict the sentence.
    among = d.holm is not None and d.p is not None and d.p < LEVEL
    why = (
        f" (p = {p:.2g}{', corrected for all comparisons by Holm' if among else ''})" if apart and p is not None else ""
    )
    return (
        f"No difference is shown between {d.row.name} and {d.reference.name} under the common corruptions{why}: "
        f"{f'{sign}{size} points {plain}'.rstrip()} ({over}{seen}).{about}"
    )


def _seeds(n: Sequence[int]) -> str:
    return plural(n[0], "training seed") + " each" if len(set(n)) == 1 else f"{n[0]} against {n[1]} training seeds"


def hardest(setting: Setting) -> str:
    """Say which corruption costs the ranked methods most and least accuracy, on average; "" where fewer than two ran."""
    errors = {}
    for name in setting.corruptions:
        found = [i.value for r in setting.ranked if (i := r.estimate(Key("corruption_error", corruption=name)))]
        if found:
            errors[name] = sum(found) / len(found)
    if len(errors) < 2:
        return ""
    most, least = max(errors, key=lambda n: errors[n]), min(errors, key=lambda n: errors[n])
    return (
        f"Most errors: {corruption_name(most)} ({errors[most] * 100:.0f} %); fewest: {corruption_name(least)} "
        f"({errors[least] * 100:.0f} %), means over the ranked methods."
    )
