"""Reads pickles of plain values and numpy arrays, and nothing else: a pickle can name any function for Python to call."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from lcrbench.errors import UserError

_PLAIN: Final = {"u1", "i1", "i2", "i4", "i8", "u2", "u4", "u8", "b1", "f4", "f8"}


def load(content: bytes, where: str) -> Any:
    """Return the value in a pickle, the text of Python 2 as bytes.

    Only dicts, lists, tuples, numbers, texts and numpy's arrays of plain numbers are made. Raises `UserError` for a pickle
    that asks for anything else, before anything of it is called, and for a damaged one.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except UserError as error:
        raise UserError(f"{where} {error}") from error
    except Exception as error:  # a damaged pickle fails in any way
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{where} is truncated or damaged ({reason}): get it again") from error


class _Unpickler(pickle.Unpickler):
    """What is named stands for a function of ours, which does less than numpy's."""

    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module.replace("numpy._core.", "numpy.core."), name))
        if found is None:
            asked = f"{module}.{name}"
            told = asked if asked.isprintable() and len(asked) < 80 else ascii(asked)[:80]
            raise UserError(
                f"asks for '{told}', which no data set needs: do not trust it; get it again from its source"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise UserError("refers to objects outside of it, which no data set does: get it again from its source")


class _NdArray:
    """Stands for numpy.ndarray, which a hostile pickle could call with any shape."""


def _dtype(name: object, *rest: object) -> np.dtype[Any]:
    text = name.decode("ascii") if isinstance(name, bytes) else str(name)
    if text not in _PLAIN:
        raise UserError(f"holds an array of '{text[:20]}', not of plain numbers: get it again")
    return np.dtype(text)


def _reconstruct(kind: object, shape: object, code: object) -> np.ndarray:
    """Return the empty array that the pickle then fills with the bytes that it holds."""
    if kind is not _NdArray or shape != (0,):
        raise UserError("makes an array of an odd kind, which no data set needs: get it again from its source")
    return np.ndarray.__new__(np.ndarray, (0,), np.int8)


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Python 3 writes bytes in protocol 2 as a text to be encoded."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise UserError("encodes text in an odd way, which no data set needs: get it again from its source")
    return text.encode("latin1")


_ALLOWED: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _NdArray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}
