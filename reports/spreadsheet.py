"""CSV that a spreadsheet does not take for formulas: text that begins as one is written after an apostrophe.

Names of data, methods and layers come from stores and plug-ins, and a cell that begins with = + - @ or a tab is run as a
formula by whoever opens the file.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lcrbench.untrusted import shown

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
# With a unit at most: "-1 +cmd" is a sum to a spreadsheet.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?( [a-zµ%/]{1,12})?|-", re.IGNORECASE)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

V = TypeVar("V")


def cell(value: V) -> V | str:
    """Return a value as a cell; text on one line, and as text where it begins like a formula.

    >>> cell("=1+1"), cell("-0.5"), cell(-0.5), cell("irnet+lcr")
    ("'=1+1", '-0.5', -0.5, 'irnet+lcr')
    """
    return _text_cell(value) if isinstance(value, str) else value


@lru_cache(maxsize=2**12)  # names of methods and corruptions, each in hundreds of cells
def _text_cell(value: str) -> str:
    text = f"'{value}" if _bare(value).startswith(FORMULA) and not _NUMBER.fullmatch(value) else value
    return shown(text) if _CONTROL.search(text) else text


def _bare(value: str) -> str:
    """Return a text as a spreadsheet may read its beginning: without blanks, marks that are not seen, and wide forms."""
    plain = unicodedata.normalize("NFKC", value[:100])
    first = next((k for k, c in enumerate(plain) if c in FORMULA or unicodedata.category(c)[0] not in "ZC"), len(plain))
    return plain[first:]


def text(table: pd.DataFrame) -> str:
    """Return a table as CSV, without its index."""
    words = table.select_dtypes(exclude=["number", "bool"]).columns
    safe = table.assign(**{str(name): table[name].map(cell) for name in words}) if len(words) else table
    written: str = safe.rename(columns=cell).to_csv(index=False)
    return written


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, without its index."""
    path.write_text(text(table), encoding="utf-8", newline="")
