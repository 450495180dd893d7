"""The table of images a second that `tools/gpu_check.sh` prints on a CUDA device, made on the processor."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def tool() -> Any:
    spec = importlib.util.spec_from_file_location("throughput", TOOLS / "throughput.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_method_and_precision_has_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--device",
        "cpu",
        "--steps",
        "3",
        "--batch",
        "8",
        "--backbones",
        "vgg_tiny@16",
        "--methods",
        "bnn irnet+lcr",
    ]
    tool().main(words)
    head, *rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert head == "| backbone | method | plain | bf16 |"
    assert [row.split(" | ")[:2] for row in rows[1:]] == [["| vgg_tiny@16", "bnn"], ["| vgg_tiny@16", "irnet+lcr"]]
    for row in rows[1:]:
        assert re.fullmatch(r"\| [^|]+\| [^|]+\| [\d,]+ \| [\d,]+ \|", row), row


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_the_check_says_so(tmp_path: Path) -> None:
    import sys

    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", TOOLS / "gpu_check.sh", tmp_path], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "gpu_check: torch finds no CUDA device here\n"
