"""Ids: the hash of what a thing depends on, without the fields that stand at their default.

A field that is added later, at a default that means what was before, changes no id: stores stay readable by their addresses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

VERSION = 1
"""Of the rules by which ids are made; another number makes other ids of everything."""


def canonical(facts: Mapping[str, Any]) -> str:
    """Return facts as JSON in one form: keys sorted, no spaces, no numbers beyond JSON's."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_id(kind: str, facts: Mapping[str, Any]) -> str:
    """Return the address of a thing of a kind: 16 hex digits of the sha256 of its facts."""
    text = canonical({"kind": kind, "version": VERSION, **facts})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stated(model: BaseModel, *, leave_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the fields of a model that differ from their default, as JSON values."""
    return model.model_dump(mode="json", exclude_defaults=True, exclude=set(leave_out))
