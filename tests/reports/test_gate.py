"""The gate: its error rates by simulation, what it refuses, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from lcrbench.bench.records import source
from lcrbench.bench.records.record import Failure
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports import gate

from . import make_store


def test_the_bounds_are_welchs() -> None:
    from scipy import stats

    x, y = [69.0, 70.5, 69.7], [70.1, 70.3, 69.9, 70.8]
    _, difference, low, high = gate.non_inferiority(x, y, 1.0)
    ci = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.90)
    assert (low, high) == pytest.approx((ci.low, ci.high))
    assert difference == pytest.approx(np.mean(x) - np.mean(y))


def test_more_seeds_that_are_asked_for_decide() -> None:
    x, y = [68.9, 69.9, 69.1], [70.0, 70.2, 69.8, 70.1, 69.9, 70.0, 70.3, 69.7, 70.1, 69.9]
    assert gate.non_inferiority(x, y, 1.0)[0] == "inconclusive"
    more = gate.seeds_to_decide(x, y, 1.0)
    assert more is not None
    rng = np.random.default_rng(0)
    grown = rng.normal(0, 1, 3 + more)
    grown = np.mean(x) + (grown - grown.mean()) / grown.std(ddof=1) * np.std(x, ddof=1)
    assert gate.non_inferiority(list(grown), y, 1.0)[0] != "inconclusive"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("reference"), create=True)
    for seed in range(10):
        make_store.add(store, "irnet", seed, spread=0.3)
    path = store.root.parent / "reference.json"
    gate.update(path, store, "the first one", margin=1.0, seeds=[0, 1, 2], anyway=True)
    return path


def candidate(root: Path, seeds: int = 4, **options: object) -> Store:
    store = Store(root, create=True)
    for seed in range(seeds):
        make_store.add(store, "irnet", seed, **{"spread": 0.3, "created": "2026-05-05T00:00:00Z"} | options)
    return store


def test_the_same_passes_and_a_loss_is_a_regression(tmp_path: Path, reference: Path) -> None:
    held = gate.load(reference)
    [same] = gate.check(candidate(tmp_path / "same"), held)
    assert (same.outcome, same.exit_code) == ("pass", 0)
    assert (same.n_candidate, same.n_reference) == (4, 10)
    [worse] = gate.check(candidate(tmp_path / "worse", shift=-8), held)
    assert (worse.outcome, worse.exit_code) == ("regression", 1)
    assert worse.difference is not None
    assert same.difference is not None
    assert worse.difference - same.difference == pytest.approx(-4.0)
    [better] = gate.check(candidate(tmp_path / "better", shift=8), held)
    assert better.outcome == "pass"
    assert better.improved
    assert "write a new reference" in better.notes[0]
    [wide] = gate.check(candidate(tmp_path / "wide", spread=6.0, seeds=3), held)
    assert (wide.outcome, wide.exit_code) == ("inconclusive", 3)


def test_direction_comes_from_the_metric(tmp_path: Path, reference: Path) -> None:
    held = gate.load(reference)
    store = candidate(tmp_path / "worse", shift=-8)
    for endpoint in ("corruption_error:noise", "clean_accuracy", "corruption_error:common"):
        [verdict] = gate.check(store, held, endpoint=endpoint, margin=1.0)
        assert verdict.outcome == "regression", endpoint
    with pytest.raises(UserError, match="endpoint"):
        gate.check(store, held, endpoint="speed")
    with pytest.raises(UserError, match="states no margin for clean_accuracy"):
        gate.check(store, held, endpoint="clean_accuracy")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"images": 30_000}, "budget.images"),
        ({"n": 100}, "data.test"),
        ({"data": "other"}, "data.name"),
        ({"corruptions": make_store.CORRUPTIONS[:4]}, "evaluation.corruptions"),
        ({"constants": "imagenet"}, "corruption source.constants"),
    ],
)
def test_what_is_unequal_is_refused(tmp_path: Path, reference: Path, options: dict[str, object], names: str) -> None:
    [verdict] = gate.check(candidate(tmp_path, **options), gate.load(reference))
    assert (verdict.outcome, verdict.exit_code) == ("not comparable", 2)
    assert names in verdict.reason


def test_one_seed_stale_or_failed_is_not_comparable(tmp_path: Path, reference: Path) -> None:
    held = gate.load(reference)
    [one] = gate.check(candidate(tmp_path / "one", seeds=1), held)
    assert one.reason == "expected seeds 0-2, found 0"
    store = candidate(tmp_path / "two")
    [stale] = gate.check(store, held, commit="f" * 40)
    assert stale.exit_code == 2
    assert "was made from commit 0123456789ab, not ffffffffffff" in stale.reason
    [older] = gate.check(store, held, stale=source.stale)
    assert "was made by a different version of the code: somebodys_code changed since" in older.reason
    [present] = gate.check(candidate(tmp_path / "present", code=make_store.present_code()), held, stale=source.stale)
    assert present.outcome == "pass"
    [own] = gate.check(candidate(tmp_path / "own", created=make_store.CREATED), held)
    assert "the reference's own" in own.reason
    make_store.add(store, "irnet", 9, failure=Failure(reason="diverged", step=1, message="loss is nan"))
    [failed] = gate.check(store, held)
    assert "1 of 5 candidate runs failed (diverged: loss is nan)" in failed.reason
    empty = Store(tmp_path / "other", create=True)
    make_store.add(empty, "bnn", 0)
    missing, _ = gate.check(empty, held)
    assert missing.reason == "the candidate has no run of this method"


def test_exit_codes_combine() -> None:
    def verdict(outcome: gate.Outcome) -> gate.Verdict:
        return gate.Verdict("m", "e", outcome, "r", 1.0)

    assert gate.exit_code([verdict("pass"), verdict("pass")]) == 0
    assert gate.exit_code([verdict("pass"), verdict("inconclusive")]) == 3
    assert gate.exit_code([verdict("inconclusive"), verdict("not comparable")]) == 2
    assert gate.exit_code([verdict("regression"), verdict("not comparable")]) == 1
    assert gate.exit_code([]) == 2


def test_outputs_parse(tmp_path: Path, reference: Path) -> None:
    held = gate.load(reference)
    verdicts = [
        *gate.check(candidate(tmp_path / "a", shift=-8), held),
        *gate.check(candidate(tmp_path / "b", seeds=1), held),
    ]
    data = json.loads(gate.as_json(verdicts))
    assert data["exit_code"] == 1
    assert data["verdicts"][0]["outcome"] == "regression"
    suite = ElementTree.fromstring(gate.as_junit(verdicts).partition("\n")[2])
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "1")
    assert len(gate.as_markdown(verdicts).splitlines()) == 4
    assert gate.text(verdicts).startswith("REGRESSION")


def test_outputs_hold_what_a_name_may_not() -> None:
    """Names come from stores and references: an XML file that no program reads is no verdict."""
    name = "a\x1b[2J\nb\x00\ud800\uffff|<b>"
    verdicts = [gate.Verdict(name, name, "regression", name, 1.0, notes=(name,))]
    ElementTree.fromstring(gate.as_junit(verdicts).encode())
    assert len(gate.as_markdown(verdicts).encode().splitlines()) == 3
    json.loads(gate.as_json(verdicts).encode())


def test_only_update_writes_and_wants_a_reason(tmp_path: Path, reference: Path) -> None:
    store = candidate(tmp_path / "store")
    path = tmp_path / "reference.json"
    with pytest.raises(UserError, match="reason"):
        gate.update(path, store, "  ")
    assert not path.exists()
    gate.update(path, store, "first", margin=1.0, anyway=True)
    gate.update(path, candidate(tmp_path / "later", shift=2), "constants corrected", margin=1.0, anyway=True)
    held = gate.load(path)
    assert [u.reason for u in held.history] == ["first", "constants corrected"]
    assert held.methods["irnet"].values["clean_accuracy"][0] == pytest.approx(
        (make_store.CLEAN["irnet"] + 2) / make_store.N
    )
    make_store.add(store, "irnet", 9, images=30_000)
    with pytest.raises(UserError, match=r"budget\.images"):
        gate.update(path, store, "mixed")


def test_a_damaged_reference_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    with pytest.raises(UserError, match="lcrbench reference update"):
        gate.load(path)
    for content in ("{", "[]", '{"version": 1}'):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=r"is not (a reference|valid JSON)"):
            gate.load(path)
    path.write_text('{"version": 99}', encoding="utf-8")
    with pytest.raises(UserError, match="newer"):
        gate.load(path)


def test_endpoints_are_told_apart_by_norm_and_radius_and_take_their_statistics_direction() -> None:
    """A share beside a radius may be better low where the radius is better high; "found" has no better side."""
    from lcrbench import registry
    from lcrbench.bench.records.measurement import Detail, Measurement, Scale

    record, _ = make_store.make("irnet", 0)
    names = ("lipschitz_kappa", "lipschitz_flip_radius", "lipschitz_smoothing")
    two = [
        Measurement(
            metric=m,
            value=v,
            n=9,
            norm=norm,
            radius=r,
            statistic=s,
            detail=Detail(form="random") if s == "found" else None,
        )
        for m, v, norm, r, s in (
            (names[0], 0.5, "l2", 8 / 255, "q50"),
            (names[0], 0.6, "linf", 8 / 255, "q50"),
            (names[0], 0.7, "l2", 8 / 255, "flipped"),
            (names[0], 0.8, "l2", 8 / 255, "found"),
            (names[1], 0.9, "l2", None, "q50"),
            (names[1], 1.0, "linf", None, "q50"),
            (names[2], 1.1, "l2", None, "q50"),
            (names[2], 1.2, "l2", None, "abstained"),
        )
    ]
    infos = {name: registry.load("metric", name).INFO for name in names}
    found = gate.endpoints(record.model_copy(update={"measurements": tuple(two), "metrics": infos}))
    assert {name: tuple(e) for name, e in found.items()} == {
        "lipschitz_kappa:l2-8:q50": (0.5, False, "margins", Scale.POSITIVE),
        "lipschitz_kappa:linf-8:q50": (0.6, False, "margins", Scale.POSITIVE),
        "lipschitz_kappa:l2-8:flipped": (0.7, False, "fraction of images", Scale.SHARE),
        "lipschitz_flip_radius:l2:q50": (0.9, True, "pixel units", Scale.DISTANCE),
        "lipschitz_flip_radius:linf:q50": (1.0, True, "pixel units", Scale.DISTANCE),
        "lipschitz_smoothing:l2:q50": (1.1, True, "pixel units", Scale.DISTANCE),
        "lipschitz_smoothing:l2:abstained": (1.2, False, "fraction of images", Scale.SHARE),
    }


def test_a_reference_with_the_units_of_metrics_is_read_as_before(tmp_path: Path, reference: Path) -> None:
    """Earlier versions wrote them so: taken for no unit, a margin of one point would be one of a hundred."""
    held = gate.load(reference)
    method = held.methods["irnet"]
    assert method.units["corruption_error:noise"] == "fraction"
    old = method.model_copy(update={"units": {"accuracy": "fraction", "corruption_error": "fraction"}, "scales": {}})
    written = tmp_path / "old.json"
    written.write_text(
        held.model_copy(update={"version": 1, "methods": {"irnet": old}}).model_dump_json(), encoding="utf-8"
    )
    before = gate.load(written)
    store = candidate(tmp_path / "worse", shift=-8)
    for endpoint in ("corruption_error:noise", "accuracy:fog:3"):
        [new], [verdict] = (gate.check(store, h, endpoint=endpoint, margin=1.0) for h in (held, before))
        assert verdict == new
        assert verdict.outcome == "regression"


# -------------------------------------------------------------------------------- what cannot be seen is not a pass


def with_weights(held: gate.Reference, store: Store) -> gate.Reference:
    """Return the reference with the weights of a candidate's seeds, as where training repeats to the bit."""
    weights = {r.spec.seed: r.weights_sha256 for r in store.records()}
    method = held.methods["irnet"]
    return held.model_copy(update={"methods": {"irnet": method.model_copy(update={"weights": weights})}})


