"""What a report says in sentences of Lipschitz figures: what they mean, how hard was searched, and the order they give."""

from __future__ import annotations

from collections.abc import Iterable

from lcrbench.bench import stats
from lcrbench.bench.records.by_image import Effort
from lcrbench.bench.records.measurement import MetricInfo, Part, Scale
from lcrbench.bench.records.statistics import Statistic
from lcrbench.reports.comparison import Key, Row
from lcrbench.reports.lipschitz.found import Lipschitz
from lcrbench.reports.lipschitz.search import Figure, title_of
from lcrbench.reports.lipschitz.verdicts import STEEP, Uncompared, Verdict, Why
from lcrbench.reports.words import norm_text, part_text, radius_text

WHY = (
    "All figures are lower bounds by search (a flip radius is an upper bound of the robust radius), in pixel space on "
    "logits, in evaluation mode: kappa below 1 proves nothing. A longer search raises them by different amounts in "
    "different networks, most where gradients mislead, so an order found by one effort alone may be the search's and "
    "not the networks'. Methods are 'not separated' where the efforts disagree or find no difference, where the better "
    f"one's median still moved by more than {STEEP:.0%} at the last (not converged), where the interval "
    "of the difference holds 0, where p is not below .05 after Holm's correction, from fewer than "
    f"{stats.LEAST_IMAGES} images, and where a single seed stands against several."
)


SCALE = (
    "The change of the logits itself ranks nothing: multiplying the last layer by 10 multiplies it by 10 and changes "
    "no prediction, and a single radius can order a network of signs and a smooth one either way. Where margins are "
    "tiny, as in a network that has learned little, kappa is large: read it beside the accuracy."
)


def effort_text(effort: Effort) -> str:
    """Return how hard a search looked.

    >>> effort_text(Effort(passes=2400, gradients=False))
    '2,400 passes an image, without gradients'
    >>> effort_text(Effort(random=10, steps=5, searches=2))
    '10 random candidates and 2 x 5 steps an image and radius, 2 searches'
    """
    if effort.passes is not None:
        return f"{effort.passes:,} passes an image" + ("" if effort.gradients else ", without gradients")
    one = f"{effort.random} random candidates and 2 x {effort.steps} steps an image and radius"
    return one + (f", {effort.searches} searches" if effort.searches > 1 else "")


def ball_text(figure: Figure) -> str:
    """Return where a ranked figure is of: a distance has a norm and no radius."""
    norm = norm_text(figure.norm)
    return norm if figure.distance else f"{norm} {figure.radius_255:g}/255"


def figure_text(figure: Figure) -> str:
    """Return a ranked figure as a table names it."""
    return f"{figure.title}, {ball_text(figure)}"


def rank_text(found: Lipschitz, row: Row, figure: Figure) -> str:
    """Return a method's rank in a figure as a table shows it, with what is said of its search; "" with nothing to say."""
    place = found.rank(row, figure) or "not compared" * bool(found.unplaced(row, figure))
    return ", ".join(said for said in (place, "not converged" * found.rising(row, figure)) if said)


def rank_note(found: Lipschitz) -> str:
    """Explain what ranks say besides a place; "" where none says more."""
    if not any(found.rising(row, figure) for figure in found.figures for row in found.rows):
        return ""
    return (
        "'Not converged' beside a figure or a rank: the network's curve still rises, because the longest search moved its "
        f"median by more than {STEEP:.0%} of what a shorter one had found. By this search no order counts in which it is "
        "the better one."
    )


def beside(found: Lipschitz, verdict: Verdict) -> str:
    """Say by which search a verdict is where it is not the one that other verdicts are by; else ""."""
    return "both searched without gradients" if found.mixed and not verdict.effort.gradients else ""


def uncompared_text(pair: Uncompared) -> str:
    """Say why two methods are not compared; `blind_note` says what compares them."""
    if pair.blind is None or pair.other is None:
        return "not compared: no search of the same effort was made of both"
    return (
        f"not compared: {pair.blind.name} gives no gradient, and {pair.other.name} was not searched without gradients"
    )


