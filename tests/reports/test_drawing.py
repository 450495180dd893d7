"""What figures take from a record's fields: columns of a log by the regularizers' names, colours by the method."""

from __future__ import annotations

import html
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from lcrbench.bench import stats
from lcrbench.bench.records.spec import MethodId
from lcrbench.bench.records.store import Store
from lcrbench.reports import colours, comparison, cost, curves, drawing, entries, rendering
from lcrbench.reports.context import Context
from lcrbench.reports.figures import accuracy_operations, training
from lcrbench.reports.significance import Outcomes

from . import make_store
from .make_foreign import add_foreign

OUTSIDE = "my_pkg.my_loss.term"


def test_a_regularizer_named_by_its_import_path_has_its_panels(tmp_path: Path) -> None:
    """The dots of its name are none of the log's."""
    store = Store(tmp_path, create=True)
    for label in ("irnet", f"irnet+{OUTSIDE}"):
        make_store.add(store, label, 0)
    (setting,) = comparison.read(store).settings
    picture = training.figure(Context(setting, store=store))
    assert picture is not None
    assert [p.title for p in picture.printed][2:] == [f"{OUTSIDE} loss", f"{OUTSIDE} ratio, {OUTSIDE} on IR-Net"]


def test_options_keep_a_methods_colour() -> None:
    def style(**options: object) -> colours.Style:
        method = MethodId(name="irnet", regularizers={"lcr": options})
        return colours.style(method.text, method)

    plain, tuned = style(), style(weight=2.0)
    assert plain == colours.PINNED["irnet", "lcr"]
    assert tuned.colour == plain.colour
    assert colours.style("a network") == colours.style("a network")


LABELS = [
    *("full_precision", "bnn", "irnet", "irnet+lcr", "irnet+lcr:weight=2.0", "irnet+lcr:beta=3.0,weight=2.0", "recu"),
    *("recu+lcr", "bnn+lcr", "xnor_net", "bi_real", "reactnet", "dorefa", "rbnn", "adabin", "irnet:t_min=0.01", "fda"),
]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("more", [0, 6, 200])
def test_every_method_has_its_own_colour_and_marker(order: int, more: int) -> None:
    """Labels hold colons and commas. As long as there are colours no two share one, and no two ever share both signs."""
    labels = [*LABELS, *(f"method_{k}:a={k}" for k in range(more))][::order]
    made = colours.styles({label: make_store.method_of(label) for label in labels}, labels[:8])
    assert list(made) == labels
    assert len({(s.colour, s.marker) for s in made.values()}) == len(labels)
    assert len({s.colour for s in made.values()}) == min(len(labels), len(colours.PALETTE) + 1)
    drawn = [made[label] for label in labels[:8]]
    assert len({s.colour for s in drawn}) == len({s.marker for s in drawn}) == 8
    for name, pinned in (("irnet", ("irnet",)), ("irnet+lcr", ("irnet", "lcr")), ("recu+lcr", ("recu", "lcr"))):
        assert made[name] == colours.PINNED[pinned], "whoever it is compared with"


def test_pins_are_apart_and_the_page_knows_every_colour() -> None:
    pins = [*colours.PINNED.values()]
    assert len({p.colour for p in pins}) == len(pins)
    assert {p.colour for p in pins} <= {*colours.PALETTE, colours.INK}
    for dark in (False, True):
        assert colours.css(dark=dark).count("--c") == len(colours.PALETTE)


def test_a_report_draws_alike_methods_apart(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    for label in ("irnet+lcr", "recu+lcr", "irnet+lcr:weight=2.0"):
        make_store.add(store, label, 0)
    (setting,) = comparison.read(store).settings
    assert len({row.style.colour for row in setting.rows}) == len({row.style.marker for row in setting.rows}) == 3
    assert [row.name for row in setting.rows] == ["LCR on IR-Net", "LCR (weight 2) on IR-Net", "LCR on ReCU"]


def test_no_point_is_moved_on_a_labelled_axis(store: Store) -> None:
    """Networks of equal operations stand at their number; where there is one radius, the axis names the methods."""
    setting = comparison.read(store).settings[0]
    picture = accuracy_operations.figure(Context(setting))
    assert picture is not None
    for panel in picture.panels:
        ax, hits = Figure().add_subplot(), drawing.Hits()
        panel.draw(ax, hits)
        told = {row: x for _, x, _, _, row in hits.points}
        for row in setting.rows:
            if row.index in told:
                assert told[row.index] == cost.operations(row.runs[0]) * 1e-6


@pytest.mark.parametrize("band", ["seeds", "se", "ci", "none"])
def test_a_band_is_what_it_is_called(band: drawing.Band) -> None:
    seeds = [0.6, 0.7, 0.9]
    interval = stats.mean(seeds, "seeds")
    found = drawing._around((1.0, interval, "", seeds), band)
    expected = {
        "seeds": (0.6, 0.9),
        "se": (interval.value - np.std(seeds, ddof=1) / 3**0.5, interval.value + np.std(seeds, ddof=1) / 3**0.5),
        "ci": (interval.low, interval.high),
        "none": None,
    }[band]
    assert found == (expected and pytest.approx(expected))
    said = drawing.band_words([3, 1], band)
    assert ("No bands" in said) == (band == "none")
    assert ("test images" in said) == (band != "none")


@pytest.mark.parametrize("shift", [-90, -60, -5, 0, 60, 79])
def test_the_axis_of_curves_holds_the_intervals_that_are_drawn(tmp_path: Path, shift: int) -> None:
    """One seed has its interval over images around it, and a network at chance a wide one for its accuracy."""
    store = Store(tmp_path, create=True)
    add_foreign(store, "Mine", shift)
    context = Context(comparison.read(store).settings[0], store=store, outcomes=Outcomes(store))
    found = curves.curves(context, [curves.MEAN])
    assert found is not None
    bottom, top = found.ends
    drawn = [100 * end for points in found.lines.values() for p in points for end in (p[1].low, p[1].high)]
    assert bottom <= min(drawn)
    assert max(drawn) <= top


def test_a_figure_stands_alone(store: Store, tmp_path: Path) -> None:
    """Title, setting, units, what the band is, and the reference by its name, in the file itself; and no "ref."."""
    context = Context(comparison.read(store).settings[0])
    for entry in entries.found("figure")[0]:
        if entry.name not in ("mean_curves", "heatmap", "accuracy_operations"):
            continue
        picture = entries.picture_of(entry, context)
        assert picture is not None
        with mpl.rc_context({"svg.fonttype": "none"}):
            rendering.save(picture, tmp_path, ["svg"])
        text = " ".join(re.findall(r"<!-- (.*?) -->", (tmp_path / f"{entry.name}.svg").read_text(), re.DOTALL))
        text = " ".join(html.unescape(text).split())
        assert f"{picture.title}: fashion-mnist-10k, vgg_tiny" in text
        assert " ref" not in text.replace("reference", "")
        words = {"mean_curves": "Bands: the range of the seeds", "heatmap": "LCR on IR-Net − FP32"}
        assert words.get(entry.name, "millions") in text
        assert "%" in text
