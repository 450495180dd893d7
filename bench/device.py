"""The device a run computes on: set up so that a run repeats to the bit, named for its record, and waited for."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from lcrbench import float32
from lcrbench.bench import processes
from lcrbench.bench.records.record import Provenance
from lcrbench.corruptions.engine import available_threads
from lcrbench.errors import UserError

# Each process on an accelerator keeps a context of half a gigabyte there, and they take turns.
SHARING = 4


def choose(name: str) -> str:
    """Return the device that "cpu", "cuda", "cuda:N" or "auto" stands for; raises `UserError` if there is none.

    Nothing is started on it: a process that has cannot hand it on to those it forks.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if there else "cpu"
    kind, _, number = name.partition(":")
    if name == "cpu" or (name == "cuda" and there):
        return name
    if kind == "cuda" and number.isdecimal() and len(number) < 6 and int(number) < there:
        return name
    known = ["auto", "cpu", "cuda", *(f"cuda:{i}" for i in range(there))]
    lacking = "" if there else " (torch finds no CUDA device here)"
    raise UserError(f"no device '{name}' here{lacking}: give one of {', '.join(known)}")


def workers(device: str, unit: str) -> int:
    """Return how many runs to work on at once by default: all cores, few on an accelerator.

    Under a budget in seconds of an accelerator it is one, since its seconds would be shared.
    """
    cores = available_threads()
    return cores if device == "cpu" else 1 if unit == "seconds" else min(cores, SHARING)


def enough(device: str, processes: int) -> None:
    """Raise `UserError` if the machine has no CUDA device for each of some processes, from the one that is named on."""
    if device != "cpu" and (there := torch.cuda.device_count()) < int(device.partition(":")[2] or 0) + processes:
        raise UserError(f"{processes} processes need a CUDA device each, from {device} on, and there are {there}")


def beside(device: str, place: int) -> str:
    """Return the device of a process of a group, by its place on its machine, if that of the first process is `device`."""
    kind, _, first = device.partition(":")
    return device if kind == "cpu" else f"{kind}:{int(first or 0) + place}"


def readers(device: str, at_once: int) -> int:
    """Return how many processes of each run read streamed images ahead by default: the cores that no run computes on.

    On an accelerator there is one at least, so that it need not wait for a core that decodes.
    """
    spare = available_threads() // max(1, at_once) - 1
    return max(0, spare) if device == "cpu" else min(16, max(1, spare))


def prepare(device: str) -> None:
    """Set this process up for one run: one thread, deterministic algorithms, exact float32, and memory that it keeps."""
    processes.keep_memory()
    # Read when cuBLAS starts: without a workspace of their own, its sums may change from run to run.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # Else each new tensor is first filled with NaN, for debugging: a tenth of a step's time, and no bit of difference.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined,unused-ignore]
    # Trying algorithms out would choose by the clock.
    torch.backends.cudnn.benchmark = False
    float32.exact()
    if device != "cpu":
        torch.cuda.set_device(torch.device(device).index or 0)


def describe(device: str, planned: Provenance) -> Provenance:
    """Return the provenance with what this process, prepared for its run, finds of the device and its own settings."""
    on_cuda = torch.device(device).type == "cuda"
    determinism: dict[str, Any] = {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
        "cublas_workspace_config": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
    }
    versions = planned.versions
    if on_cuda:
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call,unused-ignore]
        versions = versions | {"cuda": torch.version.cuda or "", "cudnn": str(cudnn)}
    return planned.model_copy(
        update={
            "device_name": torch.cuda.get_device_name(device) if on_cuda else _processor(),
            "threads": torch.get_num_threads(),
            "deterministic": determinism["deterministic_algorithms"],
            "determinism": determinism,
            "versions": versions,
        }
    )


def wait(device: str) -> None:
    """Wait until an accelerator has done what it was asked: its work goes on while the program does."""
    if device != "cpu":
        torch.cuda.synchronize(torch.device(device))


def clock_of(device: str) -> str:
    """Return what the seconds of a training are."""
    return "process CPU" if device == "cpu" else "device, by the wall clock of a process that waits for it each step"


def _processor() -> str:
    """Return the model of the processor, as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, UnicodeDecodeError):
        pass
    return platform.processor() or platform.machine()
