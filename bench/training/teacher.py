"""Teachers: frozen networks that regularizers compare with, trained beforehand by the same loop, for as many images.

    STORE/.teachers/<id>     a trained teacher (a sealed file, see checkpoint.py): what it is, what it took, its weights

A teacher depends on the data, the topology, its method, its budget and recipe, the seed, the version of the code and the
device; its id is the hash of these. So runs that need the same teacher share it: the first run trains it, under a lease,
and keeps it. Sharing saves time and no budget: each run's ledger is charged the whole training, with its seconds.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from lcrbench.bench.data import Dataset
from lcrbench.bench.records.budget import Budget
from lcrbench.bench.records.ids import stated
from lcrbench.bench.records.lease import Held
from lcrbench.bench.records.record import Seconds, Taught
from lcrbench.bench.records.spec import TrainSpec
from lcrbench.bench.seeds import derive
from lcrbench.bench.together import ALONE, Group, Saved
from lcrbench.bench.training.checkpoint import Checkpoint, Silent, seal, unseal
from lcrbench.bench.training.loop import Diverged, train
from lcrbench.bench.training.spent import Spent
from lcrbench.models import network as networks

_TRAIN, _WAIT = {"say": "train"}, {"say": "wait"}
"""What the first process of a group tells the others of a teacher that it does not have yet."""


@dataclass(frozen=True)
class Guided:
    """A regularizer with its teacher; it is attached like any other."""

    regularizer: Any
    teacher: nn.Module

    def attach(self, network: nn.Module) -> Any:
        """Attach the regularizer with a copy of the teacher, because two regularizers may set different modes."""
        return self.regularizer.attach(network, copy.deepcopy(self.teacher))


def guide(regularizers: dict[str, Any], teachers: dict[str, nn.Module]) -> dict[str, Any]:
    """Return the regularizers, each that needs a teacher with its own."""
    return {k: Guided(r, teachers[r.teacher]) if r.teacher in teachers else r for k, r in regularizers.items()}


def start(regularizers: dict[str, Any], network: nn.Module, teachers: dict[str, nn.Module]) -> dict[str, bool]:
    """Let each regularizer that was given a teacher change the weights that the training begins with; tell which did."""
    return {k: r.start(network, teachers[r.teacher]) for k, r in regularizers.items() if r.teacher in teachers}


def taught(
    text: str,
    spec: TrainSpec,
    budget: Budget,
    dataset: Dataset,
    checkpoint: Checkpoint | Silent,
    made_by: str,
    device: str,
    watch: Callable[[int, int, dict[str, float]], None] = lambda done, total, figures: None,
    readers: int = 0,
    group: Group = ALONE,
) -> tuple[nn.Module, Taught, Seconds]:
    """Return the trained teacher that `text` names, and what its training took; it is read from the store if it is there.

    `made_by` is the version of its code, and the device. `watch(step, steps, figures)` is called during the training, with
    steps = 0 while another process does it. Raises `Stopped` and `Diverged` as `train` does, and `Damaged` if the kept
    teacher is not as it was written.
    """
    choice = networks.choose(text)
    facts = {
        "data": spec.data.facts,
        "backbone": spec.backbone,
        "method": {"name": choice.name, **asdict(choice.method)},
        "budget": stated(budget),
        "recipe": stated(spec.recipe),
        "seed": spec.seed,
        "made_by": made_by,
    }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def weights(layer: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive(spec.seed, "teacher's weights", text, layer))

    mean, std = dataset.mean.tolist(), dataset.std.tolist()
    network = networks.build(choice, spec.backbone, len(dataset.classes), spec.data.size, mean, std, weights)
    network = network.to(memory_format=torch.channels_last)

    def teach(own: Any) -> Spent:
        return train(
            network,
            dataset.train,
            budget,
            spec.recipe,
            derive(spec.seed, "teacher's training", text),
            on_progress=choice.method.on_progress,
            on_gradient=choice.method.on_gradient,
            capturable=choice.method.capturable,
            device=device,
            watch=lambda row, done: watch(int(row["step"]), round(row["step"] / done), {"loss": row["loss"]}),
            checkpoint=own,
            readers=readers,
            group=group,
        )

    if isinstance(checkpoint, Silent):
        kept = _followed(group, lambda: teach(checkpoint))
    else:
        kept = _kept(name, made_by, checkpoint, network, teach, facts, text, lambda: watch(0, 0, {}), group)
    tensors, rest = kept
    network.load_state_dict(tensors)
    return network.to(device).eval(), Taught(**rest["took"]), Seconds(**rest["seconds"])


def _followed(group: Group, teach: Callable[[], Any]) -> Saved:
    """Train with the first process where it trains, and return the teacher that it has in the end."""
    while True:
        found = group.share(None)
        assert found is not None
        if found[1] == _TRAIN:
            teach()
        elif found[1] != _WAIT:
            return found


def _kept(
    name: str,
    made_by: str,
    checkpoint: Checkpoint,
    network: nn.Module,
    teach: Callable[[Checkpoint], Spent],
    facts: dict[str, Any],
    text: str,
    waiting: Callable[[], None],
    group: Group,
) -> Saved:
    """Return what the store keeps of the teacher, trained if it is missing; send it to the other processes of the group."""
    path = checkpoint.store.teacher(name)
    while (kept := unseal(path)) is None:
        lease = checkpoint.store.lease(name)
        try:
            lease.acquire()
        except Held:
            waiting()
            # Or the others would give up.
            group.share(({}, _WAIT))
            time.sleep(0.2)
            continue
        own = checkpoint.of(name, made_by)
        try:
            if path.exists():
                continue
            group.share(({}, _TRAIN))
            spent = teach(own)
            took = Taught(
                method=text,
                id=name,
                images=spent.images,
                steps=spent.steps,
                validation=int(spent.forward.get("validation", 0)),
                weights_sha256=networks.weights_hash(network),
            )
            seconds = Seconds(cpu=round(spent.cpu, 3), wall=round(spent.wall, 3))
            checkpoint.store.fence(name)
            seal(
                path,
                network.state_dict(),
                {"facts": facts, "took": took.model_dump(), "seconds": seconds.model_dump()},
            )
            own.remove()
        except Diverged:
            own.remove()
            raise
        finally:
            lease.release()
    group.share(kept)
    return kept
