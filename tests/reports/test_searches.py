"""Searches in a store: batches of an evaluation, and records beside runs of an older schema; which one is shown."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lcrbench.bench.records.by_image import ByImage
from lcrbench.bench.records.grid import Option
from lcrbench.bench.records.measurement import Detail
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, lipschitz
from lcrbench.reports.comparison import Key
from lcrbench.reports.context import Context
from lcrbench.reports.tables import main

from . import make_store

SEARCHED = lipschitz.searched(make_store.INFOS, make_store.INFOS)
METHODS = ("full_precision", "bnn", "irnet", "irnet+lcr")


def pairs(found: lipschitz.Lipschitz) -> list[lipschitz.Verdict]:
    """Return the verdicts on kappa at the middle radius."""
    return [v for v in found.verdicts if v.figure == found.primary]


def searched(label: str, only: tuple[str, ...], factor: float, **options: Option) -> tuple[Record, ByImage]:
    """Return a later search of a run: its metrics of these names with these options, each number times `factor`."""
    record, files = make_store.make(label, 0)
    kept = tuple(
        m.model_copy(update={"value": factor * m.value}) for m in record.measurements if m.metric.startswith(only)
    )
    spec = record.spec.model_copy(update={"metrics": {m.metric: dict(options) for m in kept}})
    return record.model_copy(update={"spec": spec, "measurements": kept}), files.by_image


def test_a_later_search_stands_in_for_the_runs_own(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    for label in ("full_precision", "bnn"):
        longer, files = make_store.make(label, 0, efforts=2)
        spec = longer.spec.model_copy(update={"metrics": {name: {"steps": 60} for name in SEARCHED}})
        kept = tuple(m for m in longer.measurements if m.metric in SEARCHED)
        later = longer.model_copy(update={"spec": spec, "measurements": kept})
        make_store.write(store, *make_store.make(label, 0), (later, files.by_image))
    setting = comparison.read(store).settings[0]
    found = lipschitz.read(setting, store)
    assert found is not None
    assert found.efforts == list(make_store.EFFORTS)
    assert not found.notes
    key = Key("lipschitz_kappa", "q50", norm="l2", radius=16 / 255)
    for shown_there, effort in ((None, 0), (found, 1)):
        table = main.table(Context(setting, lipschitz=shown_there))
        column = next(
            k for k, c in enumerate(table.columns) if c.head == "Kappa" or c.title.startswith("median, lower")
        )
        shown = {r.label: r.cells[column].value for r in table.rows}
        spread = np.median(np.random.default_rng(7).lognormal(0, 0.3, make_store.IMAGES))
        assert shown == pytest.approx({m: 3 * make_store.KAPPA[m][effort] * spread for m in ("full_precision", "bnn")})
    assert found.rows[0].per_seed(key) != setting.rows[0].per_seed(key)


def test_what_one_batch_lacks_comes_from_the_other(tmp_path: Path) -> None:
    """Layers measured apart leave the run's own search in place, and a search of fewer runs is not shown beside it."""
    store = Store(tmp_path, create=True)
    later = {
        "irnet": searched("irnet", ("lipschitz_norms", "lipschitz_clever"), 10),
        "bnn": searched("bnn", ("lipschitz_kappa",), 10, steps=60),
    }
    for label in METHODS:
        make_store.write(store, *make_store.make(label, 0), *([later[label]] if label in later else []))
    found = lipschitz.read(comparison.read(store).settings[0], store)
    assert found is not None
    assert [r.label for r in found.rows] == list(METHODS)
    (note,) = found.notes
    assert note.startswith("1 of 4 runs have a later search with other options, which is not shown")
    rows = {r.label: r for r in found.rows}
    layer = Key("lipschitz_norms", "upper", layer="body.blocks.0.conv", norm="l2")
    kappa = Key("lipschitz_kappa", "q50", norm="l2", radius=16 / 255)
    assert [rows[m].per_seed(layer) for m in ("bnn", "irnet")] == [[2.0], [20.0]]
    own = {m: rows[m].per_seed(kappa)[0] for m in ("bnn", "irnet")}
    assert own["bnn"] == pytest.approx(own["irnet"] * 0.032 / 0.1), "both by the quick search"
    assert len(pairs(found)) == 6
    proxy = rows["irnet"].per_seed(Key("lipschitz_proxy", layer="body.blocks.0.conv", detail=Detail(form="p1")))
    assert proxy == [48.0], "the run's own, which the later batch lacks"
    runs = {r.label: r.runs[0] for r in found.rows}
    assert {m.value for m in runs["irnet"].measurements if m.metric == "lipschitz_norms"} == {
        10 * (2.0 + k) for k in range(make_store.LAYERS)
    }


