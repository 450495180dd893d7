"""lcrbench: robustness benchmarks for binary neural networks.

The public names below are imported on first use, so that `import lcrbench` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcrbench.corruptions import corrupt as corrupt
    from lcrbench.errors import UserError as UserError

__version__ = "0.1.0"

_HOME = {
    "UserError": "lcrbench.errors",
    "corrupt": "lcrbench.corruptions",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lcrbench' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
