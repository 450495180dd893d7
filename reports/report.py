"""`write`: the report of a store in a folder, made where it is not there already."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lcrbench import untrusted
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports import stamp


def write(
    store: Store | str | Path,
    out: str | Path,
    *,
    compare: Sequence[str] | None = None,
    runs: Sequence[str] | None = None,
    also: Sequence[str] = (),
) -> Path:
    """Write the report on a store, or on the store in a folder, into the folder `out`; return its `index.html`.

    `compare` restricts the report to methods by label, in that order, and makes the first one the reference; without it
    the reference is `full_precision`, or the first method where that was not run. `runs` restricts to run ids or
    unique prefixes of them. `also` names modules by import path that define a `table` or a `figure` of their own. A folder
    that holds the report of the same runs by the same code is left as it is (`stamp.py`). Raises `UserError` where nothing
    can be reported, there is no such module, or `out` cannot be written.
    """
    store, out = store if isinstance(store, Store) else Store(store), untrusted.place(out)
    with _uncollected():
        ids = stamp.ids(store, runs)
        made_from = stamp.of(store, ids, {"compare": compare and list(compare), "also": list(also)})
        if stamp.stands(out, made_from):
            return out / stamp.PAGE
        # Not before: matplotlib, pandas and scipy take longer to import than all that was done so far.
        from lcrbench.reports import composition

        try:
            return composition.write(store, out, ids, compare=compare, also=also, stamp=made_from)
        except OSError as error:
            raise UserError(f"cannot write the report to {out}: {error.strerror or error}") from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Hold the cyclic garbage collector: it would visit the records' hundreds of thousands of objects again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            # Through the permanent generation into the oldest: the next collection would otherwise visit all of them.
            gc.freeze()
            gc.enable()
            gc.unfreeze()
