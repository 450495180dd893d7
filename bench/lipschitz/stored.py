"""Searches that are kept: each round is stored when it ends, and an interrupted or larger search goes on from there."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.lipschitz.results import Modulus, Start
from lcrbench.bench.records import source
from lcrbench.bench.records.files import pack, seal_bytes, sealed_bytes, unpack
from lcrbench.errors import UserError


def identity(oracle: Oracle, start: Start, options: Options) -> str:
    """Return a hash of what a round's result depends on besides its number: network, images, radii, and the code of all.

    The images are those that are measured, and those that walks may end at.

    Weights alone do not tell networks apart: a module from elsewhere may compute something else with the same ones.
    """
    effort = dataclasses.asdict(options) | {"effort": None}
    digest = hashlib.sha256(json.dumps(effort, sort_keys=True).encode())
    digest.update(f"{oracle.block} {oracle.subject.block}".encode() + start.indices.tobytes() + oracle.images.tobytes())
    digest.update(search.others(oracle, options.seed).tobytes())
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

    Rounds that `folder` holds already are read, also those of a smaller effort, and each new one is stored as soon as it
    ends. `tell` is given a line a round, `tick` the number of single images that passed through the network.
    """
    oracle, start = search.begin(subject, options)
    place = folder / "search" / identity(oracle, start, options)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    efforts = options.looks()
    files = [place / f"{effort.passes}.round" for effort in efforts]
    known = []
    for file in files:
        if (state := _read(file)) is None:
            break
        known.append(state)
    if known:
        tick(len(start.indices) * (efforts[len(known) - 1].passes or 0))
    oracle.tick = tick
    ended = []
    for k, (one, file) in enumerate(zip(search.rounds(oracle, start, options, known), files, strict=True)):
        if k >= len(known):
            seal_bytes(file, pack(one.state))
        ended.append(one)
        found = ", ".join(
            f"{f.ball.norm} {f.ball.eps * 255:g}/255 {np.median(f.kappa):.3g} and {f.flipped.mean():.0%}"
            for f in one.look.found
        )
        how = "read" if k < len(known) else "searched"
        tell(f"{efforts[k].passes} passes an image {how}: median kappa and flips found: {found}")
    if ended[-1].blind:
        tell("gives no gradient: only the decision-based part of the search was run, so it may be underestimated")
    result = search.gathered(start, ended)
    search.remember(subject, options, result)
    return result


def _read(file: Path) -> dict[str, np.ndarray] | None:
    """Return what a round ended with; None where no whole file holds it, and the round is searched again."""
    content = sealed_bytes(file)
    return None if content is None else unpack(content)
