"""Records of schema 5 and older: what a subset's name said of its images, and images shown under names of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lcrbench.bench.evaluation.takeover import own_data
from lcrbench.bench.records import before_6, upgrade
from lcrbench.bench.records.record import SCHEMA_VERSION
from lcrbench.bench.records.store import Store

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "store-schema-4"
SUBSET = "fashion-mnist-10k[train=300,test=60,seed=0]"


def test_the_images_of_a_subset_are_found_without_its_name() -> None:
    (path,) = FIXTURE.glob("trainings/*/record.json")
    assert json.loads(path.read_text(encoding="utf-8"))["spec"]["data"]["name"] == SUBSET
    (record,) = Store(FIXTURE).records()
    assert record.spec.training.data.name == record.spec.protocol.test.name == "fashion-mnist-10k"
    assert record.spec.data.text == "fashion-mnist-10k (300 training and 60 test images)"
    found = own_data(record.spec)
    assert (len(found.train), len(found.test)) == (300, 60)


def test_records_of_schema_5_are_read_alike() -> None:
    store = Store(FIXTURE)
    (record,) = store.records()
    evaluation = store.evaluation_of(record.run_id)
    assert evaluation is not None
    trained = store.training_of(evaluation)
    assert trained is not None
    old = json.loads(trained.model_dump_json()) | {"schema_version": 5}
    old["spec"]["data"]["name"] = SUBSET
    assert upgrade.training(json.dumps(old).encode(), "here") == trained.model_copy(
        update={"schema_version": SCHEMA_VERSION}
    )
    looked = json.loads(evaluation.model_dump_json()) | {"schema_version": 5}
    looked["training"]["data"]["name"] = looked["asked"][0]["protocol"]["test"]["name"] = SUBSET
    looked["batches"][0]["forward"] = {"clean": 60, "corruption": 120, "lipschitz": 7}
    read = upgrade.evaluation(json.dumps(looked).encode(), "here")
    assert read.asked == evaluation.asked
    assert read.training == evaluation.training
    assert read.batches[0].forward == {"evaluation": 180, "lipschitz": 7}


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        (SUBSET, "fashion-mnist-10k"),
        ("a[train=all,test=5,seed=0][train=3,test=all,seed=1]", "a"),
        ("photos[2024]", "photos[2024]"),
        ("a[train=3]", "a[train=3]"),
    ],
)
def test_only_what_a_subset_added_is_taken_from_a_name(name: str, whole: str) -> None:
    data = {"name": name}
    before_6.name(data)
    assert data["name"] == whole