def test_equal_weights_and_values_pass_at_once(tmp_path: Path, reference: Path) -> None:
    """However wide the reference spreads, and by however few seeds: no statistics are needed for equal numbers."""
    held = gate.load(reference)
    store = candidate(tmp_path / "same")
    same = with_weights(held, store)
    [verdict] = gate.check(store, same, margin=0.001)
    assert verdict.outcome == "pass"
    assert verdict.reason.startswith("identical")
    assert verdict.difference is None
    assert "+0.00" not in gate.text([verdict])
    # Equal weights with other values: the evaluation changed, so the numbers decide, and it is said.
    worse = candidate(tmp_path / "worse", shift=-8)
    [verdict] = gate.check(worse, with_weights(held, worse))
    assert verdict.outcome == "regression"
    assert "4 of 4 seeds have the reference's weights and other values" in verdict.notes
    # Equal values of other weights are no identity.
    [verdict] = gate.check(store, held, margin=0.001)
    assert verdict.difference is not None
    assert "identical" not in verdict.reason


def test_pairs_only_where_the_reference_declares_them(tmp_path: Path) -> None:
    before = Store(tmp_path / "before", create=True)
    for seed in range(10):
        make_store.add(before, "irnet", seed, spread=1.0)
    after = Store(tmp_path / "after", create=True)
    for seed in range(5):
        make_store.add(after, "irnet", seed, spread=1.0, shift=2, created="2026-05-05T00:00:00Z")
    path = tmp_path / "reference.json"
    gate.update(path, before, "first", margin=1.0, seeds=range(5), anyway=True)
    [apart] = gate.check(after, gate.load(path))
    gate.update(path, before, "first", margin=1.0, seeds=range(5), paired=True, anyway=True)
    [pairs] = gate.check(after, gate.load(path))
    # Each seed is two images better than its own reference, and by chance the later seeds are worse.
    assert pairs.difference == pytest.approx(1.0)
    assert pairs.low == pytest.approx(1.0)
    assert apart.difference is not None
    assert apart.low is not None
    assert apart.difference - apart.low > 1.0
    with pytest.raises(UserError, match="seed 12 to pair with"):
        gate.update(path, before, "first", margin=1.0, seeds=[0, 12], paired=True, anyway=True)


