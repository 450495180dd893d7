"""Options of the test run, and what keeps one test's plug-ins from the next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes, too")


LONGEST = (
    "faults/test_soak.py",
    "faults/test_families.py",
    "faults/test_machines.py",
    "faults/test_faults.py",
    "lipschitz/test_truth.py",
    "bench/test_main_job.py",
    "lipschitz/test_search.py",
    "lipschitz/test_cli.py",
    "lipschitz/test_odd.py",
    "models/test_bars.py",
    "bench/test_evaluation_once.py",
    "reports/test_page.py",
    "plugins/test_installed.py",
    "faults/test_leases.py",
)
"""The files that take longest, which come first, so that no process is left alone with one of them at the end."""


def _place(item: pytest.Item) -> int:
    name = "/".join(item.path.parts[-2:])
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_place)
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


TALLY = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> dict[str, str]:
    """What the tests counted, by its name: a table after all tests, from all processes of pytest-xdist."""
    return pytestconfig.stash.setdefault(TALLY, {})


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tally"] = session.config.stash.get(TALLY, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash.setdefault(TALLY, {}).update(getattr(node, "workeroutput", {}).get("tally", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(TALLY, {})
    if found:
        terminalreporter.section("counts")
    for name, text in sorted(found.items()):
        terminalreporter.write_line(f"{name:<{max(map(len, found))}}  {text}")


@pytest.fixture(autouse=True)
def _no_plugin_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget what a test imported from its own folder: two tests may both write a plug-in called `pack`."""
    before, path = set(sys.modules), list(sys.path)
    yield
    base = tmp_path_factory.getbasetemp()
    for name in set(sys.modules) - before:
        if any(Path(place).is_relative_to(base) for place in _places(sys.modules[name])):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing, which takes most of a report's seconds, where a test is about something else."""
    from lcrbench.reports import rendering

    monkeypatch.setattr(rendering, "save", lambda picture, folder, formats=(): [])
    monkeypatch.setattr(rendering, "inline", lambda picture, prefix: ["<svg></svg>"] * len(picture.panels))


def _places(module: ModuleType) -> list[str]:
    """Return where a module lies; a folder without `__init__.py` has a path and no file."""
    file = getattr(module, "__file__", None)
    return [file] if file else [str(place) for place in getattr(module, "__path__", [])]