def test_of_several_batches_the_last_one_counts(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    norms, proxies, norms_again = (
        searched("irnet", (name,), factor)
        for name, factor in (("lipschitz_norms", 10), ("lipschitz_proxy", 10), ("lipschitz_norms", 100))
    )
    make_store.write(store, *make_store.make("irnet", 0), norms, proxies, norms_again)
    layer = Key("lipschitz_norms", "upper", layer="body.blocks.0.conv", norm="l2")
    found = lipschitz.read(comparison.read(store).settings[0], store)
    assert found is not None
    assert found.rows[0].per_seed(layer) == [200.0]
    assert found.rows[0].per_seed(Key("lipschitz_proxy", layer="body.blocks.0.conv", detail=Detail(form="p1"))) == [
        480.0
    ]


OLD = Path(__file__).parents[1] / "fixtures" / "store-schema-3"


def searched_before(root: Path, run_id: str, **ledger: object) -> None:
    """Write what `lcrbench lipschitz` wrote beside a run of schema 3: its search again, each number ten times the run's."""
    record = json.loads((root / run_id / "record.json").read_text(encoding="utf-8"))
    record["run_id"] = run_id[::-1]
    record["spec"]["metrics"] = {
        name: options | {"steps": 60} for name, options in record["spec"]["metrics"].items() if name in SEARCHED
    }
    record["measurements"] = [m | {"value": 10 * m["value"]} for m in record["measurements"] if m["metric"] in SEARCHED]
    record["files"] = {"by_image.npz": record["files"]["by_image.npz"]}
    record["ledger"] |= ledger
    folder = root / "lipschitz" / record["run_id"]
    folder.mkdir(parents=True)
    text = json.dumps(record)
    (folder / "record.json").write_text(text, encoding="utf-8")
    (folder / "record.sha256").write_text(hashlib.sha256(text.encode()).hexdigest(), encoding="utf-8")
    shutil.copy(root / run_id / "by_image.npz", folder)


def test_searches_beside_runs_of_an_older_schema_are_read(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "store")
    store = Store(tmp_path / "store")
    own = lipschitz.read(comparison.read(store).settings[0], store)
    for run_id in store.ids():
        searched_before(store.root, run_id)
    found = lipschitz.read(comparison.read(store).settings[0], store)
    assert found is not None
    assert own is not None
    assert not found.notes
    assert [len(s) for s in found.searches.values()] == [1] * 4, "the figures by image of each run's search"
    key = next(k for k in own.rows[0].values if k.metric == "lipschitz_kappa" and k.statistic == "q50")
    norm = next(k for k in own.rows[0].values if k.metric == "lipschitz_norms")
    for before, after in zip(own.rows, found.rows, strict=True):
        assert after.per_seed(key) == [10 * v for v in before.per_seed(key)]
        assert after.per_seed(norm) == before.per_seed(norm), "what the search did not measure is the run's own"


def test_a_search_of_a_run_that_was_made_again_is_not_shown(tmp_path: Path) -> None:
    """Its ledger tells: the network that was searched is another one."""
    shutil.copytree(OLD, tmp_path / "store")
    store = Store(tmp_path / "store")
    own = lipschitz.read(comparison.read(store).settings[0], store)
    for run_id in store.ids():
        searched_before(store.root, run_id, data_order_sha256="0" * 64)
    found = lipschitz.read(comparison.read(store).settings[0], store)
    assert found is not None
    assert own is not None
    assert [r.values for r in found.rows] == [r.values for r in own.rows]


def test_a_method_without_the_search_shows_its_layers(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    make_store.add(store, "irnet", 0)
    record, files = make_store.make("bnn", 0)
    layers = tuple(m for m in record.measurements if m.metric not in SEARCHED)
    make_store.write(store, record.model_copy(update={"measurements": layers}), files._replace(by_image={}))
    found = lipschitz.read(comparison.read(store).settings[0], store)
    assert found is not None
    assert [r.label for r in found.rows] == ["bnn", "irnet"]
    assert lipschitz.layers(found.rows[0])
    assert found.notes == ["1 of 2 runs have no figures by this search."]
    assert not found.verdicts


def test_a_damaged_file_costs_its_network_alone(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    for label in METHODS:
        damaged = make_store.add(store, label, 0)
    (store.evaluations.folder(damaged.spec.evaluation_id) / "by_image-0.npz").write_bytes(b"no")
    found = lipschitz.read(comparison.read(store).settings[0], store)
    assert found is not None
    assert "damaged" in " ".join(found.notes)
    assert len(pairs(found)) == 3
