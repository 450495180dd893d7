"""Which page of the documentation helps with a mistake: that of the part of the code that found it."""

from __future__ import annotations

from collections.abc import Iterator

PAGES = {
    "lcrbench.bench.data": "data.md",
    "lcrbench.bench.device": "devices.md",
    "lcrbench.bench.evaluation.benchmarks": "corruptions.md",
    "lcrbench.bench.evaluation.packed_file": "packed.md",
    "lcrbench.bench.evaluation.test_sets": "data.md",
    "lcrbench.bench.executors": "howto/cluster.md",
    "lcrbench.bench.lipschitz": "lipschitz.md",
    "lcrbench.bench.networks": "models.md",
    "lcrbench.bench.training": "recipes.md",
    "lcrbench.bench.training.group": "howto/several_devices.md",
    "lcrbench.bench.training.launched": "howto/several_devices.md",
    "lcrbench.bench.tuning": "recipes.md",
    "lcrbench.corruptions": "corruptions.md",
    "lcrbench.models.packed": "packed.md",
    "lcrbench.reports.gate": "ci.md",
    "lcrbench.reports.paper": "reports.md",
}
"""By package or module; what is found elsewhere is explained by its own line."""


def page(error: BaseException) -> str:
    """Return the page, such as "docs/data.md", of the innermost part that has one and that an error came through; or "".

    >>> page(ValueError("raised nowhere"))
    ''
    """
    for module in reversed(list(_modules(error))):
        parts = module.split(".")
        for k in range(len(parts), 1, -1):
            if found := PAGES.get(".".join(parts[:k])):
                return f"docs/{found}"
    return ""


def _modules(error: BaseException) -> Iterator[str]:
    """Yield the names of the modules that an error came through, the outermost first."""
    trace = error.__traceback__
    while trace is not None:
        yield str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
