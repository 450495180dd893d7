"""Largest margin change found within a radius, over the margin: 1 is a flip of the prediction. A lower bound, scale-free.

    kappa_p(x; eps) = max_d max_{j != c} [ (f_j - f_c)(x+d) - (f_j - f_c)(x) ] / (f_c - f_j)(x)

over ||d||_p <= eps with x + d in [0, 1]^d; c is the predicted class, right or wrong. It does not change when the logits
are scaled or shifted, so networks may be compared by it. The search gives a lower bound: a value below 1 does not prove
that the prediction holds. Statistics over images: q50, q95; and "flipped", the share of images for which a flip was found
(kappa >= 1).

The statistic "found" is the share of images whose largest margin change one part of the search found, by the form:

    descent    steps along gradients to a flip
    walk       boundary walks, bisections, sets of first signs near a flip, patches that bring a flip nearer in linf
    climb      steps along gradients in a ball, sets of first signs in it, and points found in other balls
    random     patches, noise, and walks into a ball from points outside it

The more by "walk" and "random", the less the gradients are worth: these follow none.

What was found for each image is kept beside the record, at a quarter and at the whole of the search's passes, so that an
order of two networks can be checked by both.

A trap: where margins are tiny, as in a network that has learned little, kappa is large. Read it beside the accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.results import FOUND, OF_TIES, finders
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Kind, Measurement, MetricInfo, Ranking, Scale
from lcrbench.bench.records.statistics import Statistic

INFO = MetricInfo.about(
    __doc__,
    "margins",
    bound="lower",
    higher_is_better=False,
    phase="lipschitz",
    scale=Scale.POSITIVE,
    title="kappa",
    other={
        Statistic.FLIPPED: Kind(
            unit="fraction of images", bound="lower", higher_is_better=False, scale=Scale.SHARE, title="flip found"
        ),
        Statistic.FOUND: FOUND,
    },
    open=("q50", "q95"),
    searched=True,
    ranking=Ranking(order=0, threshold=1.0),
)
NEEDS = frozenset({Need.FORWARD, Need.GRADIENT})
BY_DEFAULT = True


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the median, the 95 % quantile and the share of flips in each ball; a quantile among ties is left out."""
    result = search.of_metric(subject, options, "lipschitz_kappa")
    if ties := int((result.start.margins == 0).sum()):
        n = len(result.start.margins)
        subject.leave_out(
            "lipschitz_kappa", f"{ties} of {n} images are ties of classes, which count as flips at any radius"
        )
    for look in result.looks:
        for found in look.found:
            search.keep(subject, look.effort, options, "lipschitz_kappa", found.ball, found.kappa)
    for found in result.found:
        n = len(found.kappa)
        for statistic, i in {
            Statistic.Q50: stats.open_quantile(found.kappa, 0.5),
            Statistic.Q95: stats.open_quantile(found.kappa, 0.95),
            Statistic.FLIPPED: stats.proportion(int(found.flipped.sum()), n),
        }.items():
            if i is None:
                subject.leave_out("lipschitz_kappa", OF_TIES)
            else:
                yield Measurement.of(
                    "lipschitz_kappa", i, statistic=statistic, norm=found.ball.norm, radius=found.ball.eps
                )
        yield from finders("lipschitz_kappa", found.ball, found.kappa_by)
