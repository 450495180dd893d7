"""A plug-in that one test writes is not found by the next test."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize("name", ["first", "second"])
def test_two_tests_may_write_a_package_of_one_name(tmp_path: Path, name: str, init: bool) -> None:
    (tmp_path / "samename").mkdir()
    (tmp_path / "samename" / f"{name}.py").touch()
    if init:
        (tmp_path / "samename" / "__init__.py").touch()
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    importlib.import_module(f"samename.{name}")
