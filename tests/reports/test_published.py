"""Published numbers: each has a source and names what exists; printed only beside runs that they are the numbers of."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lcrbench import registry
from lcrbench.bench.cli import _published as shown
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.reports import comparison, published, report
from lcrbench.reports.context import Context
from lcrbench.reports.published import DataSet, Official, Published
from lcrbench.reports.tables import published as published_table

from . import make_store

ROOT = Path(__file__).resolve().parents[2]
ARXIV = re.compile(r"\d{4}\.\d{5}")
SMALL20 = {"shortcut": "pad", "convs": 1, "stem_activation": True, "head_norm": True}
CIFAR: dict[str, Any] = {"data": "cifar10", "train": 50_000, "n": 10_000, "backbone": "resnet20", "topology": SMALL20}
TRAIN_SHA = "7" * 64
SHAPES = {
    "cifar10": {"data": "cifar10", "train": 50_000, "n": 10_000, "size": 32, "classes": 10},
    "imagenet": {"data": "imagenet", "train": 1_281_167, "n": 50_000, "size": 224, "classes": 1000},
}


def sha_of(data: str, size: int, classes: int, train: int, n: int) -> str:
    """Return the hash that `make_store` gives to a data set."""
    return hashlib.sha256(repr((data, size, classes, train, n)).encode()).hexdigest()


def with_official(names: tuple[str, ...] = ("cifar10", "imagenet")) -> dict[str, DataSet]:
    """Return the data sets as they are once the hashes of these official files are written down."""
    return {
        name: d.model_copy(
            update={"official": (Official(layout="made up", sha256=_sha(name), train_sha256=TRAIN_SHA),)}
        )
        if name in names
        else d
        for name, d in published.data_sets().items()
    }


def _sha(name: str) -> str:
    s: Any = SHAPES[name]
    return sha_of(s["data"], s["size"], s["classes"], s["train"], s["n"])


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write down the hashes of the made-up data sets."""
    sets = with_official()
    monkeypatch.setattr(published, "data_sets", lambda: sets)


def run(label: str, **changes: Any) -> Record:
    return make_store.make(label, 0, **CIFAR | changes)[0]


def number(label: str, **changes: Any) -> list[float]:
    return [p.top1 for p in published.of(run(label, **changes))]


# ------------------------------------------------------------------------------------------------------ what is written


def test_each_number_has_a_source_and_names_what_exists() -> None:
    every = published.numbers()
    assert len({repr(p) for p in every}) == len(every) > 50
    for p in every:
        assert p.data in published.data_sets()
        assert p.paper in {"", *published.papers()}
        assert p.source
        assert (p.certainty == "readme") == (not p.read_in)
        assert (p.epochs is None) == (p.epochs_from is None)
        assert 40 < p.top1 < 100
        assert p.top5 is None or p.top1 < p.top5 < 100
        if not p.built:
            continue
        # The form is one that can be typed, and says nothing that is the default.
        assert networks.choose(p.label).label == p.label
        known = networks.topology(p.network)[1]
        # The network as it is printed is one that can be typed.
        name, typed = networks.topology(p.network_text)
        assert name == p.network
        assert all(typed[k] in (v if isinstance(v, list) else [v]) for k, v in p.topology.items())
        for name, value in p.topology.items():
            values = value if isinstance(value, list) else [value]
            default = known.get(name, published.LATER.get(name))
            assert all(type(v) is type(default) for v in values), name
        if not p.kept_back or p.kept_back == "the hash of the official data is not known":
            # A number that may stand beside a run tells every option of its network.
            assert {*known} <= {*p.topology}, p
    for name, value in published.LATER.items():
        for backbone in registry.files("backbone"):
            assert networks.topology(backbone)[1].get(name, value) == value


def test_each_paper_has_its_links_and_each_method_its_paper() -> None:
    papers = published.papers().values()
    entries = [entry for p in papers for entry in p.entries]
    assert len({*entries}) == len(entries)
    for p in papers:
        assert re.fullmatch(r"\d{4}\.\d{5}", p.arxiv)
        if p.repository:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", p.repository)
            assert re.fullmatch(r"[0-9a-f]{7}", p.commit)
        else:
            assert (p.code, p.commit, published.of_paper(p.id)) == ("", "", []), (
                "a number needs a place that it was read in"
            )
        assert 2000 + int(p.arxiv[:2]) <= p.year <= 2000 + int(p.arxiv[:2]) + 2
    # An entry that cites a paper of the list is one of it. A start from a trained network is no paper's own.
    listed = {p.arxiv for p in papers}
    for kind in ("method", "regularizer"):
        for name in {*registry.files(kind)} - {"finetune"}:
            cited = ARXIV.findall(registry.docstring(kind, name))
            assert published.paper_of(name) is not None or not {*cited} & listed, (name, cited)


