"""lcrbench: robustness benchmarks for binary neural networks.

    import lcrbench

    ids = lcrbench.run("quick", "runs")                       # train, evaluate and measure what the store lacks
    lcrbench.report("runs")                                   # a page, tables and figures
    network = lcrbench.load_model("runs", ids[0])             # back as a torch module
    lcrbench.evaluate(network, corruptions="fog").table()     # of any torch module
    lcrbench.corrupt(images, "fog", severity=3)               # of any uint8 images

The public names are imported on first use, so that `import lcrbench` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcrbench.api import build_model as build_model
    from lcrbench.api import check as check
    from lcrbench.api import evaluate as evaluate
    from lcrbench.api import lipschitz as lipschitz
    from lcrbench.api import load_data as load_data
    from lcrbench.api import load_model as load_model
    from lcrbench.api import load_packed as load_packed
    from lcrbench.api import report as report
    from lcrbench.api import run as run
    from lcrbench.bench.records.budget import Budget as Budget
    from lcrbench.bench.records.budget import Recipe as Recipe
    from lcrbench.bench.records.grid import Data as Data
    from lcrbench.bench.records.grid import Evaluation as Evaluation
    from lcrbench.bench.records.grid import Grid as Grid
    from lcrbench.bench.records.spec import Protocol as Protocol
    from lcrbench.bench.records.spec import RunSpec as RunSpec
    from lcrbench.bench.records.spec import TrainSpec as TrainSpec
    from lcrbench.bench.records.store import Store as Store
    from lcrbench.corruptions import corrupt as corrupt
    from lcrbench.errors import UserError as UserError

__version__ = "0.2.0"

_HOME = {
    **dict.fromkeys(
        ("build_model", "check", "evaluate", "lipschitz", "load_data", "load_model", "load_packed", "report", "run"),
        "lcrbench.api",
    ),
    **dict.fromkeys(("Budget", "Recipe"), "lcrbench.bench.records.budget"),
    **dict.fromkeys(("Data", "Evaluation", "Grid"), "lcrbench.bench.records.grid"),
    **dict.fromkeys(("Protocol", "RunSpec", "TrainSpec"), "lcrbench.bench.records.spec"),
    "Store": "lcrbench.bench.records.store",
    "UserError": "lcrbench.errors",
    "corrupt": "lcrbench.corruptions",
}
__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lcrbench' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
