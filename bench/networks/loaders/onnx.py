"""onnx:FILE, run by onnxruntime on one thread of the processor: outputs alone, without gradient or layers.

A network of one input, float32 (N, C, H, W) or (N, H, W, C) or bytes, and one output (N, classes); the first of several.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from lcrbench.bench.networks.loaded import ANSWERS, Called, Loaded
from lcrbench.bench.networks.loaders import extra
from lcrbench.bench.networks.name import Name
from lcrbench.bench.records.external import Preprocess
from lcrbench.errors import UserError
from lcrbench.untrusted import bytes_of, place

LACKS = "an ONNX file gives outputs alone"


def load_network(name: Name) -> Loaded:
    """Return the network in an ONNX file; raises `UserError` where it cannot be read, or does not take images."""
    runtime = extra("onnxruntime", "onnxruntime", "onnx")
    path = place(name.what)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        content = bytes_of(path)
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise UserError(f"cannot read {name.what} ({error.strerror or error}): check the path") from error
    except Exception as error:  # the runtime has exceptions of its own
        raise UserError(f"{name.what} is no ONNX file that runs: {str(error).partition(chr(10))[0]}") from error
    into = session.get_inputs()[0]
    shape = list(into.shape)
    if len(shape) != 4 or into.type not in ("tensor(float)", "tensor(uint8)"):
        raise UserError(f"{name.what} takes {into.type} {shape}, not images (N, 3, H, W) or (N, H, W, 3)")
    last = shape[3] == 3 and shape[1] != 3
    pixels = shape[1] if last else shape[2]
    fixed = shape[0] if isinstance(shape[0], int) else None

    def run(images: np.ndarray) -> np.ndarray:
        given = images if into.type == "tensor(float)" else np.clip(np.rint(images), 0, 255).astype(np.uint8)
        parts = [given] if fixed is None else [given[i : i + fixed] for i in range(0, len(given), fixed)]
        out = [_one(session, into.name, part, fixed) for part in parts]
        return np.concatenate(out)

    return Loaded(
        Called(run, numpy=True),
        path.stem,
        preprocess=Preprocess(
            size=pixels if isinstance(pixels, int) else None,
            range=(0.0, 255.0) if into.type == "tensor(uint8)" else (0.0, 1.0),
            layout="NHWC" if last else "NCHW",
            origin="the file's input",
        ),
        weights_sha256=hashlib.sha256(content).hexdigest(),
        gives=ANSWERS,
        lacks=LACKS,
    )


def _one(session: Any, name: str, part: np.ndarray, fixed: int | None) -> np.ndarray:
    short = 0 if fixed is None else fixed - len(part)
    filled = np.concatenate([part, np.zeros((short, *part.shape[1:]), part.dtype)]) if short else part
    found: np.ndarray = np.asarray(session.run(None, {name: filled})[0])[: len(part)]
    return found
