from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from lcrbench.bench.records.store import Store
from lcrbench.reports import gate

from . import make_store

pytest_plugins = ["pytester"]
PLUGIN = "lcrbench.reports.pytest_plugin"

TESTS = """
import pytest

def test_good(lcrbench_check):
    lcrbench_check("good", "reference.json", any_source=True)

def test_bad(lcrbench_check):
    lcrbench_check("bad", "reference.json", any_source=True)

def test_wide(lcrbench_check):
    lcrbench_check("wide", "reference.json", any_source=True)

def test_wide_passes(lcrbench_check):
    lcrbench_check("wide", "reference.json", any_source=True, inconclusive="pass")

def test_wide_skips(lcrbench_check):
    lcrbench_check("wide", "reference.json", any_source=True, inconclusive="skip")

def test_stale(lcrbench_check):
    lcrbench_check("good", "reference.json")

def test_the_code_that_is_installed(lcrbench_check):
    lcrbench_check("present", "reference.json")
"""


def candidate(root: Path, seeds: int, **options: object) -> Store:
    store = Store(root, create=True)
    for seed in range(seeds):
        make_store.add(store, "irnet", seed, **{"spread": 0.3, "created": "2026-05-05T00:00:00Z"} | options)
    return store


def test_in_somebodys_own_tests(pytester: pytest.Pytester) -> None:
    here = pytester.path
    gate.update(
        here / "reference.json",
        candidate(here / "reference", 10, created=make_store.CREATED),
        "first",
        margin=1.0,
        seeds=[0, 1, 2],
        anyway=True,
    )
    candidate(here / "good", 4)
    candidate(here / "present", 4, code=make_store.present_code())
    candidate(here / "bad", 4, shift=-8)
    candidate(here / "wide", 3, spread=6.0)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_inprocess("-p", PLUGIN, "-p", "no:benchmark", "-rA")
    result.assert_outcomes(passed=3, failed=3, skipped=1)
    result.stdout.fnmatch_lines_random(
        [
            "*REGRESSION*irnet: corruption_accuracy*worse by more than 1 points",
            "*INCONCLUSIVE*more seeds",
            "*made by a different version of the code: somebodys_code changed since*",
        ]
    )


def test_the_entry_point_is_declared() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # The name must be the module's: a plugin that is also loaded by `-p` or `pytest_plugins` would clash otherwise.
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}
    assert callable(import_module(PLUGIN).lcrbench_check)
