"""Operator norms of layers as they are deployed, in brackets, and the product bound of a network's surrogate.

Everything is l2 to l2, in float64, on the real operator: binary weights with their scales, batch norm folded in, stride
and zero padding as they are. The norm of a layer's linear map is given as a bracket:

- below, Golub-Kahan-Lanczos on the operator itself with full reorthogonalization (a Ritz value never exceeds the norm);
- above, the norm of a convolution on a torus that holds the zero-padded one. With stride s, splitting positions
  k = s k' + r (polyphase: C_in s^2 input channels, k' = ceil(k / s) taps) gives a stride-1 correlation; on a torus of
  N >= n_out + k' - 1 positions none of the n_out outputs wraps around, so the operator is P C_N Q with partial isometries
  P and Q, and its norm is at most max ||W^(w)||_2 over the frequencies w = 2 pi j / N (Sedghi, Gupta, Long 2019,
  arXiv 1805.10408, for the torus). Multiplying taps by e^{i t k} multiplies the operator by unitary diagonals on both
  sides, so the grid of frequencies may be shifted by any t: on small maps, where the grid is coarse, the half-step shift
  is tried as well and the smaller bound taken. It misses the mean, at which many kernels peak and where zero padding
  bites. The gap closes as the map grows. A map smaller than the kernel would need a torus much larger than itself: there
  the operator is made a matrix, and the bound is its norm.

A batch norm that follows a layer is folded into the layer. One that follows no layer, behind an activation or a sum, is
folded into the next layer, through pools and activations that act on each channel alone: with f(x)_c - f(y)_c = d_c u_c
and ||u|| <= s ||x - y||, ||W (f(x) - f(y))|| <= ||W diag(d)|| s ||x - y||.

A network of signs has no finite Lipschitz constant. What can be bounded is its *surrogate*: the same weights, with
hardtanh in place of each sign. `product_bound` walks through the network's graph, multiplies norms along chains, adds them
where branches meet, and so bounds the surrogate's Lipschitz constant from above (Szegedy et al. 2013, arXiv 1312.6199).

What can be bounded of the network of signs itself is its range: no two images of the box [0, 1]^d give outputs further
apart than `range_bound`, which carries distances through the same graph, from sqrt(d) at the pixels. n signs are at most
2 sqrt(n) apart whatever came before them, and n numbers in [-1, 1] too. Where a network ends in hardtanh, global average
pooling over C channels and a linear layer W, it is 2 sqrt(C) ||W||_2 (with a batch norm d before it, of W diag(d)).
"""

from __future__ import annotations

from lcrbench.models.spectral.graph import Bounds, Layer, product_bound, range_bound, sign_slope
from lcrbench.models.spectral.operators import (
    Bracket,
    conv_bracket,
    conv_lower,
    conv_upper,
    known_brackets,
    lanczos,
    matrix_bracket,
    norm_scale,
)
from lcrbench.models.spectral.rules import SIGNS, level

__all__ = [
    "SIGNS",
    "Bounds",
    "Bracket",
    "Layer",
    "conv_bracket",
    "conv_lower",
    "conv_upper",
    "known_brackets",
    "lanczos",
    "level",
    "matrix_bracket",
    "norm_scale",
    "product_bound",
    "range_bound",
    "sign_slope",
]
