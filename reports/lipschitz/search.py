"""What a search found of one network, image by image, and what of it is ranked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lcrbench.bench.records.by_image import ByImage, Effort
from lcrbench.bench.records.measurement import MetricInfo, Ranking


@dataclass(frozen=True)
class Figure:
    """What is ranked: a metric's figure of each image, in a norm, at a radius (a distance: searched up to that one)."""

    metric: str
    norm: str
    radius_255: float
    ranking: Ranking = field(default=Ranking(order=0), compare=False)
    title: str = field(default="", compare=False)
    unit: str = field(default="", compare=False)

    @classmethod
    def of(cls, metric: str, info: MetricInfo, norm: str, radius_255: float) -> Figure | None:
        """Return the figure of a metric; None if networks are not ranked by it."""
        if info.ranking is None:
            return None
        return cls(metric, norm, radius_255, info.ranking, title_of(metric, info), info.unit)

    @property
    def sign(self) -> int:
        """Return 1 where less is better, -1 where more is."""
        return -1 if self.ranking.higher_is_better else 1

    @property
    def distance(self) -> bool:
        """Tell whether the figure is a distance in pixel units, one a norm."""
        return self.ranking.distance

    @property
    def cut(self) -> float:
        """Return what an infinite value counts as: of a distance the largest radius that was searched."""
        return self.radius_255 / 255 if self.distance else 1e9

    @property
    def order(self) -> tuple[int, str, bool, float]:
        """Return the place in tables: by metric, l2 first, from the smallest radius."""
        return self.ranking.order, self.metric, self.norm != "l2", self.radius_255

    @property
    def axes(self) -> dict[str, object]:
        """Return the columns that name the figure in a table of data."""
        return {"figure": self.title, "norm": self.norm, "radius_255": self.radius_255}


def title_of(metric: str, info: MetricInfo) -> str:
    """Return what reports call a metric."""
    return info.title or metric.replace("_", " ")


def searched(infos: Mapping[str, MetricInfo], metrics: Iterable[str]) -> list[str]:
    """Return those of some metrics whose numbers come from the search that all such metrics share."""
    return [name for name in metrics if name in infos and infos[name].searched]


@dataclass(frozen=True)
class Search:
    """What a search found in one network for each image, by effort and figure (n), and of which images (`search.keep`)."""

    images: bytes
    n: int
    figures: dict[tuple[Effort, Figure], np.ndarray]

    @classmethod
    def of(cls, by_image: ByImage, infos: Mapping[str, MetricInfo]) -> Search:
        """Return the ranked figures among those of a run's file, none if it holds none."""
        figures: dict[tuple[Effort, Figure], np.ndarray] = {}
        images: dict[bytes, int] = {}
        for key, kept in by_image.items():
            if key.effort is None or key.radius_255 is None or key.metric not in infos:
                continue
            if figure := Figure.of(key.metric, infos[key.metric], key.norm, key.radius_255):
                figures[key.effort, figure] = kept.values
                images[kept.images.identity] = len(kept.values)
        return cls(b"".join(images), max(images.values(), default=0), figures)

    @property
    def blind(self) -> bool:
        """Tell whether the search saw decisions alone: the network gives no gradient, or none was asked for."""
        return bool(self.figures) and not any(effort.gradients for effort, _ in self.figures)

    def compared(self, figure: Figure) -> dict[Effort, np.ndarray]:
        """Return a figure by effort with what is infinite cut off: an image without a flip has the largest radius."""
        return {effort: np.minimum(v, figure.cut) for (effort, f), v in self.figures.items() if f == figure}
