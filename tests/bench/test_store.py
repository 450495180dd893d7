"""The store: whole or not at all, damage found by name, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lcrbench.bench.records import store as stores
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.grid import Evaluation
from lcrbench.bench.records.measurement import Measurement
from lcrbench.bench.records.record import SCHEMA_VERSION, Failure, Ledger, Provenance, Record
from lcrbench.bench.records.spec import DataId, MethodId, RunSpec
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError


def spec(seed: int = 0) -> RunSpec:
    return RunSpec(
        data=DataId(name="d", sha256="0" * 64, size=32, classes=("a", "b"), train=10, test=10),
        backbone="vgg_tiny",
        method=MethodId(name="irnet", options={"t_min": 0.001}),
        label="irnet",
        seed=seed,
        budget=Budget(),
        recipe=Recipe(),
        evaluation=Evaluation(),
        metrics={"accuracy": {}},
    )


def record(seed: int = 0) -> Record:
    s = spec(seed)
    return Record(
        run_id=s.run_id,
        status="finished",
        spec=s,
        measurements=(Measurement(metric="accuracy", value=0.5, low=0.2, high=0.8, n=10),),
        provenance=Provenance(
            lcrbench="0",
            source="s",
            commit=None,
            dirty=None,
            command="",
            versions={},
            device="cpu",
            threads=1,
            deterministic=True,
            corruptions={},
            created="2026-01-01",
        ),
    )


def test_round_trip(tmp_path: Path) -> None:
    s = Store(tmp_path / "s", create=True)
    right = {"clean": np.arange(10) % 3 == 0, "fog/1": np.arange(10) % 2 == 0}
    written = s.write(record(), {stores.OUTCOMES: stores.pack_outcomes(right), stores.LOG: b'{"step":1}\n{"step":2}\n'})
    assert s.ids() == [written.run_id]
    assert s.record(written.run_id) == written
    assert set(written.files) == {stores.OUTCOMES, stores.LOG}
    assert s.log(written.run_id)["step"].tolist() == [1, 2]
    for k, v in s.outcomes(written.run_id).items():
        assert np.array_equal(v, right[k])
    assert s.table().iloc[0][["method", "seed", "value"]].tolist() == ["irnet", 0, 0.5]
    assert s.find(written.run_id[:5]) == written.run_id


def test_the_same_content_gives_the_same_bytes() -> None:
    right = {"clean": np.arange(100) % 3 == 0}
    assert stores.pack_outcomes(right) == stores.pack_outcomes(right)


def test_ids_hash_the_whole_spec() -> None:
    assert spec().run_id == spec().run_id != spec(1).run_id
    changed = spec().model_copy(update={"recipe": Recipe(lr=0.123)})
    assert changed.run_id != spec().run_id


number = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.integers(-1000, 1000).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.one_of(number, st.text(max_size=3), st.none(), st.tuples(number, number))
    )
)
@example({"l2": (8.0, 16.0), "linf": (), "steps": 5})
@settings(max_examples=100, deadline=None)
def test_a_spec_keeps_its_id_through_json(options: dict[str, object]) -> None:
    """Whole numbers that are floats too, alone and in tuples: else a record would seem to be another run's."""
    tables = spec().model_dump() | {"metrics": {"lipschitz_kappa": options}}
    made = RunSpec.model_validate(tables)
    assert RunSpec.model_validate(json.loads(made.model_dump_json())).run_id == made.run_id
    assert RunSpec.model_validate_json(made.model_dump_json()).run_id == made.run_id


