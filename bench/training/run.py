"""One training: the network of a spec, its teachers, the loop, and the record of what it cost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import safetensors.torch
import torch

from lcrbench import registry
from lcrbench.bench import device as devices
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.evaluation.describe import describe
from lcrbench.bench.evaluation.networks import modules_of
from lcrbench.bench.evaluation.run import DECODING, Looked
from lcrbench.bench.records import budget as budgets
from lcrbench.bench.records import source
from lcrbench.bench.records.budget import Budget
from lcrbench.bench.records.measurement import Phase
from lcrbench.bench.records.record import Ledger, Normalization, Provenance, Seconds, Source, Stage, Taught, Training
from lcrbench.bench.records.spec import MethodId, Subject, TrainSpec
from lcrbench.bench.records.store import LOG, PACKED, WEIGHTS
from lcrbench.bench.seeds import derive
from lcrbench.bench.together import ALONE, Group
from lcrbench.bench.training import charge, parts, teacher
from lcrbench.bench.training.checkpoint import Checkpoint, Silent
from lcrbench.bench.training.loop import train
from lcrbench.bench.training.prices import Prices
from lcrbench.bench.training.spent import Spent
from lcrbench.models import network as networks
from lcrbench.models import packed, parse


def scope(spec: TrainSpec) -> Source:
    """Return the code that a training's weights depend on: the loop, and what the spec names."""
    named = [type(part).__module__ for part in vars(parts.load(spec.recipe)).values()]
    teachers = networks.teachers(networks.choose(spec.method.text))
    named += [registry.module_name("method", parse.read(text)[0].name) for text in teachers]
    loop = ["lcrbench.bench.training.loop", *(["lcrbench.bench.training.teacher"] if teachers else [])]
    loop += ["lcrbench.bench.training.charge"] if spec.budget.unit == "compute" else []
    # Files are named by their bytes, so that what decodes them counts.
    loop += [*DECODING] if spec.data.hash_kind == "manifest" else []
    return source.closure((*loop, *modules_of(spec), *named))


def made_by(code: Source, device: str, provenance: Provenance) -> str:
    """Return what a save must have been made by: begun on one kind of device and ended on another, it repeats on neither."""
    return code.sha256 + ("" if device == "cpu" else f" on {provenance.device_name}")


def teacher_scope(text: str, spec: TrainSpec) -> Source:
    """Return the code that a teacher's weights depend on, which is not its student's: so that students share it."""
    plain = spec.model_copy(update={"method": MethodId(name=parse.read(text)[0].name)})
    return source.closure((*scope(plain).roots, "lcrbench.bench.training.teacher"))


def priced(label: str, spec: TrainSpec) -> Prices:
    """Return the prices of a training with a spec's data and recipe."""
    data, recipe = spec.data, spec.recipe
    return charge.prices(
        label, spec.backbone, len(data.classes), data.size, recipe.batch, recipe.validation, recipe.shards
    )


def allot(spec: TrainSpec, choice: networks.Choice) -> tuple[Budget, Budget]:
    """Return what each teacher's training may spend, and the network's own; raises `ValueError` if it is too little."""
    teachers, selects = networks.teachers(choice), spec.recipe.selection == "best"

    def cost(steps: int) -> Fraction:
        return sum((priced(text, spec).training(steps, selects) for text in (choice.label, *teachers)), Fraction(0))

    stages = max(1, len(choice.method.stages))
    return budgets.allot(spec.budget, spec.recipe, spec.data.images, cost=cost, teachers=len(teachers), stages=stages)


def _roles(choice: networks.Choice, starts: dict[str, bool], learned: list[Taught]) -> list[Taught]:
    """Return the teachers, each with what it was for: to learn from in the steps, to start from, or both."""
    began = {choice.regularizers[name].teacher for name, started in starts.items() if started}
    taught = {choice.regularizers[name].teacher for name, started in starts.items() if not started}
    return [one.model_copy(update={"teaches": one.method in taught, "starts": one.method in began}) for one in learned]


class Fitted(NamedTuple):
    """A trained network, and what its training took: the network's own, and its teachers'."""

    network: networks.Network
    choice: networks.Choice
    spent: Spent
    teachers: list[Taught]
    compute: float
    initial: str
    seconds: dict[Phase, Seconds]

    @property
    def images(self) -> int:
        """Return the training images that were seen, by teachers too."""
        return self.spent.images + sum(one.images for one in self.teachers)


