from __future__ import annotations

from pathlib import Path

import pytest

from lcrbench.bench.records.record import Failure
from lcrbench.bench.records.store import Store
from lcrbench.reports import claims, comparison
from lcrbench.reports.words import LCR_FORMS
from lcrbench.reports.words.names import entry_name

from . import make_store


def verdicts(store: Store) -> dict[str, claims.Judged]:
    return {j.claim: j for j in claims.judge(comparison.read(store).settings[0])}


def test_two_seeds_decide_nothing(store: Store) -> None:
    found = verdicts(store)
    assert found.pop("The retention matrix tracks the spectral norm").verdict == "supported", "layers are its unit"
    assert {j.verdict for j in found.values()} == {"not enough data"}
    assert (
        "LCR on IR-Net − IR-Net: +2.00 points [−1.04, +5.04], 2 against 2 seeds"
        in found["LCR (latent variant) raises clean accuracy"].measured
    )


def test_a_gain_of_every_seed_is_supported_and_unequal_budgets_are_not(tmp_path: Path) -> None:
    good = Store(tmp_path / "good", create=True)
    bad = Store(tmp_path / "bad", create=True)
    for seed in range(5):
        for store, initial in ((good, ""), (bad, "c" * 64)):
            make_store.add(store, "irnet", seed, spread=0.2)
            make_store.add(store, "irnet+lcr", seed, spread=0.2, initial=initial)
    found = verdicts(good)
    assert found["LCR (latent variant) raises clean accuracy"].verdict == "supported"
    assert found["LCR (latent variant) lowers corruption error"].verdict == "supported"
    assert verdicts(bad)["LCR (latent variant) raises clean accuracy"].verdict == "not enough data"


def test_collapse_is_counted(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    for seed in range(5):
        make_store.add(store, "irnet", seed)
        make_store.add(store, "irnet+lcr", seed)
        failure = Failure(reason="diverged", step=5, message="loss is nan") if seed < 4 else None
        make_store.add(store, "irnet+spectral_norm", seed, failure=failure)
    judged = verdicts(store)["Usual Lipschitz regularizers collapse on binary networks"]
    assert judged.verdict == "supported"
    assert "4 of 5 runs collapsed" in judged.measured


COLLAPSE = "Usual Lipschitz regularizers collapse on binary networks"


def collapsed(store: Store, regularizers: str, options: dict[str, object] | None = None, **how: object) -> None:
    """Add five collapsed runs of irnet with these regularizers."""
    for seed in range(5):
        record, files = make_store.make("irnet+spectral_norm", seed, shift=-140, **how)  # type: ignore[arg-type]
        names = {name: {} for name in regularizers.split("+")}
        method = record.spec.method.model_copy(update={"regularizers": names, "options": options or {}})
        make_store.write(store, make_store.altered(record, method=method), files)


@pytest.mark.parametrize("regularizers", ["spectral_norm", "spectral_penalty", "jacobian_penalty", "parseval"])
def test_each_usual_regularizer_counts(tmp_path: Path, regularizers: str) -> None:
    store = Store(tmp_path, create=True)
    make_store.add(store, "irnet", 0)
    make_store.add(store, "irnet+lcr", 0)
    collapsed(store, regularizers)
    judged = verdicts(store)[COLLAPSE]
    assert (judged.verdict, judged.measured) == (
        "supported",
        f"{entry_name('regularizer', regularizers)} on IR-Net: 5 of 5 runs collapsed",
    )


@pytest.mark.parametrize("why", ["combined", "other options", "another budget", "distilled", "base not binary"])
def test_what_says_nothing_of_usual_regularizers_is_not_judged(tmp_path: Path, why: str) -> None:
    store = Store(tmp_path, create=True)
    make_store.add(store, "irnet", 0, audited="none" if why == "base not binary" else "passed")
    make_store.add(store, "irnet+lcr", 0)
    names = {"combined": "spectral_norm+lcr", "distilled": "distill"}.get(why, "spectral_norm")
    how = {"images": 30_000} if why == "another budget" else {}
    collapsed(store, names, {"a": 1} if why == "other options" else None, **how)
    judged = verdicts(store)[COLLAPSE]
    assert (judged.verdict, judged.measured) == (
        "not enough data",
        "no binary network with another Lipschitz regularizer was trained",
    )


def test_names_of_regularizers_exist() -> None:
    folder = Path(__file__).parents[2] / "models" / "regularizers"
    for name in (*claims.LIPSCHITZ_REGULARIZERS, *LCR_FORMS):
        assert (folder / f"{name}.py").exists(), name


def test_each_variant_of_lcr_has_its_own_verdict(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    for seed in range(5):
        make_store.add(store, "irnet", seed, spread=0.2)
        make_store.add(store, "irnet+lcr_released", seed, spread=0.2, shift=40)
    found = verdicts(store)
    assert found["LCR as released raises clean accuracy"].verdict == "supported"
    assert "LCR (latent variant) raises clean accuracy" not in found


def test_no_lcr_no_verdicts(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    make_store.add(store, "irnet", 0)
    assert verdicts(store) == {}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.02, "supported"),
        (0.0, 0.02, "not enough data"),
        (-0.02, 0.004, "refuted"),
        (-0.02, 0.006, "not enough data"),
        (0.001, 0.004, "supported"),
        (None, None, "not enough data"),
    ],
)
def test_the_rule(low: float | None, high: float | None, verdict: str) -> None:
    assert claims.decide(low, high) == verdict
