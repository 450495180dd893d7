"""What a caller's process, shell or notebook may have changed: set aside for a call, and put back after it.

environment    MPLBACKEND, which matplotlib refuses to be imported with where the backend is a notebook's
warnings       filters that turn each warning of a library into an exception
numpy          error states;  random  the states of all generators
PIL            its leave to read truncated images, and its bound of pixels
torch          default type and device, gradients, threads, deterministic algorithms, precision, autocast, oneDNN
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

OURS = ("CUBLAS_WORKSPACE_CONFIG",)
"""Variables that a call sets for the libraries it starts."""

PILLOWS_PIXELS = 1024**3 // 4 // 3
"""Pillow's bound, unless a caller has set another: a third more than `images.decode` takes."""


def open_streams() -> None:
    """Open the standard streams that are closed, as a daemon's are, on the null device.

    Otherwise the first file that is opened takes a stream's number, and what a library prints goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one.
            os.open(os.devnull, os.O_RDWR)
            # For the processes of runs too.
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


@contextlib.contextmanager
def shielded(*, torch: bool = False) -> Iterator[None]:
    """Let a call find the state that Python starts with, and the caller the state that was there before.

    With `torch`, torch is imported, so that its state can be put back.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment())
        stack.enter_context(_warnings())
        if torch or "torch" in sys.modules:
            stack.enter_context(_torch())
        if "numpy" in sys.modules:
            stack.enter_context(_numpy())
        if "PIL.ImageFile" in sys.modules:
            stack.enter_context(_pillow())
        state = random.getstate()
        stack.callback(random.setstate, state)
        yield


def from_outside(function: Callable[P, R]) -> Callable[P, R]:
    """Shield a public function that computes with torch."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with shielded(torch=True):
            return function(*args, **kwargs)

    return call


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    names = ("MPLBACKEND", *OURS)
    before = {name: os.environ.get(name) for name in names}
    if "matplotlib" not in sys.modules:
        os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is not None:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)


@contextlib.contextmanager
def _warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # Those of one module's are a test suite's, and stay.
        if any(action == "error" and module is None for action, _, _, module, _ in warnings.filters):
            warnings.simplefilter("default")
        yield


@contextlib.contextmanager
def _numpy() -> Iterator[None]:
    import numpy as np

    state = np.random.get_state()  # noqa: NPY002
    with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


@contextlib.contextmanager
def _pillow() -> Iterator[None]:
    from PIL import Image, ImageFile

    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, PILLOWS_PIXELS
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


@contextlib.contextmanager
def _torch() -> Iterator[None]:
    import torch

    from lcrbench import float32

    backends: Any = torch.backends
    flags = [
        (backends.cudnn, "benchmark"),
        (backends.cudnn, "deterministic"),
        (backends.mkldnn, "enabled"),
        (torch.utils.deterministic, "fill_uninitialized_memory"),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name in flags]
    dtype, threads, grad = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    backends.mkldnn.enabled = True
    try:
        with contextlib.ExitStack() as stack:
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            stack.enter_context(float32.kept())
            float32.exact()
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        torch.set_num_threads(threads)
        if (
            torch.are_deterministic_algorithms_enabled() != deterministic
        ):  # it imports torch's compiler, which takes seconds
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_rng_state(state)
        for owner, name, value in kept:
            setattr(owner, name, value)
