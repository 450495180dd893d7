"""The version of an installed package, whatever the name of its distribution; the oldest ones that are tried."""

from __future__ import annotations

import itertools
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from lcrbench import versions

ROOT = Path(__file__).resolve().parents[1]


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


def test_the_oldest_packages_tried_are_the_oldest_allowed() -> None:
    """`tox run -e py311-oldest` installs what tools/oldest.txt names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = (project["optional-dependencies"][name] for name in ("dev", "parquet", "jpeg"))
    allowed = [text.replace(">=", "==") for text in itertools.chain(project["dependencies"], *extras) if ">=" in text]
    tried = [line for line in (ROOT / "tools" / "oldest.txt").read_text().splitlines() if not line.startswith("#")]
    assert tried == [*allowed, "pyparsing==3.2.0"], "what the oldest need themselves, and no newer, comes last"
