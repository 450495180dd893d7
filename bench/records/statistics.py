"""Names of statistics that both metrics and reports use. A record keeps them as text."""

from __future__ import annotations

from typing import Literal, get_args

Finder = Literal["random", "warm", "frank-wolfe", "projected"]
"""The parts of a search: random candidates, points of smaller balls, and the two kinds of steps."""

FINDERS: tuple[Finder, ...] = get_args(Finder)


def found_by(finder: Finder) -> str:
    """Return the statistic that is the share of images whose largest figure this part of the search found.

    >>> found_by("random")
    'found by random'
    """
    return f"found by {finder}"


def mean_of_search(k: int) -> str:
    """Return the statistic that is the mean which the k-th of several searches found alone; k = 1, 2, ...

    >>> mean_of_search(2)
    'mean of search 2'
    """
    return f"mean of search {k}"
