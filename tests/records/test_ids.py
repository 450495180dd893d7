"""Ids: what they depend on, and that they stay: a golden table, so that a new field orphans no store."""

from __future__ import annotations

import pytest
from pydantic import Field

from lcrbench.bench.records import budget
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.grid import Evaluation
from lcrbench.bench.records.ids import content_id, stated
from lcrbench.bench.records.spec import DataId, MethodId, RunSpec, Subject, evaluation_id

DATA = DataId(name="clothes", sha256="d" * 64, size=32, classes=("a", "b"), train=100, test=40)


def spec(**changes: object) -> RunSpec:
    given: dict[str, object] = {
        "data": DATA,
        "backbone": "vgg_tiny",
        "method": MethodId(name="irnet", regularizers={"lcr": {"weight": 0.5}}),
        "seed": 0,
        "budget": Budget(images=60_000),
        "recipe": Recipe(lr=0.1),
        "evaluation": Evaluation(corruptions=("fog", "frost")),
        "train_sha256": "e" * 64,
    }
    return RunSpec.flat(**(given | changes))  # type: ignore[arg-type]


def test_golden_ids() -> None:
    # A change of any of these orphans every store: it needs another ids.VERSION, and a reason in CHANGELOG.
    plain = spec()
    assert plain.training.train_id == "d07fdee117771984"
    assert plain.protocol.protocol_id == "0243f7af19d587c7"
    assert plain.run_id == "fe3c36121feb9d69"
    assert plain.evaluation_id == "dae4f81e015e4366"
    other = spec(
        backbone="resnet18:convs=2",
        method=MethodId(name="rbnn", options={"rotations": 5}),
        seed=3,
        budget=Budget(unit="epochs", epochs=2),
        recipe=Recipe(optimizer="sgd:nesterov=false", validation=10, selection="best"),
        train_sha256="",
    )
    assert other.training.train_id == "32eb9bc292d69f23"


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "vgg_small"},
        {"method": MethodId(name="irnet")},
        {"method": MethodId(name="irnet", regularizers={"lcr": {"weight": 0.25}})},
        {"seed": 1},
        {"budget": Budget(images=1000)},
        {"budget": Budget(unit="compute", images=60_000)},
        {"recipe": Recipe(lr=0.2)},
        {"recipe": Recipe(lr=0.1, augmentation="none")},
        {"recipe": Recipe(lr=0.1, shards=2)},
        {"train_sha256": "f" * 64},
    ],
    ids=lambda c: next(iter(c)),
)
def test_what_weights_depend_on_is_in_the_trainings_id_alone(changes: dict[str, object]) -> None:
    assert spec(**changes).training.train_id != spec().training.train_id
    assert spec(**changes).protocol.protocol_id == spec().protocol.protocol_id


@pytest.mark.parametrize(
    "evaluation",
    [
        Evaluation(corruptions=("fog",)),
        Evaluation(corruptions=("fog", "frost"), severities=(1,)),
        Evaluation(corruptions=("fog", "frost"), seed=1),
        Evaluation(corruptions=("fog", "frost"), block=50),
    ],
    ids=["corruptions", "severities", "seed", "block"],
)
def test_what_is_shown_never_trains_again(evaluation: Evaluation) -> None:
    changed = spec(evaluation=evaluation)
    assert changed.training.train_id == spec().training.train_id
    assert changed.protocol.protocol_id != spec().protocol.protocol_id
    assert changed.run_id != spec().run_id


def test_cells_share_an_evaluation_and_another_look_has_its_own() -> None:
    fewer = spec(evaluation=Evaluation(corruptions=("fog",), severities=(2,)))
    assert fewer.evaluation_id == spec().evaluation_id
    for other in (Evaluation(seed=1), Evaluation(block=7)):
        assert spec(evaluation=other).evaluation_id != spec().evaluation_id
    assert evaluation_id(Subject(training="0" * 16), spec().protocol) != spec().evaluation_id


def test_the_order_of_corruptions_is_no_other_protocol_and_that_of_regularizers_another_training() -> None:
    turned = spec(evaluation=Evaluation(corruptions=("frost", "fog")))
    assert turned.protocol.protocol_id == spec().protocol.protocol_id
    # Terms are added up in their order, which rounds.
    orders = ({"lcr": {}, "distill": {}}, {"distill": {}, "lcr": {}})
    two = [MethodId(name="bnn", regularizers=order) for order in orders]
    first, second = (spec(method=m).training.train_id for m in two)
    assert first != second


def test_names_of_data_and_metrics_are_no_identity() -> None:
    renamed = DATA.model_copy(update={"name": "photographs"})
    assert spec(data=renamed).run_id == spec().run_id
    assert spec(metrics={"accuracy": {}}).run_id == spec().run_id


def test_a_new_field_at_its_default_changes_no_id() -> None:
    class Newer(budget.Recipe):
        smoothing: float = Field(0.0)

    old, new = Recipe(lr=0.1), Newer(lr=0.1)
    assert content_id("x", stated(old)) == content_id("x", stated(new))
    assert content_id("x", stated(Newer(lr=0.1, smoothing=0.1))) != content_id("x", stated(old))


def test_a_spec_comes_back_from_json_with_its_ids() -> None:
    for one in (spec(), spec(metrics={"lipschitz_kappa": {"l2": (2.0, 8.0), "images": 10}})):
        back = RunSpec.model_validate_json(one.model_dump_json())
        assert back == one
        assert (back.run_id, back.evaluation_id) == (one.run_id, one.evaluation_id)


def test_a_changed_copy_has_its_own_id() -> None:
    training = spec().training
    assert training.train_id
    assert training.model_copy(update={"seed": 9}).train_id == spec(seed=9).training.train_id
