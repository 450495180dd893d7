"""Parquet files with an image column, as `datasets` of Hugging Face writes them; read by pyarrow alone, an extra."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from lcrbench import untrusted
from lcrbench.bench.data.members import MAX_FILE_BYTES, damage_told
from lcrbench.bench.data.spaces import MOST_CLASSES
from lcrbench.errors import UserError
from lcrbench.images import natural

IMAGE: Final = ("image", "img")
LABEL: Final = ("label", "fine_label")

# As of archives: encoded images do not shrink when they are packed.
_FREE_BYTES: Final = 1 << 30
_MAX_RATIO: Final = 100

# Rows: one image that stands in all of them is kept once in the file, and once for each in memory.
_AT_ONCE: Final = 16


class Row(NamedTuple):
    """One image: where it is, its file's bytes, the name that it had, and its label."""

    where: str
    content: bytes
    name: str
    label: int


class Columns(NamedTuple):
    """The columns of a table, and the names of its classes as the file tells them."""

    image: str
    label: str
    names: tuple[str, ...]


def pyarrow() -> Any:
    """Return pyarrow.parquet. Raises `UserError` if it is not installed."""
    try:
        import pyarrow.parquet as found
    except ImportError as error:
        raise UserError("parquet files need pyarrow: pip install 'lcrbench[parquet]'") from error
    return found


def _file(file: Path) -> Any:
    """Return an open table. Raises `UserError` if pyarrow is missing, and whatever pyarrow raises of a damaged file."""
    found = pyarrow()
    untrusted.check_regular(file)
    return found.ParquetFile(file)


def columns(file: Path) -> Columns:
    """Return which columns of a file are the image and the label, and the names of the classes.

    Raises `UserError` if the file is damaged, or has no such columns.
    """
    with damage_told(file):
        schema = _file(file).schema_arrow
        names, metadata = list(schema.names), dict(schema.metadata or {})
    image = next((name for name in IMAGE if name in names), None)
    label = next((name for name in LABEL if name in names), None)
    if image is None or label is None:
        raise UserError(
            f"{file} has the columns {', '.join(names)[:120]}: it needs an image ({' or '.join(IMAGE)}) and a label"
            f" ({' or '.join(LABEL)})"
        )
    told: Any = None
    with contextlib.suppress(KeyError, ValueError, TypeError, RecursionError):
        told = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    if isinstance(told, dict):  # an older form: {"0": "airplane", ...}
        told = [told[key] for key in sorted(told, key=lambda key: natural((key,)))]
    return Columns(image, label, tuple(str(name) for name in told) if isinstance(told, list) else ())


def number(file: Path) -> int:
    """Return how many rows a file has, by its end alone. Raises `UserError` if it is damaged, or pyarrow is missing."""
    with damage_told(file):
        return int(_file(file).metadata.num_rows)


def rows(file: Path, found: Columns) -> Iterator[Row]:
    """Yield the rows of a file in their order. Raises `UserError` for a damaged file, and for a row without an image."""
    with damage_told(file):
        opened = _file(file)
        size = sum(opened.metadata.row_group(k).total_byte_size for k in range(opened.metadata.num_row_groups))
        if size > _FREE_BYTES + _MAX_RATIO * file.stat().st_size:
            raise UserError(f"{file} unpacks to {size >> 20:,} MiB, over {_MAX_RATIO} times its size: get it again")
        number = 0
        for batch in opened.iter_batches(batch_size=_AT_ONCE, columns=[found.image, found.label]):
            for image, label in zip(
                batch.column(0 if batch.schema.names[0] == found.image else 1).to_pylist(),
                batch.column(1 if batch.schema.names[0] == found.image else 0).to_pylist(),
                strict=True,
            ):
                where = f"{file}: row {number}"
                content = image.get("bytes") if isinstance(image, dict) else None
                if not isinstance(content, bytes) or type(label) is not int:
                    raise UserError(f"{where} holds no image file's bytes and whole number: it is in another format")
                if len(content) > MAX_FILE_BYTES:
                    raise UserError(
                        f"{where} has an image of {len(content):,} bytes, more than {MAX_FILE_BYTES >> 20} MiB"
                    )
                if label >= MOST_CLASSES:
                    raise UserError(f"{where} has the label {label:,}: a data set has at most {MOST_CLASSES:,} classes")
                path = image.get("path")
                yield Row(where, content, path if isinstance(path, str) else "", label)
                number += 1
