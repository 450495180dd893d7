"""The one exception that stands for a mistake of the user's, and the search for the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST = 60
"""Names that a message lists at most; of more it gives the nearest `FEW`."""

FEW = 8


class UserError(ValueError):
    """Bad input, told in one line that names the thing and the way out.

    The command line prints the message and exits with code 2; in a program it is an ordinary `ValueError`. What in a name
    would steer a terminal is escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__("".join(c if c.isprintable() or c in "\n\xa0" else ascii(c)[1:-1] for c in message))


def unknown(kind: str, name: str, existing: Iterable[str]) -> UserError:
    """Return the error for a name that does not exist: it gives the nearest one and lists what exists, or what is near.

    >>> str(unknown("corruption", "fogg", ["fog", "frost"]))
    "unknown corruption 'fogg': did you mean 'fog'? There are: fog, frost"
    >>> str(unknown("preset", "hard", ["quick", "full"]))
    "unknown preset 'hard'; there are: quick, full"
    """
    names = list(existing)
    # Dashes would make all options alike. Half a name ("kappa") stands for the whole where it is that of one alone.
    typed, bare = name.lstrip("-").lower(), {n.lstrip("-").lower(): n for n in names}
    near = difflib.get_close_matches(typed, bare, n=1, cutoff=0.65) or [
        n for n in bare if len(typed) > 2 and typed in n
    ]
    hint = f": did you mean '{bare[near[0]]}'? There" if len(near) == 1 else "; there"
    if len(names) > MOST:
        some = difflib.get_close_matches(typed, bare, n=FEW, cutoff=0.5) or list(bare)[:FEW]
        return UserError(
            f"unknown {kind} '{name}'{hint} are {len(names):,}, such as {', '.join(bare[n] for n in some)}"
        )
    return UserError(f"unknown {kind} '{name}'{hint} are: {', '.join(names) or 'none'}")


class NotMeasurable(UserError):
    """A network does not allow one measurement: it is left out with this reason, and the others are made."""
