"""What makes two runs comparable: identities by kind of change, references of before schema 4, and versions of the code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench.records import source
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.grid import Evaluation
from lcrbench.bench.records.record import Record, Source
from lcrbench.bench.records.spec import DataId, MethodId, RunSpec
from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, gate, identity
from lcrbench.reports.comparison.reading import versions
from lcrbench.reports.words.budget import versions_text

from . import make_store

TESTS = Path(__file__).parents[1]
FIXTURE = TESTS / "fixtures" / "store-schema-3"
EXAMPLE = TESTS / "fixtures" / "reference-schema-3.json"

IDENTITIES: dict[str, Callable[[Record], object]] = {
    "setting": identity.setting,
    "row": identity.row,
    "base": identity.base,
    "terms": identity.terms,
    "gated": identity.gated,
}


def record() -> Record:
    return make_store.make("irnet+lcr", 0)[0]


def protocol(**change: object) -> Record:
    spec = record().spec
    return record().model_copy(
        update={"spec": spec.model_copy(update={"protocol": spec.protocol.model_copy(update=change)})}
    )


def other_test_images() -> Record:
    test = record().spec.protocol.test
    return protocol(test=test.model_copy(update={"sha256": "e" * 64}))


def other_corruption_source() -> Record:
    made = record().provenance
    return record().model_copy(
        update={"provenance": made.model_copy(update={"corruptions": {"constants": "imagenet"}})}
    )


def other_metrics() -> Record:
    return record().model_copy(update={"spec": record().spec.model_copy(update={"metrics": {"accuracy": {}}})})


def method(**change: Any) -> Record:
    return make_store.altered(record(), method=MethodId(**{"name": "irnet", "regularizers": {"lcr": {}}} | change))


@pytest.mark.parametrize(
    ("other", "differing"),
    [
        (make_store.altered(record(), seed=1), set()),
        (other_metrics(), set()),
        (method(), set()),
        (method(options={"t_min": 0.01}), {"row", "base", "gated"}),
        (method(regularizers={"lcr": {"weight": 0.5}}), {"row", "gated"}),
        (method(regularizers={}), {"row", "gated"}),
        (make_store.altered(record(), budget=Budget(images=30_000)), {"row", "terms", "gated"}),
        (make_store.altered(record(), recipe=Recipe(momentum=0.5)), {"row", "terms", "gated"}),
        (make_store.altered(record(), backbone="resnet20"), {"setting", "gated"}),
        (protocol(severities=(1, 3)), {"setting", "gated"}),
        (protocol(seed=1), {"setting", "gated"}),
        (protocol(block=50), {"setting", "gated"}),
        (other_test_images(), {"setting", "gated"}),
        (other_corruption_source(), {"gated"}),
    ],
)
def test_a_change_makes_another_identity_where_it_must(other: Record, differing: set[str]) -> None:
    assert {name for name, of in IDENTITIES.items() if of(other) != of(record())} == differing


def test_a_radius_is_one_search_however_it_is_written() -> None:
    def searched(**options: object) -> str:
        spec = record().spec.model_copy(update={"metrics": {"lipschitz_kappa": options}})
        return identity.searched(record().model_copy(update={"spec": spec}), ["lipschitz_kappa"])

    assert searched(l2=(8, 16), seed=0) == searched(seed=0, l2=(8.0, 16.0))
    assert searched(l2=(8,)) != searched(l2=(8, 16))
    assert identity.searched(record(), []) == ""


def test_a_machine_is_what_the_record_tells() -> None:
    made = record().provenance
    told = {
        "device": "cuda:1",
        "device_name": "an accelerator",
        "versions": {"torch": "2.7.0", "machine": "Linux x86_64"},
    }
    assert identity.machine(made.model_copy(update=told)) == {
        "device kinds": "cuda",
        "device models": "an accelerator",
        "torch versions": "2.7.0",
        "processor kinds": "Linux x86_64",
    }
    assert identity.machine(made.model_copy(update={"device_name": "", "versions": {}})) == {"device kinds": "cpu"}


# ------------------------------------------------------------------------------- references of before schema 4


def as_before(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the identity of a run of schema 3 as references of then have it, from its record as it lies on the disk."""
    spec = raw["spec"]
    named = {name: spec[name] for name in ("data", "backbone", "method", "budget", "evaluation")}
    return {"schema": raw["schema_version"], **named, "corruption source": raw["provenance"]["corruptions"]}


@pytest.mark.parametrize("folder", sorted(FIXTURE.glob("*/record.json")), ids=lambda path: path.parent.name)
def test_an_identity_of_schema_3_is_that_of_the_run_today(folder: Path) -> None:
    raw = json.loads(folder.read_text(encoding="utf-8"))
    today = Store(FIXTURE).record(raw["run_id"])
    assert raw["schema_version"] == 3
    # Through JSON, as a reference is.
    assert identity.gated_before(raw["spec"]["label"], as_before(raw)) == json.loads(json.dumps(identity.gated(today)))


