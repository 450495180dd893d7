"""Networks from outside in a store, beside trained methods that saw the same images."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lcrbench.bench.records.external import External
from lcrbench.bench.records.spec import Subject, evaluation_id
from lcrbench.bench.records.store import Store

from . import make_store, writing


def add_foreign(store: Store, name: str, shift: int = 0, **known: object) -> External:
    """Add a network from outside that gets `shift` more images right than 120 of 200; `known` is what it says of itself."""
    external = External(name=name, weights_sha256=hashlib.sha256(name.encode()).hexdigest(), **known)  # type: ignore[arg-type]
    subject = Subject(external=external)
    record, files = make_store.make("somebodys", 0, shift=shift)
    made = writing.halves(record, files).evaluation
    found = made.model_copy(
        update={
            "evaluation_id": evaluation_id(subject, record.spec.protocol),
            "subject": subject,
            "training": None,
            "weights_sha256": external.weights_sha256,
        }
    )
    store.evaluations.write(found.evaluation_id, found, writing.halves(record, files).evaluation_files)
    return external


def board_store(root: Path) -> Store:
    """Write four trained networks and three from outside; a link of one leads nowhere."""
    store = make_store.single_seed_store(root)
    add_foreign(
        store, "ResNet-18", 40, parameters=11_700_000, training_data="ImageNet-1k",
        links={"paper": "https://arxiv.org/abs/1512.03385", "weights": "https://example.org/resnet18.pth"},
    )  # fmt: skip
    add_foreign(store, "MobileNet", 20, parameters=3_500_000, training_data="ImageNet-1k")
    add_foreign(store, "Mine", -30, links={"code": "javascript:alert(1)"})
    return store
