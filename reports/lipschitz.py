"""What records hold of Lipschitz searches: which networks move less, and which orders the search can tell.

Everything is read from records: the runs' own, and those that `lcrbench lipschitz` made of them (in the store's folder
`lipschitz`). A search's figures are all of one search, that which covers most runs, of those the latest: figures of
searches that look harder or less hard do not compare. Every other metric is the latest that is known of a run.

Networks are ranked by figures that have no scale: kappa, the gain over the size of the logits, and the smallest radius with
a found flip; never by the change of the logits itself. An order of two methods counts only where all of these hold:

- every effort that was searched (the quick one, and a longer one where there is one) finds the same order;
- the bootstrap interval of the difference of medians leaves out 0: over images, in pairs, with one seed a method; over seeds
  and images with several;
- p < .05 after Holm's correction: that bootstrap's p with one seed, with several Welch's over seeds. One figure, kappa at
  the middle radius, is the primary one, corrected over its pairs; all others together are corrected over their pairs and
  figures.

Otherwise the two are *not separated*, and share their ranks.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.records.by_image import IMAGES, PIXELS, ImageKey
from lcrbench.bench.records.record import Measurement, Record
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import Store
from lcrbench.bench.stats import Interval, Resampled
from lcrbench.errors import UserError
from lcrbench.reports.comparison import MOST_COLUMNS, Key, Row, Setting, chosen
from lcrbench.reports.significance import ALPHA, holm, welch
from lcrbench.reports.words import norm_text


class Figure(NamedTuple):
    """What is ranked: a figure of each image, in a norm, at a radius (a flip radius: searched up to that one)."""

    name: str
    norm: str
    radius_255: float

    @property
    def sign(self) -> int:
        """Return 1 where less is better, -1 where more is."""
        return -1 if self.name == "flip_radius" else 1

    @property
    def words(self) -> str:
        """Return the figure as a table names it."""
        name = {"kappa": "kappa", "relative_gain": "relative gain", "flip_radius": "flip radius"}[self.name]
        where = (
            norm_text(self.norm) if self.name == "flip_radius" else f"{norm_text(self.norm)} {self.radius_255:g}/255"
        )
        return f"{name}, {where}"


FIGURES = ("kappa", "relative_gain", "flip_radius")


class Verdict(NamedTuple):
    """What the search can say about the order of two methods in one figure; `gap` is the first minus the second."""

    first: Row
    second: Row
    figure: Figure
    gap: Interval
    p: float
    separated: bool
    why: str

    @property
    def better(self) -> Row:
        """Return the method with the better found figure."""
        return self.first if self.gap.value * self.figure.sign < 0 else self.second


@dataclass(frozen=True)
class Search:
    """What a search found in one network for each image, by effort and figure (n), and of which images (`search.keep`)."""

    images: bytes
    n: int
    figures: dict[tuple[str, Figure], np.ndarray]

    @classmethod
    def of(cls, by_image: dict[str, np.ndarray]) -> Search:
        """Return the searches among the arrays of a run's file, none if it holds none."""
        figures = {}
        for key, values in by_image.items():
            read = ImageKey.read(key)
            if read is not None and read.figure in FIGURES:
                figures[read.effort, Figure(read.figure, read.norm, read.radius_255)] = values
        images = [by_image[k] for k in (IMAGES, PIXELS) if k in by_image]
        return cls(b"".join(i.tobytes() for i in images), len(images[0]) if images else 0, figures)

    def compared(self, figure: Figure) -> dict[str, np.ndarray]:
        """Return a figure by effort with what is infinite cut off: an image without a flip has the largest radius."""
        most = figure.radius_255 / 255 if figure.name == "flip_radius" else 1e9
        return {effort: np.minimum(v, most) for (effort, f), v in self.figures.items() if f == figure}


