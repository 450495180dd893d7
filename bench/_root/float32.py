"""float32 as such, where torch may be allowed to compute with fewer bits.

It is allowed in two ways: by `allow_tf32` and `set_float32_matmul_precision`, and since torch 2.9 by `fp32_precision` of
all, of a backend and of an operation. A caller may have used both, and then the getters of the first way raise. So each
way is read and put back by itself.

An accelerator rounds factors to TF32's 10 bits then, and a processor to bfloat16's 7 or sums in another order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch

BACKENDS: Any = torch.backends


def exact() -> None:
    """Let this process compute in float32 as such, by both ways, so that they agree."""
    for setting in _settings():
        setting.fp32_precision = "ieee"
    BACKENDS.cudnn.allow_tf32 = BACKENDS.cuda.matmul.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Put back after a block what was allowed before it.

    A setting that followed a more general one has its value then, and follows no longer.
    """
    matmul = _read(torch.get_float32_matmul_precision)
    flags = [(owner, _read(lambda owner=owner: owner.allow_tf32)) for owner in (BACKENDS.cudnn, BACKENDS.cuda.matmul)]
    settings = [(setting, setting.fp32_precision) for setting in _settings()]
    try:
        yield
    finally:
        for owner, allowed in flags:
            if allowed is not None:
                owner.allow_tf32 = allowed
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        # The other way's setters have changed these.
        for setting, precision in settings:
            if setting.fp32_precision != precision:
                setting.fp32_precision = precision


@contextlib.contextmanager
def tf32_convolutions() -> Iterator[None]:
    """Let convolutions on a CUDA device round their factors to TF32: no rounding where all factors are signs."""
    owner, name, allowed = BACKENDS.cudnn, "allow_tf32", cast("bool | str", True)
    if (before := _read(lambda: owner.allow_tf32)) is None:
        owner, name, allowed = owner.conv, "fp32_precision", "tf32"
        before = owner.fp32_precision
    setattr(owner, name, allowed)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _settings() -> list[Any]:
    """Return what has an `fp32_precision`, the more general first; before torch 2.9 there is none."""
    if not hasattr(BACKENDS, "fp32_precision"):
        return []
    cudnn, mkldnn = BACKENDS.cudnn, BACKENDS.mkldnn
    return [
        BACKENDS, cudnn, mkldnn, BACKENDS.cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn,
    ]  # fmt: skip


def _read(getter: Any) -> Any:
    """Return what a getter of the first way returns, or None where both ways were used and it raises."""
    try:
        return getter()
    except RuntimeError:
        return None
