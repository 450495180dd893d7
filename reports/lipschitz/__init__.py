"""What records hold of Lipschitz searches: which networks move less, and which orders the search can tell.

Everything is read from records: the batches of a run's evaluation, its own and those that `lcrbench lipschitz` added; of
runs of an older schema, the records in the store's folder `lipschitz`. A search's figures are all of one search, that which
covers most runs, of those the latest: figures of searches that look harder or less hard do not compare. Every other metric
is the latest that is known of a run.

Networks are ranked by figures that have no scale: kappa, the gain over the size of the logits, and the smallest radius with
a found flip; never by the change of the logits itself. An order of two methods counts only where all of these hold:

- every effort that was searched (the quick one, and a longer one where there is one) finds the same order;
- the interval of the difference of medians leaves out 0: a bootstrap over images, in pairs, with one seed a method; with
  several one over seeds and images (`lcrbench.bench.stats.gap`);
- p < .05 after Holm's correction, of that bootstrap or that interval. One figure, kappa at the middle radius, is the
  primary one, corrected over its pairs; all others together are corrected over their pairs and figures.

Otherwise the two are *not separated*, and share their ranks.
"""

from lcrbench.reports.lipschitz.found import Alone, Lipschitz, drawn, of_networks, quantiles
from lcrbench.reports.lipschitz.layers import LAYERED, layer_value, layers
from lcrbench.reports.lipschitz.reading import read
from lcrbench.reports.lipschitz.search import Figure, Search, searched, title_of
from lcrbench.reports.lipschitz.verdicts import Verdict, Why

__all__ = [
    "LAYERED",
    "Alone",
    "Figure",
    "Lipschitz",
    "Search",
    "Verdict",
    "Why",
    "drawn",
    "layer_value",
    "layers",
    "of_networks",
    "quantiles",
    "read",
    "searched",
    "title_of",
]
