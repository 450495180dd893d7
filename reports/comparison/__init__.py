"""From a store to what a report compares: settings, the methods within each, and one number with its interval a cell.

A *setting* is what must be equal before two numbers may stand in one column: data, backbone and evaluation. Within it,
a *row* is a method under one budget with its training seeds. Rows under another budget than the reference's are shown
and never ranked or tested; runs that failed keep their place and say why.
"""

from lcrbench.reports.comparison.keys import (
    CLEAN,
    COMMON,
    COMMON_ERROR,
    GROUPS,
    Key,
    group_of,
)
from lcrbench.reports.comparison.reading import mixture, read, read_runs, settings_of
from lcrbench.reports.comparison.row import Row, within
from lcrbench.reports.comparison.types import (
    MOST,
    MOST_COLUMNS,
    Comparison,
    Setting,
    chosen,
    errors_of,
    flipped,
)

__all__ = [
    "CLEAN",
    "COMMON",
    "COMMON_ERROR",
    "GROUPS",
    "MOST",
    "MOST_COLUMNS",
    "Comparison",
    "Key",
    "Row",
    "Setting",
    "chosen",
    "errors_of",
    "flipped",
    "group_of",
    "mixture",
    "read",
    "read_runs",
    "settings_of",
    "within",
]
