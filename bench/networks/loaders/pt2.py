"""pt2:FILE, a network that torch.export wrote. It has no layers by name, and its pseudo-gradients are gone.

torch.export writes the operations of the forward pass. A sign whose gradient was written by hand has none there, so that no
gradient comes back from a binary network, or a wrong one; that of a network without signs stays exact.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lcrbench.bench.metrics import Need
from lcrbench.bench.networks.loaded import ANSWERS, Called, Loaded
from lcrbench.bench.networks.name import Name
from lcrbench.errors import UserError
from lcrbench.untrusted import bytes_of, place

STEPS = ("aten.sign.", "aten.where.", "aten.ge.", "aten.gt.", "aten.le.", "aten.lt.", "aten.round.", "aten.heaviside.")
"""Operations that jump, by which a network of signs is told; their gradient is zero or none."""
LACKS = "torch.export keeps no layers by name"
NO_GRADIENT = "torch.export keeps no pseudo-gradient, and its operations jump; " + LACKS


@contextmanager
def _unlogged() -> Iterator[None]:
    """Leave out what torch logs of a file that it cannot read, tracebacks among it: the error that it raises says it."""
    logger = logging.getLogger("torch.export")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def load_network(name: Name) -> Loaded:
    """Return the network in a file of torch.export; raises `UserError` where it cannot be read."""
    path = place(name.what)
    try:
        content = bytes_of(path)
        with _unlogged():
            program = torch.export.load(path)
    except OSError as error:
        raise UserError(f"cannot read {name.what} ({error.strerror or error}): check the path") from error
    except Exception as error:  # what is no such file may raise anything
        raise UserError(f"{name.what} is no file of torch.export: {str(error).partition(chr(10))[0]}") from error
    jumps = any(str(node.target).startswith(STEPS) for node in program.graph.nodes if node.op == "call_function")
    module = program.module()
    return Loaded(
        Called(lambda images: module.to(images.device)(images)),  # it has no mode that could be set
        path.stem,
        weights_sha256=hashlib.sha256(content).hexdigest(),
        gives=ANSWERS if jumps else ANSWERS | {Need.GRADIENT},
        lacks=NO_GRADIENT if jumps else LACKS,
    )
