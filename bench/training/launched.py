"""Reads the environment that torchrun, or another launcher of several processes, sets; imports no torch."""

from __future__ import annotations

import os

from lcrbench.errors import UserError


def world() -> int:
    """Return how many processes were started together, 1 for one alone; raises `UserError` if that is no number."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Return which of them this is, from 0."""
    return _number("RANK", 0)


def local_rank() -> int:
    """Return which of those on this machine it is, from 0."""
    return _number("LOCAL_RANK", rank())


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise UserError(f"{name} = '{text}' in the environment is no number: unset it, or start by torchrun")
    return int(text)
