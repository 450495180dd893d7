"""What a report says in sentences of budgets and of what else stands between the runs of a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lcrbench.reports.words import class_text, plain

if TYPE_CHECKING:  # they say what they are by these sentences
    from lcrbench.reports.budget_proof import Proof
    from lcrbench.reports.comparison.row import Apart
    from lcrbench.reports.comparison.types import Between

RECIPES = {"paper": "that of its paper", "tuning": "what trials on held-out training images chose"}
MODULES = 3  # in a sentence


def apart_text(apart: Apart) -> str:
    """Return in which fields the budget of a row differs from that of the comparison."""
    if apart.foreign:
        return "trained elsewhere, on a budget that is not known"
    parts = [f"{name} {plain(theirs)} instead of {plain(ours)}" for name, theirs, ours in apart.fields]
    if apart.classes:
        parts.append(" instead of ".join(map(class_text, apart.classes)))
    return f"another budget: {', '.join(parts)}"


def between_notes(between: Between) -> tuple[str, ...]:
    """Return what a reader must be told of the runs of a setting, one sentence or two each; empty if nothing."""
    notes = [
        f"{r.label}, seed {r.seed}: run {r.run_id} is left out, the later run {r.later} stands for the seed"
        for r in between.replaced
    ]
    if between.versions:
        notes.append(
            f"The runs were made by different versions of {versions_text(between.versions)}, so a difference between "
            "methods may be one between versions: run the older ones again with --stale redo."
        )
    if between.unscoped:
        known = "it gives the present bits" if between.equal_bits else "it is not known to give the present bits"
        notes.append(f"{between.unscoped} runs are from before scopes, whose code has one hash for all of it: {known}.")
    if between.mixed:
        notes.append(mixture_text(between.mixed))
    if between.topologies:
        notes.append(
            "The networks differ in their topology, so a difference between methods may be one between topologies: "
            f"{'; '.join(between.topologies)}."
        )
    return tuple(notes)


def versions_text(modules: Sequence[str]) -> str:
    """Return modules as a sentence names them, the first few.

    >>> versions_text(["lcrbench.models.network", "my_pkg.a", "my_pkg.b", "my_pkg.c"]), versions_text(["lcrbench"])
    ('models.network, my_pkg.a, my_pkg.b and 1 more', 'the code')
    """
    names = ["the code" if name == "lcrbench" else name.removeprefix("lcrbench.") for name in modules]
    more = f" and {len(names) - MODULES} more" if len(names) > MODULES else ""
    return ", ".join(names[:MODULES]) + more


def mixture_text(mixed: Mapping[str, Sequence[str]]) -> str:
    """Return in one line in which devices, versions of torch or kinds of processor runs differ."""
    each = [f"{name} ({', '.join(values)})" for name, values in mixed.items()]
    what = each[0] if len(each) == 1 else f"{', '.join(each[:-1])} and {each[-1]}"
    return f"The runs mix {what}: their numbers are close, and equal to the bit only within one of each."


def proof_text(proof: Proof) -> str:
    """Return whether the methods of a setting were given the same budget, and in what they differ."""
    differing = proof.differing
    if not proof.labels:
        return "No method has finished a training here: there is no budget to compare."
    if len(proof.labels) < 2:
        return "Only one finished method: there is no budget to compare."
    if proof.own_recipes:
        what = " or ".join(RECIPES[name] for name in sorted(proof.own_recipes))
        rest = f"these fields differ: {', '.join(differing)}" if differing else "no field differs"
        return f"Each by its own recipe ({what}): {rest}."
    if proof.identical:
        methods = "both methods" if len(proof.labels) == 2 else f"all {len(proof.labels)} methods"
        return f"Identical budgets: {len(proof.fields)} fields of ledger and budget are equal in {methods}."
    sentence = f"The budgets are not identical; these fields differ: {', '.join(differing)}."
    if proof.unit in ("compute", "seconds"):
        sentence += f" The budget is one of equal {proof.unit}, under which a costlier method sees fewer images."
    if 1 < proof.ranked < len(proof.labels):
        rest = (
            f"these differ: {', '.join(proof.differing_ranked)}" if proof.differing_ranked else "every field is equal"
        )
        sentence += f" Among the {proof.ranked} methods that are ranked, {rest}."
    return sentence
