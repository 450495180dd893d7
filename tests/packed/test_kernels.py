"""Single kernels against the popcount reference and torch: filters, borders, strides, means, thresholds, bounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lcrbench.models import packed
from lcrbench.models.api import Sign
from lcrbench.models.estimators import polynomial
from lcrbench.models.methods.adabin import AdaptiveSign
from lcrbench.models.methods.dorefa import UnitSign
from lcrbench.models.methods.reactnet import RSign
from lcrbench.models.packed import fields as f
from lcrbench.models.packed import filters, finishes, machine, maps, plan, probes
from tests.packed.nets import make

SHAPES = [  # channels, outputs, height, width, kernel, stride
    (16, 16, 5, 5, 3, 1), (16, 32, 8, 8, 3, 2), (16, 16, 1, 1, 3, 1), (16, 32, 7, 3, 1, 2), (32, 16, 6, 9, 3, 1),
    (32, 32, 2, 2, 3, 2), (64, 64, 7, 7, 3, 1), (64, 16, 14, 14, 3, 2), (96, 48, 3, 4, 3, 1), (128, 16, 4, 4, 3, 1),
    (256, 16, 3, 3, 1, 1), (512, 16, 2, 3, 3, 1), (1024, 16, 1, 2, 1, 1),
]  # fmt: skip


def row(**values: int) -> np.ndarray:
    made = np.zeros(f.FIELDS, np.int64)
    made[[f.SIGNS, f.TO, f.FROM]] = f.NONE
    for name, value in values.items():
        made[getattr(f, name)] = value
    return made


def convolution(x: np.ndarray, bits: np.ndarray, stride: int) -> tuple[machine.Segment, machine.Tables, machine.Needs]:
    """Return a segment that signs maps x (N, H, W, C) and convolves them, without a scale or anything after it."""
    _, height, width, channels = x.shape
    out, kernel = len(bits), bits.shape[-1]
    rows, columns = ((n + 2 * (kernel // 2) - kernel) // stride + 1 for n in (height, width))
    words = filters.words(bits)
    values = np.zeros((f.ROWS_OF_PARAMETERS, out), np.float32)
    values[[f.SCALE, f.ALPHA]] = 1
    bases = filters.bases(bits)
    thresholds = np.zeros((f.ROWS_OF_PARAMETERS, channels), np.float32)
    parameters = np.concatenate([finishes.by_block(values), finishes.by_block(thresholds)])
    operations = np.stack(
        [
            row(
                KIND=f.SIGN, IN=channels, OUT=channels, HEIGHT=height, WIDTH=width, ROWS=height, COLUMNS=width, STRIDE=1,
                FROM=f.GIVEN, SIGNS=0, SIGNS_PITCH=channels // 16, PARAMETERS=values.size,
            ),
            row(
                KIND=f.CONVOLVE, KERNEL=kernel, IN=channels, OUT=out, HEIGHT=height, WIDTH=width, STRIDE=stride, ROWS=rows,
                COLUMNS=columns, TO=f.WANTED, TO_PITCH=out, WORDS=words.shape[1],
            ),
        ]
    )  # fmt: skip
    tables = machine.Tables(words.reshape(-1), parameters, bases.reshape(-1), np.zeros(bases.size, np.float32))
    needs = machine.Needs(machine.bits_words(channels, height, width), (height + 2) * (width + 2), 0)
    segment = machine.Segment(operations, height * width * channels, 0, rows * columns * out)
    segment.check(tables, needs)
    return segment, tables, needs


@pytest.mark.parametrize("share", [0.4, 0.0, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_convolution_counts_as_the_reference_does(shape: tuple[int, ...], share: float) -> None:
    channels, out, height, width, kernel, stride = shape
    random = np.random.default_rng(sum(shape))
    x = random.standard_normal((3, height, width, channels)).astype(np.float32)
    x[0] = -np.abs(x[0])  # so that all bits of an image may differ from a filter's, or none
    bits = np.where(random.random((out, channels, kernel, kernel)) < share, 1, -1)
    segment, tables, needs = convolution(x, bits, stride)
    found = np.full((3, segment.wanted), np.nan, np.float32)
    segment.run(tables, machine.Memory(needs), x.reshape(3, -1), x[:, 0, 0, :0], found, (0, 3))
    signs = torch.from_numpy(np.where(x >= 0, 1.0, -1.0)).permute(0, 3, 1, 2)
    packed_bits = np.packbits(bits.reshape(out, -1) > 0, axis=1)
    wanted = packed.count(signs, packed_bits, kernel, stride, kernel // 2).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


@pytest.mark.parametrize(
    ("channels", "height", "width"), [(16, 32, 32), (16, 1, 1), (48, 1, 3), (32, 17, 5), (64, 56, 56), (512, 4, 4)]
)
def test_a_sum_is_made_in_torchs_order(channels: int, height: int, width: int) -> None:
    work = np.zeros(32, np.float32)

    def mean(image: np.ndarray) -> float:
        return float(np.float32(maps.total(image.ctypes.data, image.size, work.ctypes.data)) / np.float32(image.size))

    assert probes.mean_is_known(channels, height, width, mean)
    assert not probes.mean_is_known(16, 32, 32, lambda image: float(image.mean(dtype=np.float64)))


def sign_of(kind: str) -> Sign:
    if kind == "threshold":
        sign: Sign = RSign(16)
        sign.get_parameter("shift").data.normal_(generator=torch.Generator().manual_seed(0))
    elif kind == "unit":
        sign = UnitSign()
    elif kind == "plain":
        sign = polynomial.Estimator()
    else:
        sign = AdaptiveSign("released")
        sign.get_parameter("shift").data.fill_(0.3)
        sign.get_parameter("scale").data.fill_({"falling": -0.7, "tiny": 1e-30, "huge": 1e30}[kind])
    return sign.eval()


@pytest.mark.parametrize("kind", ["threshold", "unit", "plain", "falling", "tiny", "huge"])
def test_a_threshold_says_what_the_sign_says_of_every_float(kind: str) -> None:
    sign = sign_of(kind)
    found, falls = probes.thresholds(sign, 16)
    assert falls == (kind == "falling")
    random = np.random.default_rng(0)
    bits = random.integers(0, 1 << 32, (4000, 16), np.uint32).view(np.float32)
    near = found.view(np.int32)[None] + random.integers(-3, 4, (1000, 16), np.int32)
    x = np.concatenate([bits, near.view(np.float32), np.zeros((1, 16), np.float32), -np.zeros((1, 16), np.float32)])
    x = np.where(np.isfinite(x), x, 0).astype(np.float32)
    with torch.inference_mode():
        wanted = sign(torch.from_numpy(x).view(-1, 16, 1, 1)).numpy().reshape(x.shape) > 0
    np.testing.assert_array_equal((x >= found) != falls, wanted)


def test_what_would_leave_the_memory_is_refused_before_it_runs() -> None:
    made = plan.of(make("adabin", "resnet20:shortcut=binary,convs=2", 8), 8, 8)
    offsets = (f.BITS, f.SIGNS, f.SIGNS_BLOCK, f.TO_AT, f.TO_CHANNEL, f.FROM_AT, f.WEIGHTS, f.PARAMETERS, f.CASES)
    sizes = (f.IN, f.OUT, f.HEIGHT, f.ROWS, f.COLUMNS, f.WORDS)
    caught = 0
    for segment in made.segments:
        for k, operation in enumerate(segment.operations):
            for column in (*offsets, *sizes):
                kind = operation[f.KIND]
                unused = (column in (f.TO_AT, f.TO_CHANNEL) and operation[f.TO] == f.NONE) or (
                    column == f.FROM_AT and operation[f.FROM] == f.NONE
                )
                of_convolutions = column in (f.BITS, f.TO_CHANNEL, f.WEIGHTS, f.CASES, f.WORDS) and kind != f.CONVOLVE
                no_table = column == f.PARAMETERS and kind not in (f.CONVOLVE, f.FINISH, f.SIGN)
                no_signs = column in (f.SIGNS, f.SIGNS_BLOCK) and operation[f.SIGNS] == f.NONE
                if (
                    unused
                    or of_convolutions
                    or no_table
                    or no_signs
                    or (kind in (f.SIGN, f.CENTRE) and column == f.OUT)
                ):
                    continue
                changed = segment.operations.copy()
                changed[k, column] += 1 << 20
                with pytest.raises(IndexError):
                    dataclasses.replace(segment, operations=changed).check(made.tables, made.needs)
                caught += 1
    assert caught > 250


def test_arrays_of_another_size_are_refused() -> None:
    x = np.zeros((2, 4, 4, 16), np.float32)
    segment, tables, needs = convolution(x, np.ones((16, 16, 3, 3)), 1)
    out, none = np.zeros((2, segment.wanted), np.float32), x[:, 0, 0, :0]
    given = x.reshape(2, -1)
    wrong = [
        (given[:, 1:], out, 2),
        (given, out[:, 1:], 2),
        (given, out.astype(float), 2),
        (given, out, 3),
        (given[:1], out, 2),
    ]
    for a, b, last in wrong:
        with pytest.raises(IndexError, match="do not lie in"):
            segment.run(tables, machine.Memory(needs), a, none, b, (0, last))
