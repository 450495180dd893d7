"""The one exception that stands for a mistake of the user's, and the search for the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, told in one line that names the thing and the way out.

    The command line prints the message and exits with code 2; in a program it is an ordinary `ValueError`.
    """


def unknown(kind: str, name: str, existing: Iterable[str]) -> UserError:
    """Return the error for a name that does not exist: it gives the nearest one and lists what exists.

    >>> str(unknown("corruption", "fogg", ["fog", "frost"]))
    "unknown corruption 'fogg': did you mean 'fog'? There are: fog, frost"
    """
    names = list(existing)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UserError(f"unknown {kind} '{name}': {hint}There are: {', '.join(names) or 'none'}")
