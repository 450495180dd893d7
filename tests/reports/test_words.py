"""What a report says first, and how it names things: the claim, methods, settings, what was stopped, the list of reports."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from lcrbench import registry
from lcrbench.bench.records.record import Failure, Record
from lcrbench.bench.records.spec import MethodId
from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, index, report
from lcrbench.reports.budget_proof import budget_proof
from lcrbench.reports.context import Context
from lcrbench.reports.significance import Outcomes
from lcrbench.reports.tables import differences
from lcrbench.reports.words import findings, notes
from lcrbench.reports.words.claim import _of_pair, claim
from lcrbench.reports.words.names import SHORT, entry_name, method_name

from . import make_store
from .make_foreign import add_foreign


def context(store: Store, compare: list[str] | None = None) -> Context:
    compared = comparison.read(store, compare=compare)
    return Context(compared.settings[0], compared, store, Outcomes(store))


def filled(root: Path, runs: dict[str, int], **options: object) -> Store:
    store = Store(root, create=True)
    for label, seeds in runs.items():
        for seed in range(seeds):
            make_store.add(store, label, seed, **options)
    return store


INTERVAL = r"\[[−\d.]+, [−\d.]+\]"


@pytest.mark.parametrize(
    ("runs", "options", "said"),
    [
        # Two points apart, with little and with much spread over the seeds.
        ({"irnet": 4, "irnet+lcr": 4}, {"spread": 0.25}, rf"LCR on IR-Net is 2\.00 points {INTERVAL} more accurate under "
         r"the common corruptions than IR-Net \(95 % interval over 4 training seeds each\)\."),
        ({"irnet": 2, "irnet+lcr": 2}, {"spread": 3.0}, rf"No difference is shown between LCR on IR-Net and IR-Net .*: "
         rf"\+2\.00 points {INTERVAL} \(95 % interval over 2 training seeds each; [\d.]+ points would have been found with"),
        # Without a regularizer the most accurate method stands against the reference.
        ({"full_precision": 3, "bnn": 3, "irnet": 3}, {"spread": 0.5}, rf"IR-Net is 13\.00 points {INTERVAL} less accurate "
         r"under the common corruptions than FP32"),
        # Also where a single method stands beside it.
        ({"full_precision": 3, "bnn": 3}, {"spread": 0.5}, rf"BNN is [\d.]+ points {INTERVAL} less accurate "
         r"under the common corruptions than FP32"),
        ({"irnet": 1, "irnet+lcr": 1}, {}, r"No difference is shown .*over 200 test images; .*\)\. With one "
         r"training seed this holds for these two networks"),
        ({"irnet": 3}, {}, rf"IR-Net has a mean corruption error of 43\.\d % {INTERVAL} "
         r"\(95 % interval over 3 training seeds\)"),
    ],
)  # fmt: skip
def test_the_claim_is_one_sentence_with_its_interval(
    tmp_path: Path, runs: dict[str, int], options: dict[str, object], said: str
) -> None:
    text = claim(context(filled(tmp_path, runs, **options)))
    assert re.match(said, text), text
    assert re.search(INTERVAL, text)


def test_a_claim_says_why_an_interval_without_zero_shows_nothing(tmp_path: Path) -> None:
    """Of many comparisons Holm's correction takes some away whose own interval leaves out 0."""
    shown = context(filled(tmp_path, {"irnet": 4, "irnet+lcr": 4}, spread=0.25))
    found = next(d for d in shown.differences["base", "common"] if d.interval is not None)
    assert _of_pair(found._replace(p=0.01, holm=0.02)).startswith("LCR on IR-Net is ")
    text = _of_pair(found._replace(p=0.01, holm=0.37))
    assert re.match(
        rf"No difference .* corruptions \(p = 0\.37, corrected for all comparisons by Holm\): .*{INTERVAL}", text
    )
    assert "(p = 0.2):" in _of_pair(found._replace(p=0.2, holm=None))