def why_text(verdict: Verdict) -> str:
    """Say why two methods are not separated; empty if they are."""
    least = stats.LEAST_IMAGES
    reasons = {
        None: "",
        Why.EFFORTS_DISAGREE: "a shorter and the longest search disagree on the order",
        Why.ONE_EFFORT: "an order needs a search that is four times as long to agree",
        Why.NOT_CONVERGED: f"not converged: the last search moved the better one's median by more than {STEEP:.0%}",
        Why.NO_DIFFERENCE: "a search finds no difference",
        Why.SINGLE_SEED: "one of them has a single seed, which says nothing about its method",
        Why.FEW_IMAGES: f"{verdict.images} images are too few for an order: {least} at least",
        Why.HOLDS_0: "the interval of the difference holds 0",
        Why.BY_CHANCE: f"p = {verdict.p:.2g} after Holm over {verdict.family} comparisons",
    }
    return reasons[verdict.why]


OVER: dict[str, str] = {
    Statistic.MEAN: "mean",
    Statistic.Q5: "5 % quantile",
    Statistic.Q50: "median",
    Statistic.Q95: "95 % quantile",
}
BOUNDS = {
    "lower": "lower bound",
    "upper": "upper bound",
    "estimate": "estimate, bounds nothing",
    "exact": "exact on these images",
}


def cell_text(key: Key, info: MetricInfo) -> str:
    """Return a cell of a metric that has no place of its own: what it is, in which unit, and what it bounds."""
    kind, about = info.kind(key.statistic), key.about
    parts = [
        title_of(key.metric, info) + (f" ({about.form})" if about.form else ""),
        kind.title or OVER.get(key.statistic, key.statistic),
        *([part_text(part)] if any(part := Part(key.layer, about.stage)) else []),
        *([about.probe] if about.probe else []),
        *([f"search {about.search}"] if about.search else []),
        *([f"after {about.passes:,} passes"] if about.passes else []),
        norm_text(key.norm),
        span_text(key) if about.inner_radius else radius_text(key.radius),
    ]
    unit = {Scale.SHARE: kind.unit.replace("fraction", "%", 1), Scale.DISTANCE: "1/255 pixel units"}.get(kind.scale)
    said = ", ".join(part for part in parts if part)
    return f"{said}, {unit or kind.unit} ({info.note or BOUNDS[kind.bound]})"


def span_text(key: Key) -> str:
    """Return the two radii between which a cell is taken."""
    return f"{(key.about.inner_radius or 0.0) * 255:g}/255 to {(key.radius or 0.0) * 255:g}/255"


def effort_note(found: Lipschitz) -> str:
    """Say how hard the search looked, on how many images, and whether a second effort checks the orders."""
    if not found.efforts:
        return "No search's figures by image are at hand, so no order is checked."
    images = {search.n for seeds in found.searches.values() for search in seeds}
    efforts = [e for e in found.efforts if e.gradients] or found.efforts
    note = f"Search effort on {' or '.join(map(str, sorted(images)))} images: {effort_text(efforts[-1])}"
    if found.mixed:
        note += f", but without gradients for {_listed(found.blind)}"
    if len(efforts) > 1:
        return f"{note}; orders are checked against {effort_text(efforts[-2])}."
    if len([r for r in found.rows if found.searches[r.index]]) < 2:
        return f"{note}."
    how = "`lcrbench lipschitz --effort full` looks longer"
    if any(r.runs for r in found.rows):
        how = "`lcrbench lipschitz RUN ... --effort full` looks longer, and the next report of the store shows it"
    return f"{note}. No longer search checks the orders: {how}."


