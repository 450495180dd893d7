"""Searches that are kept: each ball is stored when it is found, and a search that was interrupted goes on from there."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import search
from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.lipschitz.results import Found, Modulus, Start
from lcrbench.bench.records import source
from lcrbench.errors import UserError

ARRAYS = [f.name for f in dataclasses.fields(Found) if f.name != "ball"]


def identity(oracle: Oracle, start: Start, options: Options) -> str:
    """Return a hash of what a ball's result depends on besides the ball: network, images, effort, and the code of all.

    Weights alone do not tell networks apart: a module from elsewhere may compute something else with the same ones.
    """
    effort = dataclasses.asdict(options) | {"l2": None, "linf": None}
    digest = hashlib.sha256(json.dumps(effort, sort_keys=True).encode())
    digest.update(str(oracle.block).encode() + start.indices.tobytes() + oracle.images.tobytes())
    network = oracle.subject.network
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    digest.update(start.logits.tobytes() + repr(network).encode() + source.closure([__name__]).sha256.encode())
    for name, module in network.named_modules():
        # Numbers that are no tensors, such as how sharp an estimator is.
        plain = {k: v for k, v in vars(module).items() if isinstance(v, (bool, int, float, str)) and k != "training"}
        digest.update(f"{name} {sorted(plain.items())}".encode())
    for code in sorted({_source(type(module)) for module in network.modules()}):
        digest.update(code)
    return digest.hexdigest()[:16]


def _source(kind: type) -> bytes:
    """Return the file that a class from elsewhere is written in; nothing for torch's, ours, and where there is no file."""
    if kind.__module__.partition(".")[0] in ("torch", "torchvision", "lcrbench"):
        return b""
    try:
        return Path(inspect.getsourcefile(kind) or "").read_bytes()
    except (TypeError, OSError):
        return b""


def modulus(
    subject: Subject,
    options: Options,
    folder: Path,
    tell: Callable[[str], None] = lambda text: None,
    tick: Callable[[int], None] = lambda passes: None,
) -> Modulus:
    """Search a network as `search.modulus` does, which then returns the result without searching.

    Balls that `folder` holds already are read, and each new one is stored as soon as it is found. A ball's result depends on
    the smaller balls it starts from, so a stored one counts only if all before it are there. `tell` is given a line a ball,
    `tick` the number of single images that passed through the network.
    """
    oracle, start = search.begin(subject, options)
    place = folder / "search" / identity(oracle, start, options)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    wanted = options.balls()
    files, chain = [], ""
    for ball in wanted:
        chain = hashlib.sha256(f"{chain}{ball}".encode()).hexdigest()[:12]
        files.append(place / f"{ball.norm}-{ball.eps * 255:g}-{chain}.npz")
    known = []
    for ball, file in zip(wanted, files, strict=True):
        if (entry := _read(file, ball)) is None:
            break
        known.append(entry)
    tick(round(options.passes * len(known) / len(wanted)))
    oracle.tick = tick
    found = []
    for k, (entry, file) in enumerate(zip(search.balls(oracle, start, options, known), files, strict=True)):
        if k >= len(known):
            _store(file, *entry)
        found.append(entry)
        f, how = entry[0], "read" if k < len(known) else "found"
        tell(
            f"{k + 1} of {len(wanted)}, {f.ball.norm} {f.ball.eps * 255:g}/255 {how}: "
            f"median kappa >= {np.median(f.kappa):.3g}, flips found {f.flipped.mean():.0%}"
        )
    result = Modulus(start, tuple(f for f, _ in found), tuple(s for _, s in found))
    search.remember(subject, options, result)
    return result


def _store(file: Path, found: Found, spread: tuple[float, ...]) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}.npz")
    try:
        np.savez(draft, spread=np.array(spread), **{name: getattr(found, name) for name in ARRAYS})
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UserError(f"cannot write to {file.parent}: {error.strerror or error}") from error


def _read(file: Path, ball: Ball) -> tuple[Found, tuple[float, ...]] | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            return Found(ball, **{name: stored[name] for name in ARRAYS}), tuple(map(float, stored["spread"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None  # missing or cut short: found again