def test_numbers_that_no_record_proves_are_kept_back(official: None) -> None:
    kept = [p for p in published.numbers() if p.kept_back]
    assert {p.method for p in kept if "two steps" in p.note} >= {"reactnet", "ab_bnn"}
    assert all(p in kept for p in published.numbers() if p.certainty == "secondary" or not p.built)
    for p in kept:
        if p.built:
            assert p not in published.of(of_number(p))


# ---------------------------------------------------------------------------------------------------- what stands beside


def of_number(p: Published, **changes: Any) -> Record:
    """Return the run whose form, data and topology are a number's."""
    topology = {name: value[0] if isinstance(value, list) else value for name, value in p.topology.items()}
    shape = SHAPES[p.data] | {"backbone": p.network, "topology": topology, "corruptions": ()}
    if p.data == "imagenet":  # fifty thousand outcomes take a while: the number of images is put in afterwards
        shape |= {"n": 200}
    record = make_store.make(p.label, 0, **shape | changes)[0]  # type: ignore[arg-type]
    spec = record.spec
    test = spec.protocol.test.model_copy(
        update={"sha256": _sha(p.data), "images": published.data_sets()[p.data].test} if "data" not in changes else {}
    )
    train = spec.training.data.model_copy(
        update={"sha256": TRAIN_SHA, "both_sha256": ""} if "data" not in changes else {}
    )
    training = spec.training.model_copy(update={"data": train})
    protocol = spec.protocol.model_copy(update={"test": test})
    return record.model_copy(update={"spec": spec.model_copy(update={"training": training, "protocol": protocol})})


READY = [p for p in published.numbers() if not p.note and p.certainty == "readme" and p.built]
NAMES = [f"{p.label}-{p.data}-{p.network}-{p.top1}" for p in READY]


@pytest.mark.parametrize("p", READY, ids=NAMES)
def test_a_number_stands_beside_the_run_of_its_form_data_and_topology(p: Published, official: None) -> None:
    assert p in published.of(of_number(p))


@pytest.mark.parametrize("p", READY, ids=NAMES)
def test_no_number_stands_beside_another_form(p: Published, official: None) -> None:
    # Each option of the method, away from what the number needs, and each regularizer.
    for name, default in _options(p.method).items():
        other = p.model_copy(update={"form": p.form | {name: _another(p.form.get(name, default))}})
        assert other.label != p.label
        assert p not in published.of(of_number(other)), other.label
    assert p not in published.of(of_number(p.model_copy(update={"regularizers": {"lcr": {}}})))


@pytest.mark.parametrize("p", READY, ids=NAMES)
def test_no_number_stands_beside_another_topology(p: Published, official: None) -> None:
    for name, told in p.topology.items():
        if isinstance(told, list):
            if isinstance(told[0], bool):
                continue  # the two values make one network
            other: Any = "another"
        else:
            other = _another(told)
        assert p not in published.of(of_number(p, topology=_first(p) | {name: other})), name
    assert p not in published.of(of_number(p, topology=_first(p) | {"width": 2}))


def _options(method: str) -> dict[str, Any]:
    found = registry.load("method", method).Method()
    return {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}


def _first(p: Published) -> dict[str, Any]:
    return {name: value[0] if isinstance(value, list) else value for name, value in p.topology.items()}


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, (int, float)) else f"{value}-other"


def test_the_vgg_small_of_irnet_needs_its_own_t_min(official: None) -> None:
    vgg: dict[str, Any] = {"backbone": "vgg_small", "topology": {}}
    assert number("irnet:t_min=0.1", **vgg) == [90.4]
    assert number("irnet", **vgg) == []
    assert number("irnet:t_min=0.1") == []
    assert number("irnet") == [86.5]


def test_other_forms_of_rbnn_and_reste_have_none(official: None) -> None:
    assert number("rbnn") == [87.8]
    assert number("rbnn", topology=SMALL20 | {"convs": 2}) == [86.5]
    assert number("rbnn:gradient=straight") == []
    assert number("reste") == [87.92]
    assert number("reste:block=shared") == []


