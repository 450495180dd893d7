"""The public functions of `lcrbench`: what the command line does, from Python. Each imports what it needs when called."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lcrbench.errors import UserError
from lcrbench.result import Result
from lcrbench.surroundings import from_outside, shielded
from lcrbench.untrusted import chosen, flag, name_of, place, real, several, told, whole, words

if TYPE_CHECKING:
    from torch import nn

    from lcrbench.bench.data.arrays import Dataset
    from lcrbench.bench.evaluation.packed_file import PackedNetwork
    from lcrbench.bench.records.grid import Grid
    from lcrbench.bench.records.store import Store
    from lcrbench.reports.gate import Verdict

Names = str | Iterable[str]
STALE, ENGINES, EFFORTS = ("refuse", "redo", "keep"), ("auto", "packed", "torch"), ("quick", "default", "full")


@from_outside
def load_data(
    source: str | Path = "fashion-mnist-10k",
    *,
    size: int = 32,
    resize: int | None = None,
    train: int | None = None,
    test: int | None = None,
    stream: bool | None = None,
) -> Dataset:
    """Return a data set as images (N, size, size, 3) uint8 with labels (N,), for training and for testing.

    `source` is a built-in name, a path, or a plug-in's source. With `resize` the shorter side of test images becomes so many
    pixels, and `size` are cut out of the middle (ImageNet: 256 and 224). `train` and `test` cut it down to class-balanced
    subsets. With `stream` images stay in their files, and are decoded when they are indexed (`images[:]` is an array);
    None does so where they would take more than a quarter of the memory. Raises `UserError` if there is no such data or it
    is damaged.
    """
    from lcrbench.bench import data

    streamed = None if stream is None else flag(stream, "stream")
    dataset = data.load(_source(source), size=size, resize=resize, stream=streamed)
    return data.take(dataset, train, test, seed=0)


@from_outside
def build_model(
    method: str,
    backbone: str = "vgg_tiny",
    *,
    classes: int = 10,
    size: int = 32,
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.25, 0.25, 0.25),
    seed: int = 0,
) -> nn.Module:
    """Return an untrained network: images (N, 3, size, size) in [0, 1] to logits (N, classes).

    `method` is as on the command line, `irnet+lcr:weight=0.5`. Images are normalized inside, by `mean` and `std` of each
    channel. The initial weights are those of a run of this seed. Raises `UserError` for what does not exist or fit.
    """
    import torch

    from lcrbench.bench.seeds import derive
    from lcrbench.models import network

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive(seed, "initial weights", name))

    from lcrbench.bench.data.spaces import MOST_CLASSES

    classes, size = whole(classes, "classes", 1, MOST_CLASSES), whole(size, "size", 1, 1024)
    seed, method, backbone = whole(seed, "seed", 0), name_of(method, "method"), name_of(backbone, "backbone")
    middle = _channels(mean, "mean")
    spread = _channels(std, "std")
    if min(spread) <= 0:
        raise UserError("std takes numbers above 0: images are divided by them")
    return network.build(network.choose(method), backbone, classes, size, middle, spread, generator)


@from_outside
def load_model(store: str | Path | Store, run: str, *, trust_plugins: bool = False, device: str = "cpu") -> nn.Module:
    """Return a trained network of a store, in evaluation mode: images (N, 3, H, W) in [0, 1] to logits (N, classes).

    `run` is the id of a run or a training, or its beginning. Its weights are checked by hash, and its normalization is
    inside. An import path that only the record names is not imported unless `trust_plugins`, because that runs its code.
    Raises `UserError` if there is no such run or it failed, and `Damaged` if the weights are not what was written.
    """
    from lcrbench.bench import device as devices
    from lcrbench.bench.evaluation.networks import restored

    opened, device = _store(store), devices.choose(name_of(device, "device"))
    training, weights = opened.trained(opened.find(run))
    return restored(training, weights, trust_plugins=flag(trust_plugins, "trust_plugins"), device=device).network


@from_outside
def load_packed(path: str | Path, *, block: int = 100, trust_plugins: bool = False) -> PackedNetwork:
    """Return the network of a file that `lcrbench export` wrote: `.logits(images)` of (N, size, size, 3), as they were.

    It is evaluated on packed bits where it can be, in blocks of `block` images. Raises `UserError` for another file, and for
    an import path in it without `trust_plugins`.
    """
    from lcrbench.bench.evaluation import packed_file

    block = whole(block, "block", 1, 65_536)
    return packed_file.load(place(path), block=block, trust_plugins=flag(trust_plugins, "trust_plugins"))


@from_outside
def run(
    grid: str | Path | Grid = "quick",
    store: str | Path = "lcrbench-runs",
    *,
    workers: int | None = None,
    device: str = "auto",
    stale: Literal["refuse", "redo", "keep"] = "refuse",
    fresh: bool = False,
    quiet: bool = False,
    engine: Literal["auto", "packed", "torch"] = "auto",
    **tables: Any,
) -> list[str]:
    """Do what a store lacks of a grid's runs; return the ids of all of them, in the grid's order.

    `grid` is a preset, a .toml file, or a `Grid`. `tables` are put into its own: `methods=("bnn", "irnet")`,
    `budget={"images": 10_000}`; `metrics={"accuracy": {}}` takes the place of all. A script that calls this needs the guard
    `if __name__ == "__main__":`, because the runs are processes of their own. Raises `UserError` for what does not exist
    or fit, and for stale runs with stale = "refuse".
    """
    from lcrbench.bench import device as devices
    from lcrbench.bench import runner
    from lcrbench.bench.records import grid as grids
    from lcrbench.bench.records.budget import move_keys, override
    from lcrbench.bench.records.grid import Grid

    chosen(stale, "stale", STALE)
    chosen(engine, "engine", ENGINES)
    if workers is not None:
        workers = whole(workers, "workers", 1)
    if isinstance(grid, Grid):
        given = grid.model_dump(exclude_defaults=True)
    else:
        given, notes = move_keys(grids.read_grid(_source(grid, "grid")))
        for note in notes:
            warnings.warn(f"{grid}: {note}", stacklevel=3)
    for name, value in tables.items():
        before = given.get(name, {})
        if name == "metrics" or not isinstance(value, Mapping) or not isinstance(before, Mapping):
            given[name] = value
        else:
            given[name] = override(before, value) if name == "budget" else {**before, **value}
    wanted = grids.make_grid(given)
    on = devices.choose(name_of(device, "device"))
    return runner.run(
        wanted,
        place(store),
        workers=workers or devices.workers(on, wanted.budget.unit),
        device=on,
        command="lcrbench.run",
        fresh=flag(fresh, "fresh"),
        stale=stale,
        quiet=flag(quiet, "quiet"),
        engine=engine,
    )


@from_outside
def evaluate(
    model: nn.Module | Callable[[Any], Any] | str,
    *,
    data: str | Path | None = None,
    corruptions: Names | None = None,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    test_set: str | None = None,
    metrics: Mapping[str, Mapping[str, Any]] | Names = ("accuracy", "corruption_error", "calibration_error"),
    lipschitz: Literal["quick", "default", "full"] | None = None,
    store: str | Path | Store | None = None,
    size: int | None = None,
    resize: int | None = None,
    test: int | None = None,
    seed: int = 0,
    block: int = 100,
    name: str = "",
    preprocess: Mapping[str, Any] | None = None,
    order: str = "",
    outputs: Literal["logits", "probabilities"] | None = None,
    takes: Literal["torch", "numpy"] = "torch",
    links: Mapping[str, str] | None = None,
    checks: bool = True,
    device: str = "cpu",
    stale: Literal["refuse", "redo", "keep"] = "refuse",
    trust_plugins: bool = False,
    engine: Literal["auto", "packed", "torch"] = "auto",
) -> Result:
    """Show a network clean and corrupted test images, and measure it.

    `model` is a torch module or a function from images (N, 3, H, W) in [0, 1] to logits (N, classes); the name of a network
    (`torchvision:resnet18@FILE`, `path/net.py:make`, `onnx:FILE`, ...); or, with `store`, the id of a run. With a store what
    is found is kept there, and nothing that it holds is repeated.

    `data` is the embedded set by default, for a run its own. `size` is that of the images shown, their own by default;
    `resize` the shorter side of photographs before their centre is cropped; `test` cuts the test images down. `corruptions`
    are names and groups, "common" by default, "" for none. `test_set` shows another test set or a corruption benchmark in
    their place, to a network from outside: "cifar10-c=CIFAR-10-C.tar", "v2=256/224:PATH". `metrics` are names, or names with
    options; `lipschitz` adds the Lipschitz metrics at an effort.

    What a network from outside takes and gives is declared where its configuration does not say it: `preprocess` (size,
    mean, std, range, channels, layout, interpolation), the `order` of its classes, `outputs`, and whether a function `takes`
    numpy's arrays. `checks` look for a wrong preparation, a wrong order of classes and more; what they find is warned of
    and changes nothing. `stale` says what to do with what a different version of the code found. Results of an image never
    depend on the others, nor on the `engine` that computes them. Raises `UserError` for what does not exist or fit, and for
    a model that does not give logits.
    """
    from lcrbench.bench import device as devices
    from lcrbench.bench import planning
    from lcrbench.bench.evaluation import on_request
    from lcrbench.bench.networks import evaluate as foreign
    from lcrbench.bench.networks.foreign import Declared
    from lcrbench.bench.networks.name import RUN, is_name

    size, resize, test = (None if n is None else whole(n, "size, resize and test", 1) for n in (size, resize, test))
    chosen(stale, "stale", STALE)
    chosen(engine, "engine", ENGINES)
    chosen(takes, "takes", ("torch", "numpy"))
    for value, asked_of, allowed in (
        (lipschitz, "lipschitz", EFFORTS),
        (outputs, "outputs", ("logits", "probabilities")),
    ):
        if value is not None:
            chosen(value, asked_of, allowed)
    device, trust_plugins = devices.choose(name_of(device, "device")), flag(trust_plugins, "trust_plugins")
    name, order = name_of(name, "name"), name_of(order, "order")
    if test_set is not None and corruptions is not None:
        raise UserError("test_set and corruptions are two evaluations: call evaluate twice, with the same store")
    some = words("common" if corruptions is None else corruptions, "corruptions")
    shown = planning.shown_of(some, several(severities, "severities"), seed, block)
    given = metrics if isinstance(metrics, Mapping) else {key: {} for key in words(metrics, "metrics")}
    options = foreign.with_lipschitz(
        foreign.options_of({name_of(m, "metrics"): dict(_table(of, f"metrics.{m}")) for m, of in given.items()}),
        lipschitz,
    )
    if isinstance(model, str) and not is_name(model):
        if store is None:
            raise UserError(f"'{model}' is the id of a run: name its store with store=PATH")
        if test_set is not None:
            raise UserError(f"'{model}' is a run: `lcrbench run --test-set` shows test sets to the networks of a grid")
        opened = _store(store)
        known, protocol = on_request.of_run(
            opened,
            model.removeprefix(f"{RUN}:"),
            shown,
            options,
            data=None if data is None else _source(data),
            test=test,
            device=device,
            stale=stale,
            trust_plugins=trust_plugins,
            engine=engine,
        )
        return Result(known, protocol, options, store=opened)
    asked = foreign.Asked(
        shown if test_set is None else None,
        options,
        foreign.DATA if data is None else _source(data),
        () if test_set is None else (name_of(test_set, "test_set"),),
        size,
        resize,
        test,
        device=device,
        stale=stale,
        checks=flag(checks, "checks"),
        engine=engine,
    )
    prepared, led = _table(preprocess or {}, "preprocess"), _table(links or {}, "links")
    declared = Declared(name, prepared, order, outputs, takes, links=led)
    kept = None if store is None else _store(store, create=True)
    found = foreign.evaluate(model, declared, asked, kept)
    for finding in found.findings:
        if not finding.good:
            warnings.warn(f"{found.ready.foreign.name}: {finding.what}", stacklevel=3)
    (answer,) = found.answers
    return Result(answer.known, answer.protocol, answer.metrics, tuple(found.findings), kept)


@from_outside
def lipschitz(
    model: nn.Module | Callable[[Any], Any] | str,
    *,
    effort: Literal["quick", "default", "full"] = "quick",
    images: int | None = None,
    l2: Sequence[float] | None = None,
    linf: Sequence[float] | None = None,
    **how: Any,
) -> Result:
    """Measure how far a network's logits move within radii (in 1/255 pixel units), and what bounds that.

    `model` and `how` are as in `evaluate` (`store`, `data`, `device`, ...); no corrupted images are shown. The search's
    figures are lower bounds; `effort` is its budget of passes, the same for every network. Raises `UserError` as `evaluate`
    does.
    """
    from lcrbench import registry
    from lcrbench.bench.lipschitz import measure, options

    radii = {"l2": l2, "linf": linf}
    given: dict[str, Any] = {
        norm: tuple(real(one, norm) for one in several(r, norm)) for norm, r in radii.items() if r is not None
    }
    if images is not None:
        given["images"] = whole(images, "images", 1)
    asked = dataclasses.replace(options.of_effort(name_of(effort, "effort")), **given)
    metrics = {
        name: dataclasses.asdict(measure.options_of(registry.load("metric", name), asked)) for name in measure.metrics()
    }
    return evaluate(model, corruptions="", metrics=metrics, **how)


@shielded()
def report(store: str | Path | Store, out: str | Path | None = None, *, compare: Sequence[str] | None = None) -> Path:
    """Write the comparison report of a store, and return its page.

    `out` is a folder, STORE/reports/all by default; `compare` restricts it to methods, the first being the reference.
    Raises `UserError` if there is nothing to report, or the folder cannot be written.
    """
    from lcrbench.reports import report as reports

    opened = _store(store)
    methods = None if compare is None else words(compare, "compare")
    return reports.write(opened, opened.root / "reports" / "all" if out is None else out, compare=methods)


@shielded()
def check(
    candidate: str | Path | Store,
    against: str | Path,
    *,
    methods: Sequence[str] | None = None,
    endpoint: str | None = None,
    margin: float | None = None,
    any_source: bool = False,
) -> list[Verdict]:
    """Compare a store's runs with a reference file: is robustness no worse, up to a margin in points?

    Endpoint and margin are the reference's own unless given. Runs whose code is not the installed one cannot be compared
    unless `any_source`. Raises `UserError` for a reference that cannot be read, and for an unknown method or endpoint.
    """
    from lcrbench.bench.records import source
    from lcrbench.reports import gate

    stale = None if flag(any_source, "any_source") else source.stale
    if margin is not None:
        margin = real(margin, "margin")
    if endpoint is not None:
        endpoint = name_of(endpoint, "endpoint")
    named = None if methods is None else words(methods, "methods")
    held = gate.load(place(against))
    return gate.check(_store(candidate), held, methods=named, endpoint=endpoint, margin=margin, stale=stale)


def _store(store: str | Path | Store, *, create: bool = False) -> Store:
    from lcrbench.bench.records.store import Store

    return store if isinstance(store, Store) else Store(store, create=create)


def _source(source: str | Path, name: str = "data") -> str:
    """Return what names data or a preset: a name, or a path, as text."""
    return str(source) if isinstance(source, Path) else name_of(source, name)


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{name} takes a dict, not {told(value)}")
    return value


def _channels(values: Any, name: str) -> list[float]:
    found = [real(value, name) for value in several(values, name)]
    if len(found) != 3:
        raise UserError(f"{name} takes three numbers, one a channel, not {len(found)}")
    return found
