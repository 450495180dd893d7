"""What the suite finds of a corruption that works on batches, where each fault is one that a single image would not show."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lcrbench import testing
from lcrbench.corruptions import registered

INTO = '''"""Adds noise to each image."""

import numpy as np

CONSTANTS = tuple({{"scale": 4 * k}} for k in range(1, 6))


def into(images, out, draws, scale):
    for k in range(len(images)):
        random = {random}
        noise = random.integers(-scale, scale + 1, images[k].shape)
        {result}
'''
GOOD = {"random": "draws.generator(k)", "result": "out[k] = np.clip(images[k] + noise, 0, 255)"}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, None),
        ({"random": "np.random.default_rng(7)"}, None),
        ({"random": "np.random.default_rng(int(draws.key))"}, "depend on seed and stream, and not on index"),
        ({"random": "np.random.default_rng(int(draws.indices[k]))"}, "depend on index, and not on seed and stream"),
        ({"random": "np.random.default_rng(k)"}, "depends on the other images of its batch"),
        ({"random": "np.random.default_rng()"}, "other images the second time (severity 1)"),
        ({"result": "out[k, 1:] = np.clip(images[k] + noise, 0, 255)[1:]"}, "leaves pixels of `out` as they were"),
        ({"result": "out[k] = np.clip(images[k] + noise - images.mean(), 0, 255)"}, "depends on the other images"),
        ({"result": "images[k] = np.clip(images[k] + noise, 0, 255); out[k] = images[k]"}, "changes the images"),
        ({"result": "out[k] = images[k]"}, "it leaves every image as it is (severity 5)"),
        ({"result": "out[k] = 255 - images[k]"}, "severities 1 and 5 give the same images"),
        ({"result": "raise KeyError('k')"}, "KeyError: 'k' (where it was checked: "),
    ],
)
def test_a_function_of_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict, says: str | None
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = f"somebodys_noise{len(sys.modules)}_{abs(hash(str(changed)))}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "noise.py").write_text(INTO.format(**(GOOD | changed)))
    registered.find.cache_clear()
    found = testing.conform("corruption", f"{package}.noise")
    assert all("\n" not in line for line in found)
    if says is None:
        assert found == []
    else:
        assert any(says in line for line in found), found