@pytest.mark.parametrize("preset", [name for name in registry.names("preset") if name.endswith("-paper")])
def test_a_paper_preset_has_the_topology_of_irnets_paper(preset: str) -> None:
    """These presets are of IR-Net and LCR on it: stem, shortcut and head are those of IR-Net's published number."""
    grid = tomllib.loads((ROOT / "bench" / "presets" / f"{preset}.toml").read_text(encoding="utf-8"))
    name, topology = networks.topology(grid["backbone"])
    data = preset.removesuffix("-paper")
    (p,) = (
        p for p in published.numbers() if (p.method, p.data, p.network, p.certainty) == ("irnet", data, name, "readme")
    )
    assert set(p.topology) == set(topology)
    for option, told in p.topology.items():
        assert topology[option] in (told if isinstance(told, list) else [told]), option


def test_the_stem_and_the_shortcut_of_resnet18_are_the_papers(official: None) -> None:
    binary = {"stem": "auto", "shortcut": "binary", "convs": 2, "stem_activation": False, "head_norm": True}
    parts: dict[str, Any] = {"backbone": "resnet18:shortcut=binary,convs=2,stem_activation=false"}
    assert number("rbnn", topology=binary, **parts) == [92.2]
    assert number("rbnn", topology=binary | {"stem": "cifar"}, **parts) == [92.2]
    assert number("rbnn", topology=binary | {"stem": "imagenet"}, **parts) == []
    assert number("rbnn", topology=binary | {"stem_activation": True}, **parts) == []
    assert number("rbnn", topology=binary | {"head_norm": False}, **parts) == []
    # A record from before the options: its stem had the activation.
    assert number("rbnn", topology={k: binary[k] for k in ("stem", "shortcut", "convs")}, **parts) == []
    assert number("recu", topology=binary, **parts) == []
    assert number("recu", topology=binary | {"shortcut": "pool-pad"}, **parts) == [92.8]
    # Its training code is not released, so what t_min it had is not known.
    assert number("irnet", topology=binary | {"shortcut": "real"}, **parts) == []


@pytest.mark.parametrize("head_norm", [False, True])
@pytest.mark.parametrize("stem_activation", [False, True])
def test_bi_real_nets_head_has_no_batch_norm(stem_activation: bool, head_norm: bool, official: None) -> None:
    # Its activation is the identity, with which a stem is the same network.
    p = next(p for p in READY if (p.method, p.network) == ("bi_real", "resnet18"))
    topology = _first(p) | {"stem_activation": stem_activation, "head_norm": head_norm}
    assert (p in published.of(of_number(p, topology=topology))) is not head_norm


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "cifar10-jpeg75"},
        {"train": 10_000},
        {"n": 2_000},
        {"size": 64},
        {"classes": 100},
        {"topology": SMALL20 | {"shortcut": "real"}},
        {"topology": SMALL20 | {"convs": 2}},
        {"topology": {}},
        {"backbone": "resnet18"},
        {"audited": "none"},
        {"audited": "failed"},
    ],
)
def test_nothing_else_has_a_number(changes: dict[str, object], official: None) -> None:
    assert number("irnet", **changes) == []


@pytest.mark.parametrize(
    ("method", "options", "label", "found"),
    [
        ("rbnn", {"rotations": 20}, "rbnn:gradient=straight", []),
        ("rbnn", {"rotations": 20, "gradient": "released"}, "rbnn", [87.8]),
        ("reste", {"o_end": 3.0}, "reste:block=shared", []),
        ("reste", {"o_end": 3.0, "block": "released"}, "reste", [87.92]),
    ],
)
def test_a_run_from_before_a_form_is_not_shown_as_that_form(
    tmp_path: Path, official: None, method: str, options: dict[str, object], label: str, found: list[float]
) -> None:
    store = Store(tmp_path, create=True)
    record, files = make_store.make(method, 0, **CIFAR)  # type: ignore[arg-type]
    assert record.model is not None
    model = record.model.model_copy(update={"options": {method: options}})
    make_store.write(store, record.model_copy(update={"model": model}), files)
    (row,) = comparison.read(store).settings[0].rows
    assert row.label == label
    assert [p.top1 for p in published.of(row.runs[0])] == found


# -------------------------------------------------------------------------------------------------------- by which data


def test_until_the_official_hash_is_known_no_run_has_a_number() -> None:
    assert all(not d.official for d in published.data_sets().values())
    assert number("irnet") == []
    for p in READY:
        assert published.of(of_number(p)) == []