@dataclass
class Lipschitz:
    """What records hold: rows with their measurements, and the searches of each row's networks.

    Of very many methods the reference and the most accurate are compared, `rows`; `every` has all. `networks` has the
    measurements of each single network, by row: seeds may lack a cell that others have.
    """

    rows: list[Row]
    every: list[Row]
    searches: dict[int, list[Search]]
    networks: dict[int, list[dict[Key, float]]]
    notes: list[str] = field(default_factory=list)

    @property
    def efforts(self) -> list[str]:
        """Return the efforts that were searched, in words, from the quick to the longest."""
        return list(dict.fromkeys(effort for effort, _ in self._searched))

    @property
    def _searched(self) -> dict[tuple[str, Figure], None]:
        """Return every effort with every figure that it found of any network."""
        return dict.fromkeys(key for seeds in self.searches.values() for search in seeds for key in search.figures)

    def seeds(self, rows: Sequence[Row]) -> list[int]:
        """Return how many networks each row has."""
        return [max(1, len(self.searches[row.index])) for row in rows]

    def keys(self, metric: str) -> list[Key]:
        """Return all cells of a metric that any row has."""
        return list(dict.fromkeys(k for row in self.rows for k in row.values if k.metric == metric))

    @cached_property
    def figures(self) -> list[Figure]:
        """Return what can be ranked, in the order of tables: by figure, l2 first, from the smallest radius."""
        return sorted(
            {figure for _, figure in self._searched},
            key=lambda f: (FIGURES.index(f.name), f.norm != "l2", f.radius_255),
        )

    @property
    def primary(self) -> Figure | None:
        """Return the figure whose verdicts count: kappa at the middle radius of the first norm; None without kappa."""
        kappa = [f for f in self.figures if f.name == "kappa"]
        same = [f for f in kappa if f.norm == kappa[0].norm]
        return same[len(same) // 2] if same else None

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Return the verdict on each pair of methods in each figure.

        Holm's correction runs over the pairs of the primary figure, and over the pairs and figures of all others together.
        """
        compared = [c for figure in self.figures for c in _compare(self, figure)]
        verdicts = {}
        for primary in (True, False):
            family = [c for c in compared if (c.figure == self.primary) == primary]
            for c, p in zip(family, holm([c.p for c in family]), strict=True):
                why = _why(self, c, p, len(family))
                verdicts[c.first.index, c.second.index, c.figure] = Verdict(
                    c.first, c.second, c.figure, c.gaps[-1], p, not why, why
                )
        return [verdicts[c.first.index, c.second.index, c.figure] for c in compared]

    def rank(self, row: Row, figure: Figure) -> str:
        """Return a method's place in a figure: a range where others are not separated from it, "" if not measured."""
        about = [v for v in self.verdicts if v.figure == figure and row in (v.first, v.second)]
        if not about:
            return ""
        first = 1 + sum(v.separated and v.better is not row for v in about)
        last = 1 + len(about) - sum(v.separated and v.better is row for v in about)
        return f"{first}" if first == last else f"{first}–{last}"


SEARCHED = (
    "lipschitz_kappa",
    "lipschitz_relative_gain",
    "lipschitz_flip_radius",
    "lipschitz_modulus",
    "lipschitz_slope",
    "lipschitz_shell",
)
"""The metrics that share one search."""


@dataclass(eq=False)
class _Source:
    """A record about a run's network, and the store that holds it: the run's own, or one of the folder `lipschitz`."""

    store: Store
    record: Record

    @property
    def created(self) -> str:
        return self.record.provenance.created

    @cached_property
    def metrics(self) -> dict[str, list[Measurement]]:
        """Return the record's Lipschitz metrics, in its order, with their numbers; of some there may be none."""
        found: dict[str, list[Measurement]] = {}
        for m in self.record.measurements:
            if m.metric.startswith("lipschitz_"):
                found.setdefault(m.metric, []).append(m)
        for name in self.record.left_out:
            if name.startswith("lipschitz_"):
                found.setdefault(name, [])
        return found

    @property
    def search(self) -> str:
        """Return by which options the record searched, as text; "" if it holds no search."""
        each = [self.record.spec.metrics.get(name) for name in SEARCHED if name in self.metrics]
        return "\n".join(sorted({json.dumps(_floats(options), sort_keys=True) for options in each}))


def _floats(value: object) -> object:
    """Return options with whole numbers as floats: 8 and 8.0 are one radius."""
    if isinstance(value, dict):
        return {name: _floats(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_floats(v) for v in value]
    return float(value) if isinstance(value, int) else value


def read(setting: Setting, store: Store) -> Lipschitz | None:
    """Return the Lipschitz figures of a setting's finished runs; None if nothing was measured.

    Runs without the search that is shown are left out, unless no run of their method has it.
    """
    runs = [run for row in setting.rows for run in row.runs]
    notes: list[str] = []
    sources = {run.run_id: [_Source(store, run)] for run in runs}
    for run_id, source in _apart(store, runs, notes):
        sources[run_id].append(source)
    if not any(s.metrics for known in sources.values() for s in known):
        return None
    searched = _one_search(sources)

    def about(run: Record) -> Record | None:
        """Return the run with what is shown of it; None if there is nothing, or only what no search goes with."""
        by_metric: dict[str, _Source] = {}
        for source in sources[run.run_id]:
            by_metric |= {name: source for name in source.metrics if name not in SEARCHED}
        if run.run_id in searched:
            by_metric |= {name: searched[run.run_id] for name in searched[run.run_id].metrics if name in SEARCHED}
        if not by_metric:
            return None
        shown = [m for name, s in by_metric.items() for m in s.metrics[name]]
        rest = [m for m in run.measurements if not m.metric.startswith("lipschitz_")]
        reasons = {name: s.record.left_out[name] for name, s in by_metric.items() if name in s.record.left_out}
        infos = {name: s.record.metrics[name] for name, s in by_metric.items() if name in s.record.metrics}
        update = {"measurements": (*rest, *shown), "left_out": reasons, "metrics": run.metrics | infos}
        return run.model_copy(update=update)

    every: list[Row] = []
    compared = {row.index for row in chosen(setting, MOST_COLUMNS)}
    searches: dict[int, list[Search]] = {}
    left_out = 0
    for row in setting.rows:
        whole = [run for run in row.runs if run.run_id in searched] or list(row.runs)
        used = [known for run in whole if (known := about(run)) is not None]
        left_out += len(row.runs) - len([run for run in used if run.run_id in searched])
        if not used:
            continue
        values = {k: v for k, v in row.values.items() if not k.metric.startswith("lipschitz_")}
        for run in used:
            for m in run.measurements:
                if m.metric.startswith("lipschitz_"):
                    values.setdefault(Key.of(m), []).append(m)
        every.append(replace(row, runs=tuple(used), values=values, _estimates={}))
        searches[row.index] = []
        if row.index not in compared:
            continue
        for source in (searched[run.run_id] for run in used if run.run_id in searched):
            try:
                found = Search.of(source.store.by_image(source.record.run_id))
                searches[row.index] += [found] if found.figures else []
            except UserError as error:
                notes.append(_inside(store, error))
    if searched and left_out:
        notes.append(f"{left_out} of {len(runs)} runs have no figures by this search.")
    later = [sources[run_id][sources[run_id].index(shown) + 1 :] for run_id, shown in searched.items()]
    if hidden := sum(any(s.search for s in known) for known in later):
        notes.append(
            f"{hidden} of {len(runs)} runs have a later search with other options, which is not shown because no more runs "
            "have it: measure the others likewise."
        )
    rows = [row for row in every if row.index in compared]
    if len(rows) < len(every):
        notes.append(
            f"Shown are the reference and the {len(rows) - 1} most accurate of {len(every)} methods; measurements.csv "
            "holds all."
        )
    networks = {row.index: [_values(run.measurements) for run in row.runs] for row in every}
    return Lipschitz(rows, every, searches, networks, notes)


def _values(measurements: Sequence[Measurement]) -> dict[Key, float]:
    return {Key.of(m): m.value for m in measurements if m.metric.startswith("lipschitz_")}


def _apart(store: Store, runs: Sequence[Record], notes: list[str]) -> list[tuple[str, _Source]]:
    """Return what `lcrbench lipschitz` recorded of these runs, each with the run's id, the latest last."""
    extra = store.lipschitz()
    if extra is None:
        return []
    by_spec = {_identity(r.spec): r for r in runs}
    found = []
    for run_id in extra.ids():
        try:
            record = extra.record(run_id)
        except UserError as error:
            notes.append(_inside(store, error))
            continue
        run = by_spec.get(_identity(record.spec))
        # A run that was made again has another ledger: figures of the earlier one say nothing about it.
        if run is not None and run.ledger == record.ledger:
            found.append((run.run_id, _Source(extra, record)))
    return sorted(found, key=lambda known: known[1].created)


def _one_search(sources: dict[str, list[_Source]]) -> dict[str, _Source]:
    """Return for each run the record whose search is shown: by the options that cover most runs, of those the latest."""
    by_options: dict[str, dict[str, _Source]] = defaultdict(dict)
    for run_id, known in sources.items():
        for source in known:
            if source.search:
                by_options[source.search][run_id] = source

    def later(place: int, found: dict[str, _Source]) -> tuple[int, str, int]:
        return len(found), max(s.created for s in found.values()), place

    return max(enumerate(by_options.values()), key=lambda known: later(*known), default=(0, {}))[1]


def _inside(store: Store, error: UserError) -> str:
    return str(error).replace(str(store.root) + "/", "")


def _identity(spec: RunSpec) -> str:
    return json.dumps(spec.model_dump(mode="json", exclude={"metrics"}), sort_keys=True)


def of_networks(networks: Sequence[tuple[str, Sequence[Measurement], dict[str, np.ndarray]]]) -> Lipschitz:
    """Return the figures of networks apart from a store: names, measurements, figures by image; equal names are seeds."""
    rows: dict[str, Row] = {}
    searches: dict[int, list[Search]] = defaultdict(list)
    single: dict[int, list[dict[Key, float]]] = defaultdict(list)
    for name, measurements, figures in networks:
        row = rows.setdefault(name, Row(len(rows), name, ()))
        for m in measurements:
            row.values.setdefault(Key.of(m), []).append(m)
        searches[row.index] += [search for search in [Search.of(figures)] if search.figures]
        single[row.index].append(_values(measurements))
    every = list(rows.values())
    return Lipschitz(every, every, searches, dict(single))


class _Compared(NamedTuple):
    """A pair of methods in one figure: the difference of medians by each effort, and the p-value of the longest."""

    first: Row
    second: Row
    figure: Figure
    gaps: list[Interval]
    p: float


def _compare(found: Lipschitz, figure: Figure) -> list[_Compared]:
    # Of each method that has the figure: its values by effort, one a seed, and the images that they are about.
    values = {r.index: [s.compared(figure) for s in found.searches[r.index]] for r in found.rows if not r.aside}
    have = [r for r in found.rows if values.get(r.index) and all(values[r.index])]
    images = {r.index: {s.images for s in found.searches[r.index]} for r in have}
    compared = []
    resampled: dict[tuple[int, str], Resampled] = {}
    every = found.efforts

    def medians(row: Row, effort: str) -> Resampled:
        if (row.index, effort) not in resampled:  # a method is in many pairs
            each = [seed[effort] for seed in values[row.index]]
            resampled[row.index, effort] = stats.resampled_medians(each, row.label)
        return resampled[row.index, effort]

    for a, b in itertools.combinations(have, 2):
        sides = values[a.index], values[b.index]
        if len(images[a.index] | images[b.index]) > 1:
            continue
        efforts = [e for e in every if all(e in seed for side in sides for seed in side)]
        if not efforts:
            continue
        gaps = [stats.gap(medians(a, e), medians(b, e)) for e in efforts]
        p = gaps[-1].p
        if all(len(side) > 1 for side in sides):
            over_seeds = welch(*(medians(r, efforts[-1]).medians for r in (a, b)))
            p = 1.0 if over_seeds is None or np.isnan(over_seeds[1]) else over_seeds[1]
        compared.append(_Compared(a, b, figure, [g.interval for g in gaps], p))
    return compared


def _why(found: Lipschitz, c: _Compared, p: float, family: int) -> str:
    """Return why two methods are not separated, "" if they are; p after the correction over so many comparisons."""
    gap, orders = c.gaps[-1], {np.sign(g.value) for g in c.gaps}
    seeds = [len(found.searches[r.index]) for r in (c.first, c.second)]
    if {-1.0, 1.0} <= orders:
        return "the quick and the longer search disagree on the order"
    if 0.0 in orders:
        return "a search finds no difference"
    if min(seeds) == 1 < max(seeds):
        return "one of them has a single seed, which says nothing about its method"
    if max(seeds) == 1 and gap.n < stats.LEAST_IMAGES:
        return f"{gap.n} images are too few for an order: {stats.LEAST_IMAGES} at least"
    if gap.low is None or gap.high is None or gap.low <= 0 <= gap.high:
        return "the interval of the difference holds 0"
    return f"p = {p:.2g} after Holm over {family} comparisons" if p >= ALPHA else ""


def others(found: Lipschitz) -> str:
    """Say which methods were measured on other images than the first one, and are compared with their like alone."""
    sets = {r.label: {s.images for s in found.searches[r.index]} for r in found.rows}
    known = {label: images for label, images in sets.items() if images}
    first = next(iter(known.values()), set())
    apart = [label for label, images in known.items() if images != first]
    if not apart:
        return ""
    return (
        f"{', '.join(apart)}: measured on other images (of another data set, size or choice) than "
        f"{next(iter(known))}; radii do not compare between them, and neither do figures."
    )


def quantiles(found: Lipschitz, row: Row, figure: Figure, levels: Sequence[float]) -> np.ndarray:
    """Return the quantiles over images of a figure by the longest search, (seeds, levels); infinite ones are inf.

    A quantile is the smallest value that the share `level` of the images does not exceed: nothing is interpolated.
    """
    efforts = found.efforts
    each = [search.figures.get((efforts[-1], figure)) for search in found.searches[row.index]] if efforts else []
    return np.array([np.quantile(v.astype(np.float64), levels, method="inverted_cdf") for v in each if v is not None])


def effort_note(found: Lipschitz) -> str:
    """Say how hard the search looked, on how many images, and whether a second effort checks the orders."""
    if not found.efforts:
        return "No search's figures by image are at hand, so no order is checked."
    images = {search.n for seeds in found.searches.values() for search in seeds}
    note = f"Search effort on {' or '.join(map(str, sorted(images)))} images: {found.efforts[-1]}"
    if len(found.efforts) > 1:
        return f"{note}; orders are checked against the quick search ({found.efforts[0]})."
    if len([r for r in found.rows if found.searches[r.index]]) < 2:
        return f"{note}."
    how = "`lcrbench lipschitz --preset full` looks longer"
    if any(r.runs for r in found.rows):
        how = "`lcrbench lipschitz RUN ... --preset full` looks longer, and the next report of the store shows it"
    return f"{note}. No longer search checks the orders: {how}."


LAYER_FIGURES = {
    "lower": Key("lipschitz_norms", "upper", norm="l2"),
    "upper": Key("lipschitz_norms", "upper", norm="l2"),
    "block": Key("lipschitz_product", "surrogate", norm="l2"),
    "p1": Key("lipschitz_proxy", "p1"),
    "sigma_1": Key("lipschitz_proxy", "sigma_1"),
    "gain": Key("lipschitz_layer_gain", norm="l2"),
}
"""What is known of a layer, block or stage: the key of each figure but for the layer's name."""


def layers(row: Row) -> list[str]:
    """Return the names of a row's layers, blocks and stages: layers in the order of use, then blocks, stages last."""
    # Norms are measured of every layer, and in the order of use.
    metrics = dict.fromkeys(["lipschitz_norms", *(k.metric for k in LAYER_FIGURES.values())])
    names = dict.fromkeys(k.layer for metric in metrics for k in row.values if k.layer and k.metric == metric)
    stages = sorted((n for n in names if n.startswith("stage ")), key=lambda n: int(n.removeprefix("stage ")))
    return [n for n in names if not n.startswith("stage ")] + stages


def layer_value(row: Row, name: str, figure: str) -> float | None:
    """Return one figure of a layer, the mean over a row's seeds; None if it was not measured."""
    found = row.values.get(LAYER_FIGURES[figure]._replace(layer=name))
    if not found and figure == "block":
        found = row.values.get(Key("lipschitz_product", "network", norm="l2", layer=name))
    if not found:
        return None
    values = [m.low if figure == "lower" else m.value for m in found]
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def drawn(found: Lipschitz) -> list[Row]:
    """Return the rows that figures draw, as elsewhere in a report: all, or the reference and the most accurate."""
    return chosen(Setting(0, tuple(found.rows), found.rows[0])) if all(r.runs for r in found.rows) else found.rows