def test_without_a_finished_run_nothing_is_claimed(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    make_store.add(store, "irnet", 0, failure=Failure(reason="diverged", step=1, message="loss is nan"))
    assert claim(context(store)) == "No run has finished, so there is nothing to compare yet."


def test_networks_from_outside_alone_are_said_to_have_what_they_have(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    add_foreign(store, "Mine", 0)
    said = claim(context(store))
    assert re.fullmatch(
        rf"foreign:Mine has a mean corruption error of \d\d\.\d % {INTERVAL} \(95 % interval over 200 test images\)\. "
        "Its training budget is not known, so it is not ranked\\.",
        said,
    ), said
    add_foreign(store, "Other", 40)
    said = claim(context(store))
    assert re.fullmatch(
        r"2 networks from outside have mean corruption errors from \d\d\.\d to \d\d\.\d %\. .*so none is ranked\.", said
    ), said
    assert findings.title(context(store).comparison).startswith("Robustness of 2 networks on ")
    assert "No method has finished a training here" in budget_proof(context(store).setting).sentence


def test_methods_are_called_as_the_field_calls_them() -> None:
    names = {
        "full_precision": "FP32", "bnn": "BNN", "irnet": "IR-Net", "irnet+lcr": "LCR on IR-Net", "xnor_net": "XNOR-Net",
        "bi_real": "Bi-Real Net", "irnet+lcr:weight=2.0": "LCR (weight 2) on IR-Net",
        "irnet:t_min=0.01": "IR-Net (t_min 0.01)",
        "bnn+lcr+parseval": "LCR + Parseval on BNN", "reactnet+distill": "Distillation on ReActNet",
        "irnet+my_pkg.term": "my_pkg.term on IR-Net",
    }  # fmt: skip
    for label, name in names.items():
        assert method_name(make_store.method_of(label), label) == name
    assert method_name(None, "model_a") == "model_a"
    for kind in ("method", "regularizer"):
        every = [entry_name(kind, name) for name in registry.files(kind)]  # type: ignore[arg-type]
        assert len(set(every)) == len(every)
        assert not [name for name in every if len(name) > 24]
        told = [name for name in registry.files(kind) if name not in SHORT]
        assert all(registry.summary(kind, name).partition(":")[1] for name in told), "a name, and a colon"
    assert method_name(MethodId(name="<b>"), "x") == "<b>"


SETTINGS = {
    "test": ({"n": 200}, {"n": 400}, ["200 test images", "400 test images"]),
    "train": ({"train": 1000}, {"train": 2000}, ["1,000 training images", "2,000 training images"]),
    "size": ({"size": 32}, {"size": 64}, ["32 px", "64 px"]),
    "several": ({"n": 200, "size": 32}, {"n": 400, "size": 64}, ["32 px, 200 test images", "64 px, 400 test images"]),
    "corruptions": ({"corruptions": ("fog",)}, {"corruptions": ("fog", "snow")}, ["2 corruptions", "Fog"]),
    "data": ({"data": "a"}, {"data": "b"}, ["", ""]),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_are_told_apart_by_what_differs(tmp_path: Path, kind: str) -> None:
    one, other, said = SETTINGS[kind]
    store = Store(tmp_path, create=True)
    for seed in range(2):
        make_store.add(store, "irnet", seed, **one)
    make_store.add(store, "irnet", 0, **other)
    settings = comparison.read(store).settings
    assert [s.distinct for s in settings] == said
    assert len({s.title for s in settings}) == 2


def test_settings_that_differ_in_a_hash_or_a_name_alone_are_told_apart_too(tmp_path: Path) -> None:
    records: list[Record] = []
    for sha, corruptions in (("a" * 64, ("fog",)), ("b" * 64, ("fog",)), ("b" * 64, ("snow",))):
        record = make_store.make("irnet", 0, corruptions=corruptions)[0]
        protocol = record.spec.protocol
        test = protocol.test.model_copy(update={"sha256": sha})
        spec = record.spec.model_copy(update={"protocol": protocol.model_copy(update={"test": test})})
        records.append(record.model_copy(update={"spec": spec, "run_id": spec.run_id}))
    titles = [s.title for s in comparison.settings_of(records)]
    assert len(set(titles)) == 3


def test_the_same_difference_is_listed_once(tmp_path: Path) -> None:
    """Where the reference is the base of a regularized method, their pair belongs to both families."""
    found = context(filled(tmp_path, {"irnet": 3, "irnet+lcr": 3, "bnn": 3}), ["irnet", "irnet+lcr", "bnn"])
    for table in differences.table(found):
        labels = [row.label for row in table.rows]
        assert len(labels) == len(set(labels)) == 2
    headlines = [f.text for f in findings.findings([found])]
    assert sum("LCR on IR-Net" in text and "IR-Net" in text.replace("LCR on IR-Net", "") for text in headlines) == 1


def test_what_was_stopped_on_request_is_no_failure(tmp_path: Path, undrawn: None) -> None:
    store = filled(tmp_path / "store", {"irnet": 1})
    make_store.add(store, "bnn", 0, failure=Failure(reason="stopped", step=0, message="asked to stop, and saved"))
    compared = comparison.read(store)
    assert not [w for w in findings.warnings(compared) if "failed" in w]
    assert findings.remarks(compared) == ["1 run stopped on request, saved: the same command goes on."]
    page = report.write(store, tmp_path / "report").read_text(encoding="utf-8")
    assert '<p class="remark">1 run stopped on request' in page
    assert '<td class="text">stopped: asked to stop, and saved</td>' in page


def test_metrics_and_environment_are_tables_of_plain_values(store: Store, folder: Path) -> None:
    compared = comparison.read(store)
    rows = notes.environment(compared)
    assert ("Version of torch", "2.6.0", 8) in rows
    assert not [row for row in rows if "{" in row[1] or "'" in row[1]]
    nested = notes._flat("Corruptions", {"versions": {"numpy": "2"}, "exact": True, "n": 1000})
    assert nested == {"Corruptions: exact": "yes", "Corruptions: n": "1,000", "Corruptions: versions: numpy": "2"}
    page = (folder / "index.html").read_text(encoding="utf-8")
    inside = re.search(r'<table id="metrics">(.*?)</table>', page, re.DOTALL)
    assert inside
    assert inside[1].count("<tr>") == len(notes.metrics(compared)) + 1


def test_a_store_lists_its_reports(tmp_path: Path, undrawn: None) -> None:
    store = filled(tmp_path / "store", {"irnet": 1, "bnn": 1})
    for name, methods in (("all", None), ("<one>", ["irnet"])):
        page = report.write(store, store.root / "reports" / name, compare=methods).read_text(encoding="utf-8")
        assert '<a href="../index.html">all reports of this store</a>' in page
    (store.root / "reports" / "broken").mkdir()
    (store.root / "reports" / "broken" / "files.json").write_text("{")
    listed = (store.root / "reports" / "index.html").read_text(encoding="utf-8")
    assert [html.unescape(t) for t in re.findall(r"<code>(.*?)</code>", listed)] == ["<one>", "all"]
    assert 'href="%3Cone%3E/index.html"' in listed
    assert "Robustness of 2 methods" in listed
    assert [name for name, _ in index.found(store.root / "reports")] == ["<one>", "all"]
    elsewhere = report.write(store, tmp_path / "elsewhere").read_text(encoding="utf-8")
    assert "../index.html" not in elsewhere
    assert not (tmp_path / "index.html").exists()
