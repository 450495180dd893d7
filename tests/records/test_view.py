"""Which runs of an evaluation are shown: a larger one that is finished stands for the smaller ones."""

from __future__ import annotations

from lcrbench.bench.records import view
from lcrbench.bench.records.record import Asked, Evaluation, Failure
from lcrbench.bench.records.spec import Protocol, Subject, TestSet, evaluation_id


def protocol(corruptions: tuple[str, ...] = ("fog",), chosen: int | None = None) -> Protocol:
    test = TestSet(name="x", sha256="d", size=32, classes=("a", "b"), images=100, chosen=chosen)
    return Protocol(test=test, corruptions=corruptions, severities=(1,))


def shown(*asked: Asked) -> list[Protocol]:
    subject = Subject(training="0" * 16)
    name = evaluation_id(subject, asked[0].protocol)
    evaluation = Evaluation(evaluation_id=name, subject=subject, training=None, asked=asked)
    return [one.protocol for one in view.largest(evaluation, view.every_run(evaluation)).values()]


def one(what: Protocol, failure: Failure | None = None, **metrics: object) -> Asked:
    return Asked(protocol=what, metrics={key: {} for key in metrics}, created="now", failure=failure)


SMALL, LARGE = protocol(), protocol(("fog", "snow"))


def test_a_larger_run_stands_for_a_smaller_one() -> None:
    assert shown(one(SMALL), one(LARGE)) == [LARGE]
    other = protocol(("frost",))
    assert shown(one(SMALL), one(other)) == [SMALL, other]


def test_a_run_that_is_not_finished_hides_none() -> None:
    failed = Failure(reason="killed", step=0, message="out of memory")
    assert shown(one(SMALL), one(LARGE, failed)) == [SMALL, LARGE]
    # Its accuracy went when a smaller run made stale predictions again.
    assert shown(one(SMALL), one(LARGE, accuracy={})) == [SMALL, LARGE]


def test_of_two_that_show_the_same_the_later_one_stays() -> None:
    """All images, and as many chosen ones as there are."""
    every = protocol(chosen=100)
    assert shown(one(SMALL), one(every)) == [every]
    assert shown(one(every), one(SMALL)) == [SMALL]


def test_another_number_of_images_is_another_run() -> None:
    some = protocol(chosen=50)
    assert shown(one(some), one(LARGE)) == [some, LARGE]
