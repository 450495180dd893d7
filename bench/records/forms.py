"""Methods whose name alone stands for another form today than when older records were made.

An older record keeps its form: it is read with the option that says so today, and so has neither the label nor a published
number of the form that the name stands for now. A training's record lists all options that its method had, which tells
whether the option was there.
"""

from __future__ import annotations

from collections.abc import Mapping

from lcrbench.bench.records.grid import Options
from lcrbench.bench.records.spec import MethodId

BEFORE: dict[str, Options] = {"rbnn": {"gradient": "straight"}, "reste": {"block": "shared"}}
"""By method: the options, and their values, that its name stood for before it had them."""


def as_made(method: MethodId, known: Mapping[str, object]) -> MethodId:
    """Return a method with the form it had when it was made, where `known` are the options that it had then."""
    lacking = {k: v for k, v in BEFORE.get(method.name, {}).items() if k not in known and k not in method.options}
    return method.model_copy(update={"options": method.options | lacking}) if lacking else method
