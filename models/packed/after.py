"""What follows a convolution's output, in torch's float32 operations, each rounded as there."""

from __future__ import annotations

from typing import Any

from lcrbench.models.packed import fields as f
from lcrbench.models.packed.compiled import inline
from lcrbench.vectors import (
    fused,
    larger,
    leaky,
    load_floats,
    minus,
    plus,
    smaller,
    times,
    zeros,
)


@inline
def activated(v: Any, kind: Any, p: Any) -> Any:
    """An activation of sixteen channels whose parameters lie at p."""
    if kind == f.CLIP:
        v = smaller(larger(v, load_floats(p, f.FIRST * 16)), load_floats(p, f.SECOND * 16))
    elif kind == f.RELU:
        v = larger(v, zeros())
    elif kind == f.LEAKY:
        v = leaky(v, load_floats(p, f.FIRST * 16))
    elif kind == f.SHIFTED_LEAKY:
        v = leaky(minus(v, load_floats(p, f.FIRST * 16)), load_floats(p, f.SECOND * 16))
        v = plus(v, load_floats(p, f.THIRD * 16))
    elif kind == f.TWO_SLOPES:
        below = times(smaller(v, zeros()), load_floats(p, f.SECOND * 16))
        v = plus(times(larger(v, zeros()), load_floats(p, f.FIRST * 16)), below)
    return v


@inline
def normalized(v: Any, once: Any, p: Any) -> Any:
    """alpha v + beta, rounded once or twice."""
    if once:
        return fused(v, load_floats(p, f.ALPHA * 16), load_floats(p, f.BETA * 16))
    return plus(times(v, load_floats(p, f.ALPHA * 16)), load_floats(p, f.BETA * 16))
