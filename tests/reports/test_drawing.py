"""What figures take from a record's fields: columns of a log by the regularizers' names, colours by the method."""

from __future__ import annotations

from pathlib import Path

from lcrbench.bench.records.spec import MethodId
from lcrbench.bench.records.store import Store
from lcrbench.reports import colours, comparison
from lcrbench.reports.context import Context
from lcrbench.reports.figures import training

from . import make_store

OUTSIDE = "my_pkg.my_loss.term"


def test_a_regularizer_named_by_its_import_path_has_its_panels(tmp_path: Path) -> None:
    """The dots of its name are none of the log's."""
    store = Store(tmp_path, create=True)
    for label in ("irnet", f"irnet+{OUTSIDE}"):
        make_store.add(store, label, 0)
    (setting,) = comparison.read(store).settings
    picture = training.figure(Context(setting, store=store))
    assert picture is not None
    assert [p.title for p in picture.panels][2:] == [f"{OUTSIDE} loss", f"{OUTSIDE} ratio, irnet+{OUTSIDE}"]


def test_options_keep_a_methods_colour() -> None:
    def style(**options: object) -> colours.Style:
        method = MethodId(name="irnet", regularizers={"lcr": options})
        return colours.style(method.text, method)

    plain, tuned = style(), style(weight=2.0)
    assert plain == colours.PINNED["irnet", "lcr"]
    assert tuned.colour == plain.colour
    assert tuned.dash != plain.dash
    assert colours.style("a network") == colours.style("a network")