def test_an_interrupted_write_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = Store(tmp_path, create=True)

    def fails(path: Path, content: str, **rest: object) -> None:
        path.write_bytes(content.encode()[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fails)
        with pytest.raises(KeyboardInterrupt):
            s.write(record(), {stores.WEIGHTS: b"weights"})
    assert s.ids() == []
    assert list(s.records()) == []
    s.write(record(), {})
    assert len(s.ids()) == 1
    assert [p.name for p in tmp_path.iterdir()] == s.ids()


def test_a_rewrite_replaces(tmp_path: Path) -> None:
    s = Store(tmp_path, create=True)
    s.write(record(), {"x": b"1"})
    failed = record().model_copy(update={"status": "failed", "failure": Failure(reason="error", step=0, message="m")})
    s.write(failed, {})
    assert s.record(failed.run_id).status == "failed"
    assert not (tmp_path / failed.run_id / "x").exists()


def test_a_write_killed_between_its_renames_leaves_the_run_that_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = Store(tmp_path, create=True)
    first = s.write(record(), {"x": b"1"})
    real = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.suffix == ".new":
            raise KeyboardInterrupt
        return real(path, target)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", killed)
            with pytest.raises(KeyboardInterrupt):
                s.write(record(), {"x": b"2"})
        assert not (tmp_path / first.run_id).exists()
        for reader in (s, Store(tmp_path)):
            assert reader.ids() == [first.run_id]
            assert reader.record(first.run_id) == first
            assert reader.read(first.run_id, "x") == b"1"
            reader.verify(first.run_id)
    s.restore(first.run_id)
    assert (tmp_path / first.run_id).is_dir()
    s.restore(first.run_id)
    s.write(record(), {"x": b"2"})
    assert s.read(first.run_id, "x") == b"2"
    assert [p.name for p in tmp_path.iterdir()] == [first.run_id]


def test_a_record_in_another_run_s_place_is_damage(tmp_path: Path) -> None:
    s = Store(tmp_path, create=True)
    run_id = s.write(record(), {}).run_id
    (tmp_path / run_id).rename(tmp_path / spec(1).run_id)
    with pytest.raises(stores.Damaged, match="another run"):
        s.record(spec(1).run_id)
    s.write(record().model_copy(update={"spec": spec(1)}), {})
    with pytest.raises(stores.Damaged, match="another run"):
        s.record(run_id)


@pytest.mark.parametrize("cut", [0, 1, 100, -2])
def test_damage_is_named(tmp_path: Path, cut: int) -> None:
    s = Store(tmp_path, create=True)
    run_id = s.write(record(), {stores.OUTCOMES: b"no zip"}).run_id
    path = tmp_path / run_id / stores.RECORD
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(stores.Damaged, match=stores.RECORD):
        s.record(run_id)
    s.set_aside(run_id)
    assert s.ids() == []
    s.write(record(), {})
    s.record(run_id)


@pytest.mark.parametrize("name", [stores.RECORD, stores.CHECKSUM, stores.OUTCOMES, stores.LOG])
def test_one_flipped_bit_is_found_and_named(tmp_path: Path, name: str) -> None:
    s = Store(tmp_path, create=True)
    run_id = s.write(record(), {stores.OUTCOMES: b"some bytes", stores.LOG: b'{"step": 1}'}).run_id
    path = tmp_path / run_id / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(stores.Damaged, match="damaged") as error:
        Store(tmp_path).verify(run_id)
    assert (stores.RECORD if name == stores.CHECKSUM else name) in str(error.value)
    path.unlink()
    with pytest.raises(stores.Damaged if name != stores.RECORD else UserError, match=name):
        Store(tmp_path).verify(run_id)


def rewrite(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content))
    path.with_name(stores.CHECKSUM).write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def test_an_older_schema_is_upgraded(tmp_path: Path) -> None:
    s = Store(tmp_path, create=True)
    run_id = s.write(record(), {}).run_id
    path = tmp_path / run_id / stores.RECORD
    old = json.loads(path.read_text())
    old["schema_version"] = 1
    del old["provenance"]["source"], old["spec"]["budget"]["unit"], old["spec"]["budget"]["seconds"]
    rewrite(path, old)
    upgraded = s.record(run_id)
    assert upgraded.schema_version == SCHEMA_VERSION
    assert upgraded.provenance.source == ""
    assert upgraded.spec.budget.unit == "images"


def test_a_taught_run_of_schema_2_gets_its_class(tmp_path: Path) -> None:
    s = Store(tmp_path, create=True)
    ledger = Ledger(
        images=1,
        steps=1,
        unit="images",
        forward={"student": 1, "training full_precision as a teacher": 1},
        backward={"student": 1},
        evaluation_forward={},
        data_order_sha256="",
        augmentation_sha256="",
        initial_weights_sha256="",
        selection="last",
        seconds={},
    )
    run_id = s.write(record().model_copy(update={"ledger": ledger}), {}).run_id
    path = tmp_path / run_id / stores.RECORD
    old = json.loads(path.read_text()) | {"schema_version": 2}
    for name in ("budget_class", "stages", "teachers", "compute", "clock"):
        del old["ledger"][name]
    del old["provenance"]["device_name"], old["provenance"]["determinism"]
    rewrite(path, old)
    assert s.record(run_id).ledger.budget_class == "one training, taught by full_precision"


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    s = Store(tmp_path, create=True)
    run_id = s.write(record(), {}).run_id
    path = tmp_path / run_id / stores.RECORD
    rewrite(path, json.loads(path.read_text()) | {"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(UserError, match="newer"):
        s.record(run_id)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no store"):
        Store(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make"):
        Store(tmp_path / "file", create=True)
