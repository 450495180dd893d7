"""Networks to measure: those of finished runs, with their kept weights, and modules from elsewhere."""

from __future__ import annotations

from typing import NamedTuple

from lcrbench.bench import data
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.loading import as_hashed
from lcrbench.bench.evaluation.known import Known
from lcrbench.bench.evaluation.networks import restored
from lcrbench.bench.evaluation.run import Looked, protocol_of
from lcrbench.bench.evaluation.takeover import own_data, present
from lcrbench.bench.networks.foreign import opened, ready
from lcrbench.bench.records.grid import Evaluation as Shown
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import Protocol
from lcrbench.bench.records.store import Store
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
    spec = present(store, run_id, trust_plugins=trust_plugins) if source is None else store.record(run_id).trained
    record = store.record(spec.run_id if spec.run_id in store.ids() else run_id)
    training, weights = store.trained(record.run_id)
    looked = restored(training, weights, trust_plugins=trust_plugins, device=device)
    name = f"{spec.label} seed {spec.seed} ({record.run_id[:8]})"
    if source is not None:
        stream = as_hashed(source, spec.training.data.hash_kind)
        dataset = data.load(source, size=spec.data.size, resize=spec.resize, stream=stream)
        return Network(name, record, looked, dataset, _clean(dataset, spec.data.size, spec.protocol.block))
    found = store.known(record.trained.evaluation_id)
    known = Known(*found) if found else None
    own = own_data(spec, trust_plugins=trust_plugins)
    return Network(name, record, looked, own, spec.protocol, known, record.run_id)


def _clean(dataset: Dataset, size: int, block: int = 100) -> Protocol:
    """Return the protocol that shows a data set's test images as they are."""
    return protocol_of(dataset, size, Shown(corruptions=(), severities=(), block=block))


def of_model(path: str, source: str, size: int, device: str = "cpu") -> Network:
    """Return a network from outside by its name (`networks/name.py`), with the test images of a data set.

    Its outputs need not be the data's classes. Raises `UserError` with what its code raised, and if the outputs for two test
    images are not logits.
    """
    foreign = opened(path)
    dataset = data.load(source, size=size)
    made = ready(foreign, dataset, device, labelled=False)
    return Network(path, None, made.looked, dataset, _clean(dataset, size))
