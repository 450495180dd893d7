"""Subsets: balanced, nested, and told apart from the whole that they are part of."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcrbench.bench import data
from lcrbench.corruptions import corrupt
from lcrbench.errors import UserError


@pytest.fixture(scope="module")
def fashion() -> data.Dataset:
    return data.load()


def test_take(fashion: data.Dataset) -> None:
    small = data.take(fashion, 5000, 1000, 0)
    assert small.name == fashion.name
    assert np.bincount(small.train.labels).tolist() == [500] * 10
    assert np.bincount(small.test.labels).tolist() == [100] * 10
    assert data.take(fashion, 5000, 1000, 0).sha256 == small.sha256
    # Pinned, since a record names the subset by its seed.
    assert hashlib.sha256(small.train.labels.astype("<i8").tobytes()).hexdigest()[:16] == "0ebad1bf6094739a"

    other = data.take(fashion, 5000, 1000, 1)
    assert other.sha256 != small.sha256
    test_only = data.take(fashion, None, 1000, 0)
    assert np.array_equal(test_only.test.images, small.test.images)
    assert np.array_equal(test_only.train.images, fashion.train.images)
    assert test_only.part is not None
    assert (test_only.part.train, test_only.part.test) == (None, 1000)
    assert data.take(fashion, None, None, 0) is fashion


@settings(max_examples=30)
@given(st.integers(10, 300), st.integers(0, 2**64))
def test_take_is_balanced_and_nested(fashion: data.Dataset, number: int, seed: int) -> None:
    small = data.take(fashion, 10, number, seed).test
    counts = np.bincount(small.labels, minlength=10)
    assert counts.sum() == number
    assert counts.max() - counts.min() <= 1
    larger = {image.tobytes() for image in data.take(fashion, 10, number + 37, seed).test.images}
    assert all(image.tobytes() in larger for image in small.images)


def test_take_too_much_or_too_little(fashion: data.Dataset) -> None:
    assert len(data.take(fashion, 10_000, 2_000, 0).train) == 10_000
    for train, test, words in (
        (10_001, None, "10001 training images are too many"),
        (None, 2_001, "2001 test images are too many"),
        (9, None, "9 training images are too few"),
        (None, 0, "0 test images are too few"),
    ):
        with pytest.raises(UserError, match=words):
            data.take(fashion, train, test, 0)
    with pytest.raises(UserError, match="seed"):
        data.take(fashion, 10, 10, -1)


def test_a_subset_remembers_its_whole(fashion: data.Dataset) -> None:
    assert fashion.part is None
    assert (fashion.whole_sha256, fashion.whole_test_sha256) == (fashion.sha256, fashion.test_sha256)
    assert fashion.test_indices.tolist() == list(range(2000))
    small = data.take(fashion, 50, 100, 3)
    assert small.part is not None
    assert (small.part.train, small.part.test, small.part.seed) == (50, 100, 3)
    assert (small.whole_sha256, small.whole_test_sha256) == (fashion.sha256, fashion.test_sha256)
    assert small.sha256 != fashion.sha256
    assert small.test_sha256 != fashion.test_sha256
    assert small.test_indices.dtype == np.int64
    assert not small.test_indices.flags.writeable
    assert np.array_equal(fashion.test.images[small.test_indices], small.test.images)
    assert np.array_equal(fashion.test.labels[small.test_indices], small.test.labels)
    # What is true of one image in the whole is true of it in every subset.
    larger = data.take(fashion, 50, 150, 3)
    assert set(small.test_indices.tolist()) < set(larger.test_indices.tolist())
    whole_test = data.take(fashion, 50, None, 3)
    assert whole_test.test_indices.tolist() == list(range(2000))
    assert whole_test.test_sha256 == fashion.test_sha256


def test_a_subset_of_a_subset_is_part_of_the_first_whole(fashion: data.Dataset) -> None:
    again = data.take(data.take(fashion, 100, 100, 0), 50, 20, 1)
    assert again.whole_sha256 == fashion.sha256
    assert np.array_equal(fashion.test.images[again.test_indices], again.test.images)


def test_hashes_of_splits_depend_on_all_that_they_hold(fashion: data.Dataset) -> None:
    def changed(*, classes: tuple[str, ...] = fashion.classes, pixel: bool = False, label: bool = False) -> str:
        images, labels = fashion.test.images.copy(), fashion.test.labels.copy()
        images[0, 0, 0, 0] ^= pixel
        labels[0] ^= label
        return data.Dataset("x", classes, fashion.train, data.Split(images, labels)).test_sha256

    hashes = {changed(), changed(classes=fashion.classes[::-1]), changed(pixel=True), changed(label=True)}
    assert len(hashes) == 4
    assert changed() == fashion.test_sha256
    assert fashion.train_sha256 == data.take(fashion, None, 20, 0).train_sha256
    assert fashion.train_sha256 != fashion.test_sha256


def test_a_larger_subset_repeats_the_corrupted_images_of_a_smaller_one(fashion: data.Dataset) -> None:
    def noisy(subset: data.Dataset) -> dict[int, bytes]:
        stream = subset.whole_sha256[:16]
        images = corrupt(subset.test.images, "gaussian_noise", 3, stream=stream, indices=subset.test_indices)
        return {k: image.tobytes() for k, image in zip(subset.test_indices.tolist(), images, strict=True)}

    small, large, whole = (noisy(data.take(fashion, None, number, 5)) for number in (20, 60, None))
    assert small.items() < large.items() < whole.items()