def blind_note(found: Lipschitz) -> str:
    """Say which networks were searched by decisions alone, and what decides their orders; "" if none was."""
    if not found.blind:
        return ""
    if not found.mixed:
        return (
            "All networks were searched without gradients, by their decisions alone: they give none (or only zeros), or "
            "none were asked for."
        )
    several = len(found.blind) > 1
    said = (
        f"{_listed(found.blind)} {'give' if several else 'gives'} no gradient (or only zeros) and "
        f"{'were' if several else 'was'} searched by decisions alone, which finds less: figures of such a search do not "
        "compare with those of a search along gradients."
    )
    blind = {r.index for r in found.blind}
    seeing = {r.index for v in found.across for r in (v.first, v.second)} - blind
    if seeing:
        against = _listed([r for r in found.rows if r.index in seeing])
        said += (
            f" Orders of {'them' if several else 'it'} and {against} are decided by searches of both by decisions alone "
            f"({effort_text(found.across[0].effort)}); their medians are called 'searched without gradients'."
        )
    apart = {r.index for u in found.uncompared for r in (u.first, u.second)} - blind
    if apart:
        those = _listed([r for r in found.rows if r.index in apart])
        said += (
            f" {'They are' if several else 'It is'} not compared with {those}, of which there is no such search: "
            "`lcrbench lipschitz RUN RUN ...`, given runs of each, makes it and prints the orders."
        )
    return said


def _listed(rows: Iterable[Row]) -> str:
    return ", ".join(r.name for r in rows)


def others(found: Lipschitz) -> str:
    """Say which methods were measured on other images than the first one, and are compared with their like alone."""
    sets = {r.name: {s.images for s in found.searches[r.index]} for r in found.rows}
    known = {label: images for label, images in sets.items() if images}
    first = next(iter(known.values()), set())
    apart = [label for label, images in known.items() if images != first]
    if not apart:
        return ""
    return (
        f"{', '.join(apart)}: measured on other images (of another data set, size or choice) than "
        f"{next(iter(known))}; radii do not compare between them, and neither do figures."
    )


def moved(found: Lipschitz | None) -> str:
    """Say within which distance half of the images change class, in the networks that move most and least.

    By the first norm that has flip radii; "" where fewer than two networks have a median, or one beyond what was searched,
    and where they were measured on other images. A network that was searched without gradients is left out beside others:
    its figure is of another search.
    """
    if found is None or not found.efforts or others(found):
        return ""
    metric, q50 = "lipschitz_flip_radius", Statistic.Q50
    norms = {k.norm for k in found.keys(metric) if k.statistic == q50}
    out = found.blind if found.mixed else []
    rows = [r for r in found.rows if r.index not in {b.index for b in out}]
    for norm in [n for n in ("l2", "linf") if n in norms]:
        key = Key(metric, q50, norm=norm)
        near = sorted((i.value * 255, r.name) for r in rows if (i := r.estimate(key)))
        beyond = [r.name for r in rows if not r.estimate(key) and r.measured(key)]
        if not near or len(near) + len(beyond) < 2:
            continue
        (least, first), (most, last) = near[0], near[-1]
        far = f"more than was searched ({beyond[0]})" if beyond else f"{most:.3g}/255 ({last})"
        return (
            f"Half of the images change class within {norm_text(norm)} {least:.3g}/255 ({first}) to {far}: upper bounds by "
            f"{effort_text(found.efforts[-1])}."
            + f" Left out, because searched without gradients: {_listed(out)}."
            * bool(out)
        )
    return ""


SUMMED = 6
"""Methods that the one-sentence reading names."""


def summary(found: Lipschitz) -> str:
    """Return the order by the primary figure in a sentence, each method's median with its rank; "" with nothing to rank."""
    figure = found.primary
    if figure is None:
        return ""
    key = Key(figure.metric, Statistic.Q50, norm=figure.norm, radius=figure.radius_255 / 255)
    blind = {r.index for r in found.blind if found.mixed}
    ranked = []
    for r in found.rows:
        rank = found.rank(r, figure)
        if (rank or found.unplaced(r, figure)) and (i := r.estimate(key)):
            about = "rank " * bool(rank) + rank_text(found, r, figure)
            ranked.append((i.value, about + "; searched without gradients" * (r.index in blind), r.name))
    if len(ranked) < 2:
        return ""
    said = [f"{label} {value:.2g} ({about})" for value, about, label in sorted(ranked)[:SUMMED]]
    apart = " or not compared" * bool(found.uncompared)
    more = f", and {len(ranked) - SUMMED} more" if len(ranked) > SUMMED else ""
    return (
        f"The largest margin change that a search found within {ball_text(figure)}, over the margin (kappa, median; 1 is a "
        f"flip, less is better): {', '.join(said)}{more}. A rank such as 2–3 means not separated{apart}."
    )
