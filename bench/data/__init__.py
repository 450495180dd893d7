"""Loads labelled images: the embedded default, the published layouts, class folders, and archives of such folders.

Whatever the source, the result is a `Dataset` of square RGB images in uint8, in an order that depends on the names
alone, with a hash of what was decoded. Bad data raises `UserError`, in one line that names the file; nothing is guessed,
repaired or left out silently.

    arrays     Split and Dataset                  loading    load and names: asks the sources
    subset     take                               sources/   one file a source; the contract stands there
    spaces     label spaces                       idx, cifar, copies, parquet, pickles, imagenet, members, trees, disk_cache
                                                  what several sources share

The names below are imported on first use, because the training loop imports `arrays` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcrbench.bench.data.arrays import Dataset as Dataset
    from lcrbench.bench.data.arrays import Split as Split
    from lcrbench.bench.data.loading import load as load
    from lcrbench.bench.data.loading import load_test as load_test
    from lcrbench.bench.data.loading import names as names
    from lcrbench.bench.data.subset import take as take

_HOME = {
    "Dataset": "arrays",
    "Split": "arrays",
    "load": "loading",
    "load_test": "loading",
    "names": "loading",
    "take": "subset",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
