"""What records hold of Lipschitz searches: which networks move less, and which orders the search can tell.

Everything is read from records: the batches of a run's evaluation, its own and those that `lcrbench lipschitz` added; of
runs of an older schema, the records in the store's folder `lipschitz`. A search's figures are all of one search, that which
covers most runs, of those the latest: figures of searches that look harder or less hard do not compare. Every other metric
is the latest that is known of a run.

Networks are ranked by figures that have no scale: kappa, the gain over the size of the logits, and the smallest radius with
a found flip; never by the change of the logits itself. An order of two methods counts only where all of these hold:

- there are two efforts or more, as a quarter of the search's passes and all of them are, and each finds the same order;
- the search of the better one has converged: the longest moved its median by at most `verdicts.STEEP` of what the one before
  it had found;
- both have one seed, or both have several;
- the medians are over `lcrbench.bench.stats.LEAST_IMAGES` images or more;
- the interval of the difference of medians leaves out 0: a bootstrap over images, in pairs, with one seed a method; with
  several Student's t over the seeds' medians, to which what other images would change is added (`lcrbench.bench.stats.gap`);
- p < .05 after Holm's correction, of that bootstrap or that interval. One figure, kappa at the middle radius, is the
  primary one, corrected over its pairs; all others together are corrected over their pairs and figures.

Otherwise the two are *not separated*, and share their ranks. A rank also says where the method's own search has not
converged.

A network that gives no gradient is searched by decisions alone. It is compared with others by searches of both by decisions
alone, and where there are none the two are *not compared*.
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
