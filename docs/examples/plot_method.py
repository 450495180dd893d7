"""
A method, from an idea to a table
=================================

An idea: binarize the activations around a threshold of half a standard deviation. The file, its check, and the comparison.
"""

import os
import tempfile
from pathlib import Path

import lcrbench

# %%
# A method is a module, here in a folder of the current folder, with a frozen dataclass `Method`, whose fields are its
# options.
os.chdir(tempfile.mkdtemp())
Path("my_plugins").mkdir()
Path("my_plugins/shifted.py").write_text('''
"""Signs around a threshold.

    forward:   y = conv(sign(x - shift), sign(w))        x (N, C_in, H, W), w (C_out, C_in, k, k)
    gradient:  d sign(z)/dz = 1 if |z| <= 1 else 0
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import clip


class Shifted(clip.Estimator):
    """The sign of what lies above `shift`."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def forward(self, x):
        return super().forward(x - self.shift)


class Signs(api.Binarizer):
    """w to sign(w), without a scale."""

    def __init__(self):
        super().__init__()
        self.estimator = clip.Estimator()

    def forward(self, weight):
        return self.estimator(weight), None


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `shift`, the threshold of the activations."""

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    shift: float = 0.5

    def conv(self, in_channels, out_channels, kernel_size, stride, padding):
        """Return a binary convolution whose inputs are signs around the threshold."""
        return BinaryConv2d(
            in_channels, out_channels, kernel_size, stride, padding, sign=Shifted(self.shift), binarizer=Signs()
        )

    def activation(self, channels):
        """Return the nonlinearity of each block."""
        return nn.Hardtanh()
''')
# %%
from lcrbench.testing import conform  # noqa: E402

conform("method", "my_plugins.shifted")

# %%
# Three methods under one budget. `my_plugins.shifted:shift=0` is the control: the same file without the idea.
store = tempfile.mkdtemp()
lcrbench.run(
    "gate",
    store,
    methods=("bnn", "my_plugins.shifted", "my_plugins.shifted:shift=0"),
    seeds=(0,),
    data={"test": 200},
    budget={"images": 3000},
    evaluation={"corruptions": ("fog", "gaussian_noise"), "severities": (1, 5)},
    quiet=True,
)

# %%
table = lcrbench.Store(store).table()
wanted = (table.metric == "accuracy") & (table.corruption == "") | (table.corruption == "common")
table[wanted].pivot(index="method", columns="metric", values="value").round(3)
