"""Reads what evaluations hold of Lipschitz searches: those of `lcrbench run`, and those of `lcrbench lipschitz`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from lcrbench.bench.records.by_image import ByImage
from lcrbench.bench.records.measurement import Measurement
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports import identity
from lcrbench.reports.comparison import MOST_COLUMNS, Key, Row, Setting, chosen
from lcrbench.reports.lipschitz.found import Lipschitz, network_values
from lcrbench.reports.lipschitz.search import Search, searched


@dataclass(eq=False)
class _Source:
    """What one batch measured of a run's network, as a record, and what reads its figures by image."""

    record: Record
    by_image: Callable[[], ByImage]

    @property
    def created(self) -> str:
        return self.record.provenance.created

    @cached_property
    def metrics(self) -> dict[str, list[Measurement]]:
        """Return the record's Lipschitz metrics, in its order, with their numbers; of some there may be none."""
        found: dict[str, list[Measurement]] = {}
        ours = _names(self.record)
        for m in self.record.measurements:
            if m.metric in ours:
                found.setdefault(m.metric, []).append(m)
        for name in self.record.left_out:
            if name in ours:
                found.setdefault(name, [])
        return found

    @property
    def search(self) -> str:
        """Return by which options the record searched, as text; "" if it holds no search."""
        return identity.searched(self.record, self.searched)

    @cached_property
    def searched(self) -> list[str]:
        """Return the metrics of the record that share its search."""
        return searched(self.record.metrics, self.metrics)


def read(setting: Setting, store: Store) -> Lipschitz | None:
    """Return the Lipschitz figures of a setting's finished runs; None if nothing was measured.

    Runs without the search that is shown are left out, unless no run of their method has it.
    """
    runs = [run for row in setting.rows for run in row.runs]
    notes: list[str] = []
    sources = {run.run_id: _searches(store, run, notes) for run in runs}
    if not any(s.metrics for known in sources.values() for s in known):
        return None
    shown_of = _one_search(sources)

    def about(run: Record) -> Record | None:
        """Return the run with what is shown of it; None if there is nothing, or only what no search goes with."""
        by_metric: dict[str, _Source] = {}
        for source in sources[run.run_id]:
            by_metric |= {name: source for name in source.metrics if name not in source.searched}
        if search := shown_of.get(run.run_id):
            by_metric |= dict.fromkeys(search.searched, search)
        if not by_metric:
            return None
        shown = [m for name, s in by_metric.items() for m in s.metrics[name]]
        ours = _names(run)
        rest = [m for m in run.measurements if m.metric not in ours]
        reasons = {name: s.record.left_out[name] for name, s in by_metric.items() if name in s.record.left_out}
        infos = {name: s.record.metrics[name] for name, s in by_metric.items() if name in s.record.metrics}
        update = {"measurements": (*rest, *shown), "left_out": reasons, "metrics": run.metrics | infos}
        return run.model_copy(update=update)

    every: list[Row] = []
    compared = {row.index for row in chosen(setting, MOST_COLUMNS)}
    searches: dict[int, list[Search]] = {}
    left_out = 0
    for row in setting.rows:
        whole = [run for run in row.runs if run.run_id in shown_of] or list(row.runs)
        used = [known for run in whole if (known := about(run)) is not None]
        left_out += len(row.runs) - len([run for run in used if run.run_id in shown_of])
        if not used:
            continue
        values = {k: v for k, v in row.values.items() if not row.lipschitz(k.metric)}
        infos = dict(row.infos)
        for run in used:
            infos |= run.metrics
            ours = _names(run)
            for m in run.measurements:
                if m.metric in ours:
                    values.setdefault(Key.of(m), []).append(m)
        every.append(
            replace(row, runs=tuple(used), values=values, infos=infos, _estimates={}, _per_seed={}, _counts={})
        )
        searches[row.index] = []
        if row.index not in compared:
            continue
        for source in (shown_of[run.run_id] for run in used if run.run_id in shown_of):
            try:
                found = Search.of(source.by_image(), source.record.metrics)
                searches[row.index] += [found] if found.figures else []
            except UserError as error:
                notes.append(_inside(store, error))
    if shown_of and left_out:
        notes.append(f"{left_out} of {len(runs)} runs have no figures by this search.")
    later = [sources[run_id][sources[run_id].index(shown) + 1 :] for run_id, shown in shown_of.items()]
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
    networks = {row.index: [network_values(run.measurements, run.metrics) for run in row.runs] for row in every}
    return Lipschitz(rows, every, searches, networks, notes)


def _names(record: Record) -> set[str]:
    """Return the record's metrics that stand in the Lipschitz part, of which it has thousands of numbers."""
    return {name for name in record.metrics if record.lipschitz(name)}


def _searches(store: Store, run: Record, notes: list[str]) -> list[_Source]:
    """Return what each batch measured of a run's network, the latest last."""
    try:
        return [_Source(*found) for found in store.searches(run.run_id)]
    except UserError as error:
        notes.append(_inside(store, error))
        return []


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
