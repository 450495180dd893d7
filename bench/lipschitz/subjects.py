"""Networks to measure: those of finished runs, with their kept weights, and modules from elsewhere."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from lcrbench.bench import data
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.loading import as_hashed
from lcrbench.bench.evaluation.known import Known
from lcrbench.bench.evaluation.networks import external, restored
from lcrbench.bench.evaluation.on_request import check_logits
from lcrbench.bench.evaluation.run import Looked
from lcrbench.bench.evaluation.takeover import own_data, present
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import Protocol, TestSet
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.models.binary import binary_layers


class Network(NamedTuple):
    """A network to measure, by its name in messages: what it is shown, and what is known of it.

    `record` is that of the run that trained it, None for another's. `run_id` is set where the store is to keep what is
    measured: where the images are the run's own.
    """

    name: str
    record: Record | None
    looked: Looked
    dataset: Dataset
    protocol: Protocol
    known: Known | None = None
    run_id: str = ""

    @property
    def has_signs(self) -> bool:
        """Tell whether the network has binary layers: it jumps, and no Lipschitz constant is finite."""
        return bool(binary_layers(self.looked.network))


def of_run(
    store: Store, prefix: str, source: str | None = None, device: str = "cpu", *, trust_plugins: bool = False
) -> Network:
    """Return the trained network of a run on its own test images, or on those of `source`.

    A run of an older schema is taken over first. Raises `UserError` if there is no such run, if it failed, or if the data
    are not those it was trained with.
    """
    run_id = store.find(prefix)
    store.trained(run_id)  # refuses a failed run before its data are looked for
    spec = present(store, run_id) if source is None else store.record(run_id).spec
    record = store.record(spec.run_id if spec.run_id in store.ids() else run_id)
    training, weights = store.trained(record.run_id)
    looked = restored(training, weights, trust_plugins=trust_plugins, device=device)
    name = f"{spec.label} seed {spec.seed} ({record.run_id[:8]})"
    if source is not None:
        stream = as_hashed(source, spec.training.data.hash_kind)
        dataset = data.load(source, size=spec.data.size, stream=stream)
        return Network(name, record, looked, dataset, _clean(dataset, spec.data.size, spec.protocol.block))
    found = store.known(record.spec.evaluation_id)
    known = Known(*found) if found else None
    return Network(name, record, looked, own_data(spec), spec.protocol, known, record.run_id)


def _clean(dataset: Dataset, size: int, block: int = 100) -> Protocol:
    """Return the protocol that shows a data set's test images as they are."""
    test = TestSet(
        name=dataset.name,
        sha256=dataset.whole_sha256,
        size=size,
        classes=dataset.classes,
        images=len(dataset.test.labels),
        hash_kind=dataset.hash_kind,
    )
    return Protocol(test=test, corruptions=(), severities=(), block=block)


def of_model(path: str, source: str, size: int, device: str = "cpu") -> Network:
    """Return the network that MODULE:FUNCTION makes, with the test images of a data set. It is measured as it comes.

    Modules of the current folder are found, as `python -m` would. Raises `UserError` with what their code raised, and if
    the outputs for two test images are not logits.
    """
    made = _made(path).to(device)
    dataset = data.load(source, size=size)
    check_logits(made, dataset, f"--model {path}", device)
    looked = external(made, path, path.partition(":")[0])
    return Network(path, None, looked, dataset, _clean(dataset, size))


def _made(path: str) -> nn.Module:
    """Return what the function at MODULE:FUNCTION makes."""
    module, colon, function = path.partition(":")
    takes = "--model takes MODULE:FUNCTION, a function without arguments that returns a torch module"
    if not (module and colon and function):
        raise UserError(f"{takes}, not '{path}'")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        make = getattr(importlib.import_module(module), function)
        if isinstance(make, nn.Module):
            raise UserError(f"{takes}; '{path}' is the module itself")
        if not callable(make) or _needs(make):
            what = f"needs arguments: {', '.join(_needs(make))}" if callable(make) else "is no function"
            raise UserError(f"{takes}; '{path}' {what}")
        made = make()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # their code may raise anything
        missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        hint = ": modules of the current folder and of PYTHONPATH are found" if missing else ""
        first = str(error).partition("\n")[0]
        raise UserError(f"--model {path}: {type(error).__name__}: {first}{hint}") from error
    if not isinstance(made, nn.Module):
        raise UserError(f"{takes}; '{path}' returns {type(made).__name__}")
    return made


def _needs(make: Callable[..., Any]) -> list[str]:
    """Return the arguments without which a function cannot be called."""
    try:
        given = inspect.signature(make).parameters.values()
    except ValueError:  # some functions of C tell nothing about theirs
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in given if p.default is p.empty and p.kind not in optional]