def test_a_seed_that_is_missing_or_there_twice_is_not_comparable(tmp_path: Path, reference: Path) -> None:
    held = gate.load(reference)
    two = candidate(tmp_path / "two", seeds=2)
    [missing] = gate.check(two, held)
    assert (missing.exit_code, missing.reason) == (2, "expected seeds 0-2, found 0, 1")
    [more] = gate.check(candidate(tmp_path / "more", seeds=6), held)
    assert more.outcome == "pass"


def test_other_options_of_the_metric_are_not_comparable(tmp_path: Path, reference: Path) -> None:
    """A search of another effort is another quantity; options of a metric that the endpoint is not of do not matter."""
    held = gate.load(reference)
    method = held.methods["irnet"]
    assert method.options["corruption_error"] == "{}"

    def other(metric: str) -> gate.Reference:
        options = method.options | {metric: '{"effort": "full"}'}
        return held.model_copy(update={"methods": {"irnet": method.model_copy(update={"options": options})}})

    store = candidate(tmp_path / "same")
    [verdict] = gate.check(store, other("corruption_error"))
    assert verdict.exit_code == 2
    assert 'measured corruption_error with {}, the reference with {"effort": "full"}' in verdict.reason
    [verdict] = gate.check(store, other("lipschitz_kappa"))
    assert verdict.outcome == "pass"


