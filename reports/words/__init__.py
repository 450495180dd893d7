"""Names and values as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lcrbench.bench.records.measurement import Part
from lcrbench.bench.records.record import BudgetClass

CODE = re.compile(r"`([\w./=, -]+)`")
"""A command in a sentence of ours: plain words and signs between backticks, so that nothing in it is markup anywhere."""

LCR_FORMS = {
    "lcr": "LCR (latent variant)",
    "lcr_released": "LCR as released",
    "lcr_fixed": "LCR as released, repaired",
}
"""Our forms of the LCR paper's loss as reports call them, each judged apart from the others."""


def plain(value: object) -> str:
    """Return a value for people: whole numbers with their thousands apart, the rest as it is.

    >>> plain(60000), plain(60000.0), plain(0.05), plain("cosine")
    ('60,000', '60,000', '0.05', 'cosine')
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def class_text(kind: BudgetClass) -> str:
    """Return what a budget went to.

    >>> class_text(BudgetClass()), class_text(BudgetClass(("first", "second"), ("full_precision",)))
    ('one training', '2 stages (first, then second), taught by full_precision')
    >>> class_text(BudgetClass(started=("full_precision",), by_paper=True, trials=8))
    'one training, started from full_precision, by the recipe of its paper, tuned by 8 trials'
    """
    own = f"{len(kind.stages)} stages ({', then '.join(kind.stages)})" if kind.stages else "one training"
    words = [own, *([f"started from {' and '.join(kind.started)}"] if kind.started else [])]
    words += [f"taught by {' and '.join(kind.teachers)}"] if kind.teachers else []
    words += ["by the recipe of its paper"] if kind.by_paper else []
    words += [f"tuned by {kind.trials} trials"] if kind.trials else []
    return ", ".join(words)


def part_text(part: Part) -> str:
    """Return a part of a network as it is printed.

    >>> part_text(Part("body.stem.0")), part_text(Part(stage=2))
    ('body.stem.0', 'stage 2')
    """
    return f"stage {part.stage}" if part.stage else part.layer


def listed(values: Sequence[int]) -> str:
    """Return whole numbers as people write them: 1–5, or 0, 2, 7."""
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}–{values[-1]}"
    return ", ".join(str(v) for v in values)


def norm_text(norm: str) -> str:
    """Return a norm as it is printed."""
    return {"l2": "ℓ2", "linf": "ℓ∞", "l1": "ℓ1"}.get(norm, norm)


def radius_text(radius: float | None) -> str:
    """Return a radius in pixel units as it is printed, in steps of an 8-bit pixel where it is a whole number of them.

    >>> radius_text(8 / 255), radius_text(0.25), radius_text(None)
    ('radius 8/255', 'radius 0.25', '')
    """
    if radius is None:
        return ""
    steps = radius * 255
    whole = abs(steps - round(steps)) < 1e-6 and round(steps) and round(steps) % 255
    return f"radius {round(steps)}/255" if whole else f"radius {radius:g}"


def words(name: str) -> str:
    """Return a corruption's name with spaces."""
    return name.replace("_", " ").replace("$", r"\$")


def plural(n: int, word: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "run"), plural(2000, "run")
    ('1 run', '2,000 runs')
    """
    return f"{n:,} {word}" + ("" if n == 1 else "s")
