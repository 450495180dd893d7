"""What the written tables of `lcrbench lipschitz` are about: the command, the search, and each network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.subjects import Network
from lcrbench.bench.records import env
from lcrbench.reports.comparison import CLEAN, Key
from lcrbench.reports.words.lipschitz import effort_text
from lcrbench.reports.writers import escape_markdown


def about(
    found: Sequence[Network],
    labels: Mapping[str, str],
    source: str | None,
    options: Options,
    left_out: Mapping[str, Mapping[str, Sequence[str]]],
) -> list[str]:
    """Return what the written tables are about, as Markdown: the command, the time, the search, and each network.

    `left_out` has for each network the metrics that do not measure it, or not all of it, by the reason.
    """
    lines = [
        f"`{env.command_line()}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Search: {effort_text(options.looks()[-1])}, "
        f"seed {options.seed}.",
        "",
        "| Network | Column | Data | Images | Clean accuracy |",
        "|:--|:--|:--|--:|--:|",
    ]
    for one in found:
        name, record, test = one.name, one.record, len(one.dataset.test.labels)
        network, data, clean = name, Path(source or "fashion-mnist-10k").name, "not known"
        if record is not None:
            network = f"{record.spec.label}, seed {record.spec.seed}, run {record.run_id}"
        if record is not None and source is None:
            data = record.spec.data.name
            accuracy = [m.value for m in record.measurements if Key.of(m) == CLEAN]
            clean = f"{accuracy[0]:.1%}" if accuracy else clean
        cells = map(escape_markdown, (network, labels[name], data))
        lines.append(f"| {' | '.join(cells)} | {min(options.images, test)} of {test} | {clean} |")
    lines.append("")
    for one in found:
        for reason, metrics in left_out[one.name].items():
            names = ", ".join(f"`{metric}`" for metric in metrics)
            lines.append(f"- {escape_markdown(one.name)}, left out or incomplete: {names}: {escape_markdown(reason)}")
    return [*lines, ""] if lines[-1] else lines