def fit(
    spec: TrainSpec,
    dataset: Dataset,
    checkpoint: Checkpoint | Silent,
    provenance: Provenance | None = None,
    *,
    device: str = "cpu",
    tell: Callable[..., None] = lambda *a, **k: None,
    go_on: Callable[..., None] = lambda *a, **k: None,
    readers: int = 0,
    group: Group = ALONE,
) -> Fitted:
    """Train the network of a spec and the teachers that it lacks; arguments and errors are those of `trained`.

    Only the first of a group's processes reads and writes the store, and counts what steps cost.
    """
    choice = networks.choose(spec.method.text)

    def weights_generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive(spec.seed, "initial weights", name))

    mean, std = dataset.mean.tolist(), dataset.std.tolist()
    network = networks.build(
        choice, spec.backbone, len(dataset.classes), spec.data.size, mean, std, weights_generator
    ).to(memory_format=torch.channels_last)

    allotted, stages = allot(spec, choice), choice.method.stages
    seconds: dict[Phase, Seconds] = {}
    teachers, learned, compute = {}, [], 0.0
    for text in networks.teachers(choice):
        teachers[text], one, took = teacher.taught(
            text,
            spec,
            allotted[0],
            dataset,
            checkpoint,
            made_by(teacher_scope(text, spec), device, provenance) if provenance else "",
            device,
            # While another process trains it, nothing here saves itself and stops.
            lambda done, total, figures: (tell if total else go_on)("teacher", done, total, **figures),
            readers,
            group,
        )
        learned.append(one)
        if group.rank:
            continue
        prices = priced(text, spec)
        compute += one.steps * prices.step(0, False, 0.0)
        compute += one.validation / max(1, spec.recipe.validation) * prices.validated()
        before = seconds.get("teacher", Seconds(cpu=0.0, wall=0.0))
        seconds["teacher"] = Seconds(cpu=before.cpu + took.cpu, wall=before.wall + took.wall)
    starts = teacher.start(choice.regularizers, network, teachers)
    initial = networks.weights_hash(network)
    spent = train(
        network,
        dataset.train,
        allotted[1],
        spec.recipe,
        derive(spec.seed, "training"),
        on_progress=choice.method.on_progress,
        stages=max(1, len(stages)),
        on_stage=choice.method.on_stage,
        on_gradient=choice.method.on_gradient,
        capturable=choice.method.capturable,
        regularizers=teacher.guide(choice.regularizers, teachers),
        device=device,
        watch=lambda row, done: tell(
            "training", int(row["step"]), round(row["step"] / done), loss=row["loss"], accuracy=row["accuracy"]
        ),
        checkpoint=checkpoint,
        prices=None if group.rank else priced(choice.label, spec),
        readers=readers,
        group=group,
    )
    seconds["training"] = Seconds(cpu=round(spent.cpu, 3), wall=round(spent.wall, 3))
    for one in learned:
        if one.validation:
            spent.forward["validation"] = spent.forward.get("validation", 0) + one.validation
    compute += spent.compute
    return Fitted(network, choice, spent, _roles(choice, starts, learned), compute, initial, seconds)


def trained(
    spec: TrainSpec,
    dataset: Dataset,
    checkpoint: Checkpoint,
    provenance: Provenance,
    code: Source,
    *,
    device: str = "cpu",
    data_seconds: Seconds | None = None,
    readers: int = 0,
    tell: Callable[..., None] = lambda *a, **k: None,
    go_on: Callable[..., None] = lambda *a, **k: None,
    group: Group = ALONE,
) -> tuple[Looked, Training, dict[str, bytes]]:
    """Train the network of a spec; return it, its record, and the files to keep beside that.

    `tell(phase, done, total, **figures)` is told how far it is; `go_on` likewise, and may raise to stop. Raises `Diverged`
    and `Stopped` as the loop does. `readers` processes read streamed images ahead. This process is the first of the `group`.
    """
    made = fit(
        spec, dataset, checkpoint, provenance, device=device, tell=tell, go_on=go_on, readers=readers, group=group
    )
    moments = dataset.moments
    network, spent, stages = made.network, made.spent, made.choice.method.stages
    seconds: dict[Phase, Seconds] = {**({"data": data_seconds} if data_seconds else {}), **made.seconds}

    model = describe(network, made.choice, spec, dataset.test)
    weights = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()})
    import pandas as pd  # a process that only plans does without

    log = pd.DataFrame(spent.log).to_json(orient="records", lines=True, double_precision=15)
    files = {LOG: log.encode(), WEIGHTS: weights}
    if model.binary_layers:
        files[PACKED] = safetensors.torch.save(packed.export(network))
    digest = hashlib.sha256(weights).hexdigest()
    told = {} if device == "cpu" else {"steps": spent.made}
    record = Training(
        train_id=spec.train_id,
        spec=spec,
        model=model,
        ledger=Ledger(
            images=spent.images,
            steps=spent.steps,
            unit=spec.budget.unit,
            by_paper=spec.recipe_of == "paper",
            stages=tuple(
                Stage(name=name, images=n * spec.recipe.batch, steps=n)
                for name, n in zip(stages, spent.stages, strict=True)
            )
            if stages
            else (),
            teachers=tuple(made.teachers),
            tuning=spec.tuning,
            compute=round(made.compute, 6),
            forward=spent.forward,
            backward=spent.backward,
            data_order_sha256=spent.data_order.hexdigest(),
            augmentation_sha256=spent.augmentation.hexdigest(),
            initial_weights_sha256=made.initial,
            selection=spec.recipe.selection,
            selected=spent.selected,
            progress=spent.progress,
            seconds=seconds,
            data_wait=round(spent.waited / spent.wall, 4) if spent.wall else None,
            readers=readers if spec.data.hash_kind == "manifest" else 0,
            processes=group.world,
            clock=devices.clock_of(device) if spec.budget.unit == "seconds" else "",
        ),
        normalization=Normalization(mean=moments.mean.tolist(), std=moments.std.tolist(), of=moments.of),
        weights_sha256=digest,
        source=code,
        provenance=provenance.model_copy(
            update={"source": code.sha256, "corruptions": {}, "determinism": provenance.determinism | told}
        ),
    )
    looked = Looked(network, Subject(training=spec.train_id), digest, modules_of(spec), spec)
    return looked, record, files
