"""Files of weights: tensors by name, whatever they were wrapped in, fitted to a network without a name left over."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lcrbench.errors import UserError
from lcrbench.untrusted import DEEPEST, FREE_BYTES, MOST_RATIO, bytes_of, opened, place, shown

WRAPPERS: Final = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "last", "params")
PREFIXES: Final = ("module.", "model.", "_orig_mod.", "net.", "network.")
SHOWN: Final = 4

MOST_TOLD: Final = 1 << 22
"""Bytes that a file of weights has besides tensors: names, shapes and wrappers, some 200 for each tensor."""


def load_into(network: nn.Module, file: str) -> None:
    """Load the weights in a file into a network, in place.

    Wrappers (`state_dict`, `model`, ...) and prefixes (`module.`, `model.`, `_orig_mod.`) are taken off. Raises `UserError`
    where the file cannot be read, holds more than tensors, or does not fit: with the names that are missing or too many.
    """
    state = read(file)
    wanted = network.state_dict()
    fitted = without_prefixes(state, wanted)
    missing = [k for k in wanted if k not in fitted and not _counter(k)]
    extra = [k for k in fitted if k not in wanted]
    other = [k for k in wanted if k in fitted and wanted[k].shape != fitted[k].shape]
    complexes = [k for k in wanted if k in fitted and fitted[k].is_complex() > wanted[k].is_complex()]
    if missing or extra or other or complexes:
        parts = [
            _told("missing", missing),
            _told("unexpected", extra),
            _told("of complex numbers", complexes),
            _told("of another shape", [f"{k} {tuple(fitted[k].shape)} for {tuple(wanted[k].shape)}" for k in other]),
        ]
        raise UserError(f"the weights in {file} do not fit the network: {'; '.join(p for p in parts if p)}")
    # Counters of steps, which old files lack, change no output in evaluation mode.
    network.load_state_dict({**{k: v for k, v in wanted.items() if _counter(k)}, **fitted})


def read(file: str) -> dict[str, Tensor]:
    """Return the tensors in a file of weights by name, as they are called there but for wrappers."""
    path = place(file)
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, Tensor] = safetensors.torch.load(bytes_of(path))
            return tensors
        with opened(path) as plain:
            _check_size(plain)
            found: Any = torch.load(plain, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read the weights {file} ({error.strerror or error}): check the path") from error
    except UserError as error:
        raise UserError(f"{file} {error}") from error
    except (SafetensorError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError, KeyError) as error:
        first = str(error).partition("\n")[0]
        raise UserError(f"{file} is no file of weights ({first})") from error
    except Exception as error:  # torch refuses by an exception of the format that it does not read on
        raise UserError(
            f"{file} holds more than tensors, and to read that would run code: save the state_dict() alone, best as "
            ".safetensors"
        ) from error
    return _unwrapped(found, file)


def _check_size(file: BinaryIO) -> None:
    """Raise `UserError` for a file that unpacks out of all proportion, or whose description of tensors is far too long.

    torch unpacks what was packed, which it never packs itself, and reads the description in Python, a byte in a microsecond.
    """
    if zipfile.is_zipfile(file):
        size = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
        if sum(info.file_size for info in infos) > FREE_BYTES + MOST_RATIO * size:
            raise UserError(f"unpacks out of all proportion to its {size:,} bytes: get it again")
        if any(info.filename.endswith(".pkl") and info.file_size > MOST_TOLD for info in infos):
            raise UserError(f"holds more than {MOST_TOLD:,} bytes beside its tensors: save the state_dict() alone")
    file.seek(0)


def _is_plain(tensor: Tensor) -> bool:
    return not (tensor.is_nested or tensor.is_quantized or tensor.is_meta) and tensor.layout is torch.strided


def _unwrapped(found: Any, file: str) -> dict[str, Tensor]:
    for _ in range(DEEPEST):
        if not isinstance(found, Mapping):
            break
        tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
        inner = next((found[w] for w in WRAPPERS if isinstance(found.get(w), Mapping)), None)
        if inner is None:
            if other := [name for name, tensor in tensors.items() if not _is_plain(tensor)]:
                raise UserError(
                    f"{file}: '{shown(other[0])}' is no dense tensor with values (but sparse, quantized, nested, or meta): "
                    "save it as one"
                )
            if tensors:
                return tensors
            break
        found = inner
    names = ", ".join(map(str, list(found)[:SHOWN])) if isinstance(found, Mapping) else type(found).__name__
    raise UserError(f"{file} holds no weights by name, but {names}: save the state_dict() of the network")


def without_prefixes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without the prefixes that all of their names have, until one of them is wanted."""
    found = dict(state)
    while found and not found.keys() & wanted.keys():
        prefix = next((p for p in PREFIXES if all(k.startswith(p) for k in found)), None)
        if prefix is None:
            break
        found = {k.removeprefix(prefix): v for k, v in found.items()}
    return found


def _counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _told(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what}: {', '.join(names[:SHOWN])}{more}"