def test_other_pictures_under_the_name_have_none(official: None) -> None:
    record = run("irnet")
    assert len(published.of(record)) == 1
    other = record.spec.protocol.test.model_copy(update={"sha256": "0" * 64})
    assert published.of(changed(record, test=other)) == []
    # And the official pictures have it under any name.
    named = record.spec.protocol.test.model_copy(update={"name": "a copy of mine"})
    assert len(published.of(changed(record, test=named))) == 1


def test_parts_of_the_official_pictures_have_none(official: None) -> None:
    record = run("irnet")
    train, test = record.spec.training.data, record.spec.protocol.test
    known = train.model_copy(update={"sha256": TRAIN_SHA, "both_sha256": ""})
    assert len(published.of(changed(record, train=known))) == 1
    assert published.of(changed(record, train=known.model_copy(update={"sha256": "1" * 64}))) == []
    assert published.of(changed(record, train=known.model_copy(update={"images": 10_000}))) == []
    assert published.of(changed(record, train=train.model_copy(update={"both_sha256": "1" * 64}))) == []
    assert published.of(changed(record, test=test.model_copy(update={"chosen": 2_000}))) == []


def changed(record: Record, **parts: Any) -> Record:
    spec = record.spec
    if "train" in parts:
        spec = spec.model_copy(update={"training": spec.training.model_copy(update={"data": parts["train"]})})
    if "test" in parts:
        spec = spec.model_copy(update={"protocol": spec.protocol.model_copy(update={"test": parts["test"]})})
    return record.model_copy(update={"spec": spec})


# ------------------------------------------------------------------------------------------------- the table, the lists


def test_the_table_stands_in_page_and_files_where_a_number_is_sourced(
    tmp_path: Path, undrawn: None, official: None
) -> None:
    store = Store(tmp_path / "store", create=True)
    for label in ("full_precision", "irnet", "irnet+lcr", "rbnn"):
        make_store.add(store, label, 0, **CIFAR)
    out = report.write(store, tmp_path / "report").parent
    table = pd.read_csv(out / "published.csv").set_index("method")
    assert sorted(table.index) == ["irnet", "rbnn"]
    ours = table.loc["irnet"]
    assert ours["Clean accuracy published (%)"] == 86.5
    assert ours["Clean accuracy ours (%)"] == pytest.approx(make_store.count("irnet", 0) / 2)
    assert ours["Clean accuracy ours (%) n"] == 10_000
    assert ours["Budget ours (epochs)"] == pytest.approx(60_000 / 50_000)
    assert ours["Budget published (epochs)"] == 400
    assert table["Budget epochs read in"].to_dict() == {"irnet": "code", "rbnn": "README"}
    for name in ("index.html", "table.md", "published.tex"):
        text = (out / name).read_text(encoding="utf-8").replace("\\", "").replace("hspace{0pt}", "")
        assert "86.50" in text
        assert "README of htqin/IR-Net, commit f63a590" in text
        assert "Qin et al., CVPR 2020, arXiv 1909.10788" in text
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "published.csv" in page
    assert '<a href="https://arxiv.org/abs/1909.10788">IR-Net</a>' in page
    assert '<a href="https://github.com/htqin/IR-Net">README of htqin/IR-Net' in page
    assert "[IR-Net](https://arxiv.org/abs/1909.10788)" in (out / "table.md").read_text(encoding="utf-8")


def test_there_is_no_such_table_on_data_that_are_not_known(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    make_store.add(store, "irnet", 0, **CIFAR)
    assert published_table.table(Context(comparison.read(store).settings[0])) is None
    out = report.write(store, tmp_path / "report").parent
    assert not (out / "published.csv").exists()
    assert not (out / "published.tex").exists()
    for name in ("index.html", "table.md"):
        assert "ublished" not in (out / name).read_text(encoding="utf-8").replace("published errors", "")


def test_lists_show_every_number_and_where_its_epochs_were_read() -> None:
    text = shown.every()
    for p in published.numbers():
        assert p.label in text
        assert f"{p.top1:.2f}" in text
    for paper in published.papers().values():
        assert paper.title in text
        assert paper.link in text
        assert paper.code in text
    assert "Of CIFAR-10 and ImageNet the hash of the official data is not known yet" in text
    irnet = shown.of_name("irnet")
    assert "400 (code)" in irnet
    assert "1,000 (README)" in shown.of_entry("rbnn")
    assert shown.of_name("lcr_fixed") == shown.of_name("lcr")
    # A method that is not built has its row.
    assert "91.94" in shown.of_name("ab_bnn")
    assert "94.80" in shown.of_name("full_precision")
    with pytest.raises(UserError, match="did you mean 'irnet'"):
        shown.of_name("irnte")
