"""What was measured of a network in a few lines, as `lcrbench evaluate` prints it, and `print(result)` in Python."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from lcrbench.bench.records.measurement import Measurement


def lines(measurements: Iterable[Measurement], metrics: Container[str]) -> Iterator[str]:
    """Yield a line a number of these metrics, but for single cells of a corruption, layers, and parts of a search."""
    for m in measurements:
        if m.metric in metrics and (m.severity == 0 or not m.corruption) and not m.layer and m.detail is None:
            where = f" {m.corruption}" if m.corruption else ""
            where += f" {m.statistic}" if m.statistic != "mean" else ""
            where += f" {m.norm} {m.radius * 255:g}/255" if m.norm and m.radius is not None else ""
            interval = f" [{m.low:.4g}, {m.high:.4g}]" if m.low is not None and m.high is not None else ""
            yield f"  {m.metric}{where}: {m.value:.4g}{interval}, n={m.n}"
