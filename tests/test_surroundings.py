"""What a caller's process, shell or notebook may have changed neither breaks a call nor is left changed by it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

import lcrbench
from lcrbench.bench.records.measurement import MetricInfo
from lcrbench.bench.records.store import Store
from tests.bench import helpers


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(3, 10, dtype=torch.float32)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def state() -> dict[str, Any]:
    """Return what a caller can see of the process: each entry compares with ==."""
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "random": random.getstate(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002
        "numpy errors": np.geterr(),
        "torch": torch.get_rng_state().tolist(),
        "type": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "mkldnn": torch.backends.mkldnn.enabled,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "tf32": (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
        "precision": torch.get_float32_matmul_precision(),
        "warnings": [f[:3] for f in warnings.filters],
        "truncated": ImageFile.LOAD_TRUNCATED_IMAGES,
        "pixels": Image.MAX_IMAGE_PIXELS,
    }


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A process in which everything was changed."""
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), np.geterr())
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    np.seterr(all="raise")
    backends: Any = torch.backends
    mkldnn, backends.mkldnn.enabled = backends.mkldnn.enabled, False
    with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16):
        warnings.simplefilter("error")
        yield
    backends.mkldnn.enabled = mkldnn
    torch.set_default_dtype(before[0])
    torch.set_num_threads(before[1])
    torch.set_grad_enabled(before[2])
    np.seterr(**before[3])


def evaluate(tmp_path: Path) -> Any:
    return (
        lcrbench.evaluate(Net(), corruptions="contrast", severities=(1,), test=20, metrics=("accuracy",))
        .table()
        .value.tolist()
    )


def report(tmp_path: Path) -> Any:
    store = Store(tmp_path / "s", create=True)
    helpers.put(store, helpers.record())
    return sorted(p.name for p in lcrbench.report(store, tmp_path / "report").parent.iterdir())


def load(tmp_path: Path) -> Any:
    return lcrbench.load_data(train=50, test=20).sha256


def build(tmp_path: Path) -> Any:
    network = lcrbench.build_model("irnet", seed=3).eval()
    # What a caller does with it is the caller's: here without the odd autocast.
    with torch.autocast("cpu", enabled=False):
        return float(network(torch.zeros(1, 3, 32, 32, dtype=torch.float32)).sum())


@pytest.mark.parametrize("call", [evaluate, report, load, build])
def test_a_call_leaves_and_finds_the_same(call: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "a").mkdir()
    plain = call(tmp_path / "a")
    before = state()
    call(tmp_path / "a")
    after = state()
    assert {k: (before[k], after[k]) for k in before if before[k] != after[k]} == {}
    request.getfixturevalue("odd")
    before = state()
    (tmp_path / "b").mkdir()
    assert call(tmp_path / "b") == plain
    after = state()
    assert {k: (before[k], after[k]) for k in before if before[k] != after[k]} == {}


@pytest.mark.parametrize(
    "change",
    [
        {"MPLBACKEND": "nonsense", "PYTHONWARNINGS": "error"},
        pytest.param({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, marks=pytest.mark.slow),
        pytest.param({"PYTHONOPTIMIZE": "2"}, marks=pytest.mark.slow),
        pytest.param({"LC_ALL": "C", "PYTHONUTF8": "0"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_report_is_written_in_any_environment(tmp_path: Path, change: dict[str, str]) -> None:
    store = Store(tmp_path / "s", create=True)
    helpers.put(store, helpers.record())
    words = [sys.executable, "-m", "lcrbench.bench.cli", "report", str(tmp_path / "s")]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | change, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s" / "reports" / "all" / "index.html").is_file()


PRECISIONS = """
import torch
from torch.nn import functional as F
from lcrbench import float32, surroundings

b = torch.backends
rng = torch.Generator().manual_seed(0)
a, x, w = (torch.randn(*s, generator=rng) for s in ((256, 256), (8, 32, 16, 16), (32, 32, 3, 3)))

def read(get):
    try:
        return get()
    except RuntimeError:
        return "raises"

def state():
    getters = [lambda: b.cudnn.allow_tf32, lambda: b.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision]
    return [read(get) for get in getters] + [s.fp32_precision for s in float32._settings()]

def default():
    float32.exact()
    for s in float32._settings():
        s.fp32_precision = "none"
    b.cudnn.allow_tf32 = True

default()
expected = a @ a, F.conv2d(x, w)
for line in sys.argv[1:]:
    exec(line)
    before = state()
    with surroundings.shielded(torch=True):
        assert state()[:3] == [False, False, "highest"], state()
        assert set(state()[3:]) <= {"ieee"}, state()
        found = a @ a, F.conv2d(x, w)
        with float32.tf32_convolutions():
            assert b.cudnn.allow_tf32
    assert state() == before, (line, state(), before)
    with float32.tf32_convolutions():
        assert read(lambda: b.cudnn.allow_tf32) in (True, "raises")
        assert not hasattr(b, "fp32_precision") or b.cudnn.conv.fp32_precision == "tf32"
    assert state() == before, (line, state(), before)
    assert all(torch.equal(one, other) for one, other in zip(found, expected)), line
    default()
"""


def test_what_a_caller_allows_torch_to_round_changes_no_bit_and_stays_allowed() -> None:
    """By both of torch's ways, also mixed, where the getters of the older one raise."""
    ways = ["torch.set_float32_matmul_precision('medium')", "b.cudnn.allow_tf32 = b.cuda.matmul.allow_tf32 = True"]
    if hasattr(torch.backends, "fp32_precision"):
        ways += [
            "b.cudnn.conv.fp32_precision = 'ieee'",
            "b.fp32_precision = 'tf32'",
            "b.mkldnn.matmul.fp32_precision = b.mkldnn.conv.fp32_precision = 'bf16'",
        ]
    subprocess.run([sys.executable, "-c", "import sys\n" + PRECISIONS, *ways], check=True)


def test_a_metric_says_what_it_is_without_its_docstring() -> None:
    first = (__doc__ or "").partition("\n")[0]
    assert len(first.split()) > 10
    assert MetricInfo.about(None, "1", bound="exact").summary == first


@pytest.mark.slow
def test_records_do_not_depend_on_docstrings() -> None:
    """Python leaves them out under -OO, and what a metric says of itself is its module's first line."""
    code = "from lcrbench import registry\n"
    code += "for n in registry.names('metric'): print(n, registry.load('metric', n).INFO.summary)"
    said = [
        subprocess.run([sys.executable, *words, "-c", code], capture_output=True, text=True, check=True).stdout
        for words in ((), ("-OO",))
    ]
    assert said[0] == said[1]
    assert all(len(line.split()) > 2 for line in said[0].splitlines())


def test_streams_that_were_closed_are_open_for_the_processes_of_runs_too() -> None:
    code = (
        "import os; [os.close(n) for n in (0, 1, 2)]; from lcrbench import surroundings; surroundings.open_streams(); "
        "os._exit(0 if all(os.get_inheritable(n) for n in (0, 1, 2)) else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