def candidate(root: Path, **change: Any) -> Store:
    """Write three runs of what that reference is of."""
    held = json.loads(EXAMPLE.read_text(encoding="utf-8"))["methods"]["irnet"]["identity"]
    shown = Evaluation(**held["evaluation"])
    store = Store(root, create=True)
    for seed in range(3):
        made, files = make_store.make("irnet", seed, corruptions=shown.corruptions, n=held["data"]["test"])
        terms: dict[str, Any] = {"budget": Budget(images=6000), "recipe": Recipe(lr=0.1), "evaluation": shown} | change
        spec = RunSpec.flat(
            DataId(**held["data"] | {"name": "fashion-mnist-10k"}),
            held["backbone"],
            MethodId(name="irnet"),
            seed,
            **terms,
        )
        engine = made.provenance.model_copy(update={"corruptions": held["corruption source"]})
        update = {"spec": spec, "run_id": spec.run_id, "provenance": engine}
        make_store.write(store, made.model_copy(update=update), files)
    return store


def test_a_reference_of_before_schema_4_is_still_compared_with(tmp_path: Path) -> None:
    """It was written before schema 4: its budget holds the recipe too, and its method every option."""
    assert json.loads(EXAMPLE.read_text(encoding="utf-8"))["methods"]["irnet"]["identity"]["schema"] == 3
    held = gate.load(EXAMPLE)
    [verdict] = gate.check(candidate(tmp_path / "same"), held, margin=1.0)
    assert "names no seeds that a candidate must have" in verdict.notes[0]
    assert verdict.outcome != "not comparable", verdict.reason
    assert (verdict.n_candidate, verdict.n_reference) == (3, 2)
    for change, said in (
        ({"budget": Budget(images=12_000)}, "budget.images (6000 there, 12000 here)"),
        ({"recipe": Recipe(lr=0.1, momentum=0.5)}, "recipe.momentum"),
        ({"evaluation": Evaluation(severities=(1,))}, "evaluation.severities"),
    ):
        [verdict] = gate.check(candidate(tmp_path / said[:9], **change), held, margin=1.0)
        assert verdict.exit_code == 2
        assert said in verdict.reason


def test_a_reference_is_updated_into_the_present_form(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_bytes(EXAMPLE.read_bytes())
    before = gate.load(path)
    gate.update(path, candidate(tmp_path / "store"), "more seeds", margin=1.0, anyway=True)
    held = gate.load(path)
    assert [u.reason for u in held.history] == [*(u.reason for u in before.history), "more seeds"]
    assert "schema" not in held.methods["irnet"].identity
    assert held.methods["irnet"].identity == before.methods["irnet"].identity


# ------------------------------------------------------------------------------------------ versions of the code


def made_by(*scopes: dict[str, str], whole: str = "") -> Record:
    sources = tuple(Source(roots=tuple(modules), modules=modules) for modules in scopes)
    return record().model_copy(update={"sources": sources, "unscoped": (whole,) if whole else ()})


IRNET, LCR = "lcrbench.models.methods.irnet", "lcrbench.models.regularizers.lcr"
EQUAL = sorted(source.equal_bits())


@pytest.mark.parametrize(
    ("runs", "named"),
    [
        ([made_by({IRNET: "a"}), made_by({IRNET: "a"})], ""),
        ([made_by({IRNET: "a"}), made_by({LCR: "b"})], ""),
        ([made_by({IRNET: "a"}), made_by({IRNET: "b", LCR: "c"})], "models.methods.irnet"),
        ([made_by({LCR: "a"}, {IRNET: "a"}), made_by({IRNET: "b"}, {LCR: "b"})], f"{IRNET}, {LCR}".replace("lcrbench.", "")),
        ([made_by({"my_pkg.my_method": "a"}), made_by({"my_pkg.my_method": "b"})], "my_pkg.my_method"),
        ([made_by(dict.fromkeys("abcde", "a")), made_by(dict.fromkeys("abcde", "b"))], "a, b, c and 2 more"),
        ([made_by(whole="1" * 64), made_by(whole="1" * 64)], ""),
        ([made_by(whole="1" * 64), made_by(whole="2" * 64)], "the code"),
        ([made_by(whole="1" * 64), made_by({IRNET: "a"})], "the code"),
        ([made_by(whole=EQUAL[0]), made_by({IRNET: "a"})], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_modules_in_which_runs_differ_are_named(runs: list[Record], named: str) -> None:
    """A module that only one run depends on tells no difference, and a known version of before scopes is the present one."""
    assert versions_text(versions(runs)) == named
    assert versions_text(versions(runs[::-1])) == named


def test_a_setting_says_that_its_runs_are_of_different_versions(tmp_path: Path) -> None:
    def notes(name: str, *codes: Source) -> tuple[str, ...]:
        store = Store(tmp_path / name, create=True)
        for seed, code in enumerate(codes):
            make_store.add(store, "irnet", seed, code=code)
        return comparison.read(store).settings[0].notes

    older = Source(roots=(IRNET,), modules={IRNET: "0" * 16})
    assert notes("alike", older, older) == ()
    [said] = notes("mixed", older, older.model_copy(update={"modules": {IRNET: "1" * 16}}))
    assert said.startswith("The runs were made by different versions of models.methods.irnet, so a difference between")
    assert "--stale redo" in said
