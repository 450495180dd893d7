"""The columns of a table of operations, which the plan writes and the kernels read, and the values in them.

An operation is one row of whole numbers. Floats of one image lie as (H, W, C) in one of four places: `GIVEN`, the input of
a segment; `BESIDE`, a shortcut that torch computed; `WANTED`, the output of a segment; `OWN`, the thread's own memory,
from an offset on. Signs of one image lie as bits (H + 2, W + 2, C), 1 for +1, with a border of zeros, sixteen channels to
a word. `NONE` stands for what an operation has not.
"""

from __future__ import annotations

NONE = -1
GIVEN, BESIDE, WANTED, OWN = range(4)

CONVOLVE, FINISH, SIGN, CENTRE, MEAN, TAKE = range(6)
"""Binary convolution with all that follows it; what follows a real one; signs by channel; signs about an image's mean;
the mean of 2 x 2 positions; every second position."""

(
    KIND,
    KERNEL,  # 1 or 3
    IN,  # channels
    OUT,
    HEIGHT,  # of the input
    WIDTH,
    STRIDE,
    ROWS,  # of the output, before a pool
    COLUMNS,
    BITS,  # where the input's bits begin, in words of 16 bits
    SIGNS,  # where the output's bits begin
    SIGNS_PITCH,  # words of 16 bits from one position of the output's bits to the next
    SIGNS_BLOCK,  # the first of these words that is written
    TO,  # place of the output's floats
    TO_AT,  # offset there
    TO_PITCH,  # floats from one position to the next
    TO_CHANNEL,  # the first channel that is written
    FROM,  # place of the shortcut's floats, or of the input's
    FROM_AT,
    POOL,
    BEFORE,  # activation before the batch norm
    AFTER,  # activation at the end
    FUSED,  # whether the batch norm rounds once
    LEVELS,  # whether signs and filters stand for other values than -1 and +1
    WEIGHTS,  # offset of the filters, in words of 32 bits
    WORDS,  # words of 32 bits of one filter
    PARAMETERS,  # offset of the parameters
    CASES,  # offset of the constants by case of the border
) = range(28)
FIELDS = 28

UNPOOLED, POOL_FIRST, POOL_LAST, POOL_THREE = range(4)
"""No pool; 2 x 2 before the batch norm; 2 x 2 after it; 3 x 3 with stride 2 and a border of 1 at the end."""

PLAIN, CLIP, RELU, LEAKY, SHIFTED_LEAKY, TWO_SLOPES = range(6)
"""Activations: none, Hardtanh, ReLU, PReLU, RPReLU, Maxout."""

SCALE, ALPHA, BETA, THRESHOLD, FIRST, SECOND, THIRD, OFFSET, LEVEL = range(9)
"""Rows of parameters by channel: of the convolution, of the batch norm y = alpha x + beta, of the output's sign, three of
the activation, of the filters' offset, and of the input's values."""
ROWS_OF_PARAMETERS = 9
BLOCK = ROWS_OF_PARAMETERS * 16

BORDERS = 16
"""Cases of the border: 4 (top cut off + 2 bottom cut off) + left cut off + 2 right cut off."""
