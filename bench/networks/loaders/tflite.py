"""tflite:FILE, run by LiteRT on one thread of the processor: outputs alone, without gradient or layers.

Inputs of 8 bits are given the images' bytes, which the file scales itself; outputs of 8 bits are scaled back to numbers.
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

LACKS = "a TFLite file gives outputs alone"
SOFTMAX = 1 / 256
"""The scale that TFLite prescribes for a softmax's outputs of 8 bits."""


def load_network(name: Name) -> Loaded:
    """Return the network in a TFLite file; raises `UserError` where it cannot be read, or does not take images."""
    runtime = extra("ai_edge_litert.interpreter", "ai-edge-litert", "tflite")
    path = place(name.what)
    try:
        content = bytes_of(path)
        interpreter = runtime.Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    except OSError as error:
        raise UserError(f"cannot read {name.what} ({error.strerror or error}): check the path") from error
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{name.what} is no TFLite file that runs: {str(error).partition(chr(10))[0]}") from error
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shape, kind = [int(n) for n in into["shape"]], np.dtype(into["dtype"])
    if len(shape) != 4 or shape[3] != 3 or kind not in (np.uint8, np.int8, np.float32):
        raise UserError(f"{name.what} takes {kind.name} {shape}, not images (N, H, W, 3)")
    limits = None if kind == np.float32 else np.iinfo(kind)

    def run(images: np.ndarray) -> np.ndarray:
        if limits is not None:
            images = np.clip(np.rint(images), 0, 255) + limits.min
        given = images.astype(kind)
        return np.concatenate([_one(interpreter, into, out, image[None]) for image in given])

    return Loaded(
        Called(run, numpy=True),
        path.stem,
        preprocess=Preprocess(
            size=shape[1],
            range=(0.0, 1.0) if limits is None else (0.0, 255.0),
            layout="NHWC",
            origin="the file's input",
        ),
        weights_sha256=hashlib.sha256(content).hexdigest(),
        gives=ANSWERS,
        lacks=LACKS,
        probabilities=out["dtype"] in (np.uint8, np.int8) and out["quantization"][0] == SOFTMAX,
    )


def _one(interpreter: Any, into: dict[str, Any], out: dict[str, Any], image: np.ndarray) -> np.ndarray:
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    found: np.ndarray = interpreter.get_tensor(out["index"])
    scale, zero = out["quantization"]
    numbers = found.astype(np.float32)
    return (numbers - zero) * np.float32(scale) if scale else numbers
