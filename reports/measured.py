"""The tidy table of everything that was measured: one row a run and measurement, with the run's axes.

Of a store of 2,000 runs these are half a million rows, so a line is put together from what its run and its cell are
called, each quoted once, and from its numbers.
"""

from __future__ import annotations

import csv
import importlib.util
import io
from operator import itemgetter
from pathlib import Path

from lcrbench.bench.records.measurement import NO_DETAIL, Detail, MetricInfo
from lcrbench.reports import spreadsheet
from lcrbench.reports.comparison import Comparison

RUN = ("run_id", "setting", "data", "backbone", "method", "seed", "budget_images")
CELL = ("metric", "statistic", "corruption", "severity", "layer", "norm", "radius", *Detail.model_fields)
NUMBER = ("value", "low", "high", "n", "interval")
KIND = ("unit", "bound")
NAME = "measurements"

# As pydantic keeps the fields: to ask for each takes two and a half times as long.
_cell = itemgetter("metric", "statistic", "corruption", "severity", "layer", "norm", "radius", "detail")
_number = itemgetter(*NUMBER)


def write(compared: Comparison, folder: Path) -> list[str]:
    """Write `measurements.csv`, and the same as Parquet where pyarrow is installed; returns the files' names."""
    path = folder / f"{NAME}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(_line((*RUN, *CELL, *NUMBER, *KIND)) + "\n")
        cells: dict[tuple[object, ...], str] = {}
        words: dict[str, str] = {}
        kinds: dict[str, tuple[MetricInfo, dict[str, str]]] = {}
        for setting in compared.settings:
            for row in setting.rows:
                for run in row.runs:
                    spec = run.spec
                    axes = (run.run_id, setting.index + 1, spec.data.name, spec.backbone, spec.label, spec.seed)
                    start = _line((*axes, run.ledger.images if run.ledger else ""))
                    for name, info in run.metrics.items():
                        if name not in kinds or kinds[name][0] != info:  # nearly always alike in all runs
                            kinds[name] = info, {s: _kind(info, s) for s in ("", *info.other)}
                    lines = []
                    for m in run.measurements:
                        fields = m.__dict__
                        what = _cell(fields)
                        cell = cells.get(what) or cells.setdefault(what, _line((*what[:-1], *_detail(m.detail))))
                        value, low, high, n, interval = _number(fields)
                        how = words.get(interval) or words.setdefault(interval, _line((interval, "")))
                        low = "" if low is None else repr(low)
                        high = "" if high is None else repr(high)
                        ends = kinds[what[0]][1] if what[0] in run.metrics else {"": ","}
                        end = ends.get(what[1]) or ends[""]
                        lines.append(f"{start},{cell},{value!r},{low},{high},{n},{how}{end}\n")
                    file.writelines(lines)
    if not importlib.util.find_spec("pyarrow"):
        return [path.name]
    _parquet(path, folder / f"{NAME}.parquet")
    return [path.name, f"{NAME}.parquet"]


def _detail(detail: Detail | None) -> tuple[object, ...]:
    """Return the columns of a detail, empty where it says nothing."""
    return tuple("" if v is None else v for v in (detail or NO_DETAIL).model_dump(mode="json").values())


def _kind(info: MetricInfo, statistic: str) -> str:
    kind = info.kind(statistic)
    return _line((kind.unit, kind.bound))


def _line(values: tuple[object, ...]) -> str:
    """Return values as one line of CSV, without its end."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([spreadsheet.cell(value) for value in values])
    return buffer.getvalue()


def _parquet(source: Path, target: Path) -> None:
    """Write a CSV file of measurements as Parquet: text as text, an empty number as null."""
    import pyarrow as pa
    from pyarrow import csv as reader
    from pyarrow import parquet

    whole = dict.fromkeys(("setting", "seed", "budget_images", "severity", "n", "stage", "search"), pa.int64())
    real = dict.fromkeys(("radius", "inner_radius", "value", "low", "high"), pa.float64())
    text = dict.fromkeys({*RUN, *CELL, *NUMBER, *KIND} - {*whole, *real}, pa.string())
    table = reader.read_csv(
        source,
        parse_options=reader.ParseOptions(newlines_in_values=True),
        convert_options=reader.ConvertOptions(column_types=whole | real | text),
    )
    parquet.write_table(table, target)
