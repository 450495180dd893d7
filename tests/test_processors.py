"""The same bits on processors with fewer instructions: numba and torch are told to use no more than these have.

Kernels compile in a process of their own, which takes minutes. A test of bits that holds with the instructions of this
processor alone would fail here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROCESSORS = {"AVX2": ("haswell", "avx2"), "x86-64": ("generic", "default")}
BITS = {
    "packed": ["packed/test_kernels.py", "packed/test_equal.py", "packed/test_engine.py"],
    "corruptions": ["corruptions/test_fidelity.py", "corruptions/test_rows.py"],
    "training": ["models/test_compiled.py"],
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BITS)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_bits_are_equal_there(processor: str, what: str) -> None:
    cpu, capability = PROCESSORS[processor]
    restricted = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "ATEN_CPU_CAPABILITY": capability}
    tests = [str(HERE / name) for name in BITS[what]]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *tests],
        env=os.environ | restricted,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout or "[100%]" in done.stdout
