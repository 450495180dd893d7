"""A figure's file that is put together from the page's panels stands alone as one that was drawn for it."""

from __future__ import annotations

from xml.etree import ElementTree

from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, composed, entries, rendering
from lcrbench.reports.context import Context
from lcrbench.reports.figures import lipschitz_quantiles, mean_curves
from lcrbench.reports.lipschitz import read


def test_it_has_title_legend_panels_and_caption_and_needs_no_page(store: Store) -> None:
    [setting, *_] = comparison.read(store).settings
    for module in (mean_curves, lipschitz_quantiles):
        name = module.__name__.rpartition(".")[2]
        context = Context(setting, lipschitz=read(setting, store))
        picture = entries.picture_of(entries.entry("figure", name, module, own=True), context)
        assert picture is not None
        text = composed.compose(picture, rendering.inline(picture, "p"))
        root = ElementTree.fromstring(text)
        svg = "{http://www.w3.org/2000/svg}svg"
        assert len(root.findall(svg)) == len(picture.printed), "one panel each, of the first kind of axis"
        assert "var(" not in text
        assert 'class="hit' not in text
        said = " ".join("".join(e.itertext()) for e in root.findall("{http://www.w3.org/2000/svg}text"))
        for part in (
            picture.title,
            setting.title,
            picture.caption.partition(".")[0],
            *(r.name for r in picture.legend),
        ):
            assert part in said
