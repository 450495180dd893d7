"""Published numbers: each has a source and names what exists; printed only beside runs that they are the numbers of."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lcrbench import registry
from lcrbench.bench.records.store import Store
from lcrbench.models import network as networks
from lcrbench.reports import comparison, published, report
from lcrbench.reports.context import Context
from lcrbench.reports.tables import published as published_table

from . import make_store

PAD = {"shortcut": "pad", "convs": 1}
CIFAR: dict[str, object] = {"data": "cifar10", "train": 50_000, "n": 10_000, "backbone": "resnet20", "topology": PAD}


def test_each_number_has_a_source_and_names_what_exists() -> None:
    every = published.numbers()
    assert len({repr(p) for p in every}) == len(every) > 30
    for p in every:
        assert networks.choose(p.method).label == p.method
        assert p.network in registry.names("backbone")
        assert p.data in published.data_sets()
        known = networks.topology(p.network)[1]
        for name, value in p.topology.items():
            assert type(value) is type(known[name])
        assert p.source
        assert p.certainty != "readme" or "README" in p.source
        assert 40 < p.top1 < 100
        assert p.top5 is None or p.top1 < p.top5 < 100


def number(label: str, **changes: object) -> list[float]:
    record, _ = make_store.make(label, 0, **CIFAR | changes)  # type: ignore[arg-type]
    return [p.top1 for p in published.of(record)]


def test_a_run_has_the_number_of_its_method_data_and_topology() -> None:
    assert number("irnet") == [86.5]
    assert number("rbnn") == [87.8]
    assert number("rbnn", topology={"shortcut": "pad", "convs": 2}) == [86.5]
    assert number("irnet", backbone="vgg_small", topology={}) == [90.4]
    assert number("irnet", backbone="resnet20:shortcut=pad") == [86.5]


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "cifar10-jpeg75"},
        {"data": "fashion-mnist-10k"},
        {"data": "cifar100"},
        {"train": 10_000},
        {"n": 2_000},
        {"size": 64},
        {"classes": 100},
        {"topology": PAD | {"shortcut": "real"}},
        {"topology": PAD | {"convs": 2}},
        {"topology": {}},
        {"backbone": "resnet18"},
        {"audited": "none"},
        {"audited": "failed"},
    ],
)
def test_nothing_else_has_a_number(changes: dict[str, object]) -> None:
    assert number("irnet", **changes) == []


def test_other_methods_have_none() -> None:
    assert number("irnet+lcr") == []
    assert number("rbnn:gradient=straight") == []
    assert number("reste") == [87.92]
    assert number("reste:block=shared") == []
    assert number("irnet:t_min=0.01") == []


def test_unverified_numbers_are_never_printed() -> None:
    secondary = [p for p in published.numbers() if p.certainty == "secondary"]
    assert len(secondary) >= 5
    for p in secondary:
        data = published.data_sets()[p.data]
        record, _ = make_store.make(
            p.method,
            0,
            data=data.names[0],
            train=data.train,
            n=200,
            classes=data.classes,
            size=data.size,
            backbone=p.network,
            topology={"stem": "auto", "shortcut": "real", "convs": 1} | p.topology,
        )
        whole = record.model_copy(
            update={
                "spec": record.spec.model_copy(update={"data": record.spec.data.model_copy(update={"test": data.test})})
            }
        )
        assert p not in published.of(whole)
        assert all(q.certainty == "readme" for q in published.of(whole))
    # The two-step training of ReActNet is nothing that a record proves.
    assert not [p for p in published.numbers() if p.note and p.printable and p.method != "reactnet"]


def test_the_table_stands_in_page_and_files_where_a_number_is_sourced(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    for label in ("full_precision", "irnet", "irnet+lcr"):
        make_store.add(store, label, 0, **CIFAR)
    out = report.write(store, tmp_path / "report").parent
    table = pd.read_csv(out / "published.csv")
    assert table["method"].tolist() == ["irnet"]
    assert table["Clean accuracy published (%)"].tolist() == [86.5]
    assert table["Clean accuracy ours (%)"].iloc[0] == pytest.approx(make_store.count("irnet", 0) / 2)
    assert table["Clean accuracy ours (%) n"].iloc[0] == 10_000
    assert table["Budget ours (epochs)"].iloc[0] == pytest.approx(60_000 / 50_000)
    assert table["Budget published (epochs)"].iloc[0] == 400
    for name in ("index.html", "table.md", "table.tex"):
        text = (out / name).read_text(encoding="utf-8").replace("\\", "")
        assert "86.50" in text
        assert "README of htqin/IR-Net, commit f63a590" in text
    assert "published.csv" in (out / "index.html").read_text(encoding="utf-8")


def test_there_is_no_such_table_on_other_data(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    make_store.add(store, "irnet", 0, **CIFAR | {"data": "cifar10-jpeg75"})
    assert published_table.table(Context(comparison.read(store).settings[0])) is None
    out = report.write(store, tmp_path / "report").parent
    assert not (out / "published.csv").exists()
    for name in ("index.html", "table.md", "table.tex"):
        assert "ublished" not in (out / name).read_text(encoding="utf-8").replace("published errors", "")
