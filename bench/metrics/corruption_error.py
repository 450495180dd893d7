"""Mean error over severities: of each corruption, and of each set of corruptions that were run.

For a set C of corruptions, severities S and test images i,

    error(C) = mean over c in C, s in S of E_{c,s},      E_{c,s} = share of images classified wrong.

It is the unnormalized mean corruption error, as the literature reports it on CIFAR-10-C (Hendrycks and Dietterich 2019,
arXiv 1903.12261, normalize by AlexNet's errors on ImageNet-C only). "common" holds those of the fifteen common
corruptions that were run, "extra" those of the four others; the run's spec names them all. The copies of one image under
all corruptions are one unit: the interval is over images, of each image's mean error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lcrbench import corruptions
from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale

INFO = MetricInfo.about(__doc__, "fraction", bound="exact", higher_is_better=False, scale=Scale.SHARE)
NEEDS = frozenset({Need.OUTCOMES})
BY_DEFAULT = True
SETS = ("common", "noise", "blur", "weather", "digital", "extra")


@dataclass(frozen=True)
class Options:
    """No options."""


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the mean error of each corruption and of each set, in [0, 1]."""
    cells = [cell for cell in subject.outcomes if cell.corruption]
    run = list(dict.fromkeys(cell.corruption for cell in cells))
    members = {name: [name] for name in run}
    for group in SETS:
        if chosen := [name for name in corruptions.names(group) if name in run]:
            members[group] = chosen
    for name, chosen in members.items():
        wrong = np.stack([~subject.outcomes[cell] for c in chosen for cell in cells if cell.corruption == c]).mean(0)
        i = stats.mean(wrong)
        yield Measurement.of("corruption_error", i, corruption=name)