def test_an_edited_reference_is_refused(tmp_path: Path, reference: Path) -> None:
    """Every number and name that it states counts: one digit of a value, a margin, a seed less."""
    text = reference.read_text(encoding="utf-8")
    data = json.loads(text)
    changed = tmp_path / "changed.json"
    edits = (
        ["methods", "irnet", "gate", "margin"],
        ["methods", "irnet", "values", "clean_accuracy", "3"],
        ["methods", "irnet", "gate", "seeds"],
        ["history", 0, "reason"],
    )
    for place in edits:
        edited = json.loads(text)
        inner = edited
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = {"margin": 9.0, "3": 0.1, "seeds": [0], "reason": "another"}[str(place[-1])]
        changed.write_text(json.dumps(edited), encoding="utf-8")
        with pytest.raises(UserError, match="checksum"):
            gate.load(changed)
    # Another layout of the same statements is the same reference.
    changed.write_text(json.dumps(data, indent=7, sort_keys=True), encoding="utf-8")
    assert gate.load(changed) == gate.load(reference)


def test_a_method_that_only_the_candidate_has_is_named(tmp_path: Path, reference: Path) -> None:
    store = candidate(tmp_path / "both")
    make_store.add(store, "bnn", 0)
    verdicts = gate.check(store, gate.load(reference))
    assert [(v.method, v.outcome) for v in verdicts] == [("irnet", "pass"), ("bnn", "not gated")]
    assert "NOT GATED      bnn: the reference has no such method" in gate.text(verdicts)
    assert gate.exit_code(verdicts) == 0
    assert gate.exit_code(verdicts[1:]) == 2
