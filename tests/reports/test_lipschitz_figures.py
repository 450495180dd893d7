"""The figures of the Lipschitz part of a report, and how far its proxies agree with what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure

from lcrbench.bench import stats
from lcrbench.bench.records.measurement import Detail, Measurement
from lcrbench.bench.records.store import Store
from lcrbench.reports import claims, comparison, drawing, lipschitz, rendering
from lcrbench.reports.comparison import Key
from lcrbench.reports.figures import lipschitz as lipschitz_picture
from lcrbench.reports.figures import lipschitz_fidelity as lipschitz_fidelity_picture
from lcrbench.reports.figures import lipschitz_layers, lipschitz_quantiles, lipschitz_slope
from lcrbench.reports.lipschitz import Figure, fidelity
from lcrbench.reports.lipschitz import folder as lipschitz_folder

from . import make_store
from .lipschitz_runs import METHODS, found_in, network


def test_quantiles_over_images_are_drawn_by_seed(tmp_path: Path) -> None:
    found = found_in(tmp_path, seeds=2)
    picture = lipschitz_quantiles.figure(lipschitz_folder.alone(found))
    assert picture is not None
    assert [p.title for p in picture.printed] == ["kappa, ℓ2 16/255", "relative gain, ℓ2 16/255"]
    assert [p.scale for p in picture.panels] == ["log", "linear"] * 2
    data = picture.data.set_index(["method", "figure", "level", "seed"])["value"]
    key = make_store.EFFORTS[0], Figure("lipschitz_kappa", "l2", 16.0)
    for seed in (0, 1):
        ordered = np.sort(found.searches[0][seed].figures[key])
        assert data["full_precision", "kappa", 0.5, seed] == pytest.approx(ordered[31]), "the 32nd of 64 images"
        assert data["full_precision", "kappa", 0.95, seed] == pytest.approx(ordered[60]), "the 61st"
    rendering.save(picture, tmp_path, ["svg"])
    for seeds in found.searches.values():
        for search in seeds:
            search.figures[key] = np.full(64, np.inf, np.float32)
    assert "nan" not in "".join(rendering.inline(lipschitz_quantiles.figure(lipschitz_folder.alone(found)), "x"))  # type: ignore[arg-type]


def test_a_proxy_of_0_in_one_layer_has_no_mean() -> None:
    keys = [Key("lipschitz_proxy", layer=str(k), detail=Detail(form="p1")) for k in range(3)]
    mean = (keys[0]._replace(layer=""), False)
    whole = fidelity._summary(dict.fromkeys(keys, 2.0))
    assert whole.means[mean] == pytest.approx(np.log(2))
    assert mean not in fidelity._summary(dict.fromkeys(keys, 2.0) | {keys[1]: 0.0}).means


def test_correlations_over_layers_seeds_and_methods(tmp_path: Path) -> None:
    few = {c.points: c for c in fidelity.correlations(found_in(tmp_path, seeds=2))}
    assert few["layers of IR-Net"].found is not None
    seeds = few["seeds of IR-Net, by layer"]
    assert (seeds.found, seeds.n) == (None, 2)
    found = found_in(tmp_path / "b", seeds=8, methods=("bnn", "irnet"))
    by = {(c.points, c.proxy, c.truth): c for c in fidelity.correlations(found)}
    norm = "operator norm (upper bound)"
    everything = "networks of all methods and seeds, by layer"
    for points, n in (("layers of IR-Net", 9), ("seeds of IR-Net, by layer", 8), (everything, 16)):
        exact, released = (by[points, proxy, norm].found for proxy in ("sigma 1, exact", "p1, as released"))
        assert exact is not None
        assert released is not None
        assert exact.n == n
        assert exact.value == pytest.approx(1)
        assert released.value == pytest.approx(-1)
    assert ("seeds of IR-Net, by layer", "sigma 1, exact", "omega, ℓ2, radius 16/255") in by


def test_the_claim_is_judged_by_the_layers(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    for label in METHODS:
        make_store.add(store, label, 0)
    judged = {j.claim: j for j in claims.judge(comparison.read(store).settings[0])}
    claim = judged["The retention matrix tracks the spectral norm"]
    assert claim.verdict == "supported"
    assert "n=9" in claim.measured


def test_layers_of_other_names_are_drawn_along_their_own_order() -> None:
    ours, theirs = ("stem", "block.0", "head"), ("conv1", "layer1.0", "layer2.0", "fc")
    picture = lipschitz_layers.figure(
        lipschitz_folder.alone(lipschitz.of_networks([network("a", ours), network("b", theirs)]))
    )
    assert picture is not None
    places = picture.data.drop_duplicates(["method", "layer"]).set_index(["method", "layer"])["place"]
    assert places["a"].to_dict() == {"stem": 1, "block.0": 2, "head": 3}
    assert places["b"].to_dict() == {"conv1": 1, "layer1.0": 2, "layer2.0": 3, "fc": 4}
    assert "not the same layer" in picture.caption
    assert "of b: 1 conv1, 2 layer1.0, 3 layer2.0, 4 fc" in picture.caption
    assert ticks(picture) == ["1", "2", "3", "4"]

    found = lipschitz.of_networks([network("a", ours), network("b", ("stem", "head"))])
    shared = lipschitz_layers.figure(lipschitz_folder.alone(found))
    assert shared is not None
    assert shared.data.query("method == 'b'").set_index("layer")["place"].to_dict() == {"stem": 1, "head": 3}
    assert "not the same layer" not in shared.caption
    assert ticks(shared) == ["stem", "block.0", "head"]


def axes(picture: drawing.Picture) -> Axes:
    """Return the first panel of a figure, drawn."""
    ax = MplFigure().add_subplot()
    picture.panels[0].draw(ax, drawing.Hits())
    return ax


def ticks(picture: drawing.Picture) -> list[str]:
    return [label.get_text() for label in axes(picture).get_xticklabels()]


@pytest.mark.parametrize("radii", [(2, 8), (2, 8, 32)])
def test_one_pair_of_radii_has_its_interval_drawn(radii: tuple[int, ...]) -> None:
    networks = [network("a", ("stem",), radii), network("b", ("stem",), radii)]
    picture = lipschitz_slope.figure(lipschitz_folder.alone(lipschitz.of_networks(networks)))
    assert picture is not None
    upright = [ln.get_xydata().tolist() for ln in axes(picture).lines if len(ln.get_xdata()) == 2]
    spans = [(a[0], [a[1], b[1]]) for a, b in upright if a[0] == b[0]]
    if len(radii) == 2:
        assert [ends for _, ends in spans] == [[0.4, 0.7], [0.4, 0.7]]
        assert spans[0][0] != spans[1][0], "side by side"
    else:
        assert spans == []


@pytest.mark.parametrize(("n", "said"), [(7, True), (8, False)])
def test_a_figure_of_few_points_says_that_they_are_no_correlation(n: int, said: bool) -> None:
    layers = tuple(f"layer{k}" for k in range(n))
    picture = lipschitz_fidelity_picture.figure(lipschitz_folder.alone(lipschitz.of_networks([network("a", layers)])))
    assert picture is not None
    assert ("fewer than 8 points" in picture.caption) == said


@pytest.mark.parametrize("low", [0.0, 0.01])
def test_an_axis_that_reaches_0_says_where_it_is_no_longer_logarithmic(low: float) -> None:
    kappa = [
        Measurement.of(
            "lipschitz_kappa", stats.Interval(v, v * low, 2 * v, 64, ""), statistic="q50", norm="l2", radius=r
        )
        for r, v in ((2 / 255, 0.1), (8 / 255, 1.0))
    ]
    picture = lipschitz_picture.figure(
        lipschitz_folder.alone(lipschitz.of_networks([lipschitz.Alone("a", kappa, {}, make_store.INFOS)]))
    )
    assert picture is not None
    assert (drawing.ZERO in picture.caption) == (low == 0)
    assert axes(picture).get_yscale() == ("symlog" if low == 0 else "log")
