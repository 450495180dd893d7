"""The version of an installed package, whatever the name of its distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from lcrbench import versions


def test_a_package_by_its_own_name() -> None:
    assert versions.installed("numpy") == np.__version__
    assert versions.installed("no-such-package") is None


def test_opencv_without_a_window_system_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_headless(name: str) -> str:
        if name != "opencv-python-headless":
            raise PackageNotFoundError(name)
        return "4.13.0"

    monkeypatch.setattr(versions, "version", only_headless)
    assert versions.installed("opencv-python") == "4.13.0"
    assert versions.installed("numpy") is None
