"""The name of the corruptions' randomness: by default that of the test images, so that bits and ids are those of before."""

from __future__ import annotations

import hashlib

import numpy as np

from lcrbench.bench.evaluation.cells import Cells
from lcrbench.bench.records.grid import Evaluation
from lcrbench.bench.records.spec import Cell, Protocol, TestSet

TEST = TestSet(name="t", sha256="0123456789abcdef" + "f" * 48, size=32, classes=("a", "b"), images=3)


def shown(protocol: Protocol) -> str:
    images = np.arange(3 * 32 * 32 * 3, dtype=np.uint32).reshape(3, 32, 32, 3).astype(np.uint8)
    found = Cells().images(images, Cell("gaussian_noise", 3), np.arange(3), seed=protocol.seed, stream=protocol.noise)
    return hashlib.sha256(found.tobytes()).hexdigest()[:16]


def test_the_bits_are_those_of_before() -> None:
    plain = Protocol(test=TEST, corruptions=("gaussian_noise",), severities=(3,))
    assert plain.noise == "0123456789abcdef"
    # Of lcrbench before the field: corrupt(images, "gaussian_noise", 3, stream=TEST.sha256[:16]).
    assert shown(plain) == "60ca131580ccffd9"


def test_a_stream_of_its_own_moves_bits_and_ids() -> None:
    plain = Protocol(test=TEST, corruptions=("gaussian_noise",), severities=(3,))
    named = plain.model_copy(update={"stream": "cifar10"})
    assert shown(named) != shown(plain)
    assert named.protocol_id != plain.protocol_id
    # The same noise on images that are hashed otherwise.
    moved = named.model_copy(update={"test": TEST.model_copy(update={"sha256": "e" * 64})})
    assert shown(moved) == shown(named)
    assert set(plain.look) == {"test", "size", "seed", "block"}


def test_a_grid_may_name_it() -> None:
    assert Evaluation().stream == ""
    assert Evaluation(stream="x").stream == "x"
