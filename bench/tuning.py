"""Tuning: equally many trials for each method over stated values, chosen by images held out of the training images.

A *space* is the product of the values that are stated for a method's options and its recipe's fields. Where it has more
points than there are trials, the trials are drawn from it without repetition, by a seed. A trial is a training under the
grid's own budget and recipe, with `validation` images held out. The highest accuracy on these decides, of equal ones the
first. No test image is shown to a network.

What a trial came to is kept in STORE/.trials, so that a tuning that is called again goes on, and a larger one repeats
nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lcrbench.bench import device as devices
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.planning import plan
from lcrbench.bench.processes import process_context, watch_parent
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.records.grid import Data, Grid, Option, Tuned, Tuning
from lcrbench.bench.records.lease import Held
from lcrbench.bench.records.record import Provenance
from lcrbench.bench.records.spec import TrainSpec
from lcrbench.bench.records.store import Store
from lcrbench.bench.seeds import generator
from lcrbench.bench.training.checkpoint import Checkpoint, seal, unseal
from lcrbench.bench.training.loop import Diverged
from lcrbench.bench.training.run import fit, made_by, scope
from lcrbench.bench.training.selection import accuracy
from lcrbench.bench.training.stream import parted
from lcrbench.bench.worker import load_data
from lcrbench.errors import UserError, unknown
from lcrbench.models import network as networks
from lcrbench.models import parse

RECIPE = "recipe."
MOST = 10_000
"""Points of a space: more than anybody tries."""


class Point(NamedTuple):
    """One point of a space: a method with its options set, and the fields of the recipe that it sets."""

    method: str
    recipe: dict[str, Option]

    @property
    def text(self) -> str:
        """Return the point in one line."""
        return " ".join([self.method, *(f"{RECIPE}{k}={v}" for k, v in self.recipe.items())])


class Result(NamedTuple):
    """What a trial came to: the accuracy on the validation images (None: it diverged), and what it took."""

    accuracy: float | None
    images: int
    cpu: float
    wall: float


@dataclass(frozen=True)
class Trial:
    """One trial as its process receives it."""

    point: Point
    spec: TrainSpec
    source: Data
    root: Path
    device: str
    provenance: Provenance
    save_every: float = 60.0
    readers: int = 0


Values = Mapping[str, tuple[Option, ...]]


def read_values(texts: Sequence[str]) -> dict[str, tuple[Option, ...]]:
    """Return what `KEY=VALUE,VALUE,...` state, in the grammar of options; raises `UserError` for another form."""
    found: dict[str, tuple[Option, ...]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key or not values:
            raise UserError(f"--option takes KEY=VALUE,VALUE,..., not '{text}'")
        what = f"list of values for {key}"
        part, *rest = parse.read(f"x:values=({values},)", what, "KEY=VALUE,VALUE,...")
        if rest or len(part.options) != 1:
            raise UserError(f"'{values}' is no {what}: write KEY=VALUE,VALUE,...")
        if key in found:
            raise UserError(f"--option {key} is given twice: write its values in one")
        if len(set(map(repr, part.options["values"]))) < len(part.options["values"]):
            raise UserError(f"--option {key} names a value twice: '{values}'")
        found[key] = part.options["values"]
    return found


def points(methods: Sequence[str], values: Values, trials: int | None, seed: int) -> dict[str, list[Point]]:
    """Return the points to try for each method, equally many for all of them.

    A key is `recipe.FIELD`, for all methods; or an option of the method or of a regularizer, as `OPTION` or `NAME.OPTION`,
    for those methods that have it. Raises `UserError` for a key that no method has, one that means two options, and for
    methods whose spaces do not hold `trials` points (None: that are not of equal size).
    """
    chosen = [networks.choose(text) for text in methods]
    if f"{RECIPE}validation" in values:
        raise UserError("recipe.validation is the images that all trials are compared on: give --validation NUMBER")
    if len({choice.label for choice in chosen}) < len(chosen):
        raise UserError(f"a method is named twice: {', '.join(choice.label for choice in chosen)}")
    used: set[str] = set()
    spaces: dict[str, list[Point]] = {}
    for choice in chosen:
        own = {key: place for key in values if (place := _place(choice, key)) is not None}
        used |= set(own)
        size = _size(values, own)
        if size > MOST:
            raise UserError(f"the values stated for '{choice.label}' make {size} combinations: state fewer")
        spaces[choice.label] = _space(choice, values, own)
    for key in values:
        if key not in used:
            options = [f"{p}.{o}" for c in chosen for p, o in _options(c)]
            fields = [RECIPE + name for name in Recipe.model_fields]
            raise unknown("option of these methods", key, dict.fromkeys([*options, *fields]))
    sizes = {label: len(space) for label, space in spaces.items()}
    number = trials or min(sizes.values())
    for label, size in sizes.items():
        if size < number or (trials is None and size != number):
            has = ", ".join(f"{n} for '{name}'" for name, n in sizes.items())
            raise UserError(
                f"the stated values make {has}, and each method gets the same number of trials: state values for "
                f"'{label if size < number else min(sizes, key=lambda k: sizes[k])}', or give --trials {min(sizes.values())}"
            )
    return {label: _drawn(space, number, seed, label) for label, space in spaces.items()}


def _place(choice: networks.Choice, key: str) -> tuple[str, str] | None:
    """Return the part and the option that a key means in a method; None if the method has none of that name."""
    if key.startswith(RECIPE):
        return ("recipe", field) if (field := key.removeprefix(RECIPE)) in Recipe.model_fields else None
    places = [(p, o) for p, o in _options(choice) if key in (o, f"{p}.{o}")]
    if len(places) > 1:
        both = " or ".join(f"{p}.{o}" for p, o in places)
        raise UserError(f"'{key}' is an option of several parts of '{choice.label}': write {both}")
    return places[0] if places else None


def _options(choice: networks.Choice) -> list[tuple[str, str]]:
    parts: list[tuple[str, Any]] = [(choice.name, choice.method), *choice.regularizers.items()]
    return [(name, option) for name, part in parts for option in vars(part)]


def _size(values: Values, own: Mapping[str, Any]) -> int:
    size = 1
    for key in own:
        size *= len(values[key])
    return size


def _space(choice: networks.Choice, values: Values, own: Mapping[str, tuple[str, str]]) -> list[Point]:
    found = []
    for combination in itertools.product(*(values[key] for key in own)):
        parts = {part.name: dict(part.options) for part in parse.read(choice.label)}
        recipe: dict[str, Option] = {}
        for (part, option), value in zip(own.values(), combination, strict=True):
            (recipe if part == "recipe" else parts[part])[option] = value
        text = parse.write([parse.Part(name, options) for name, options in parts.items()])
        found.append(Point(networks.choose(text).label, recipe))
    if twice := [p.text for p in found if found.count(p) > 1]:
        raise UserError(f"two of the stated combinations are the same: {twice[0]}")
    return found


def _drawn(space: list[Point], number: int, seed: int, label: str) -> list[Point]:
    if number == len(space):
        return space
    # In the order of the space, so that of equal trials the first is the one that was stated first.
    return [space[i] for i in sorted(generator(seed, "tuning", label).permutation(len(space))[:number])]


def tune(
    grid: Grid,
    methods: Sequence[str],
    values: Values,
    *,
    trials: int | None,
    validation: int,
    store: Store,
    dataset: Dataset,
    provenance: Provenance,
    device: str = "cpu",
    workers: int = 1,
    readers: int = 0,
    seed: int = 0,
    save_every: float = 60.0,
    tell: Callable[[Point, Result], None] = lambda point, result: None,
) -> Grid:
    """Try the points of each method, and return the grid with the best of each: `methods` and `tuned` are set.

    Each trial has `readers` processes that read streamed images ahead. `tell` is called as each trial ends. Raises
    `UserError` as `points` and `plan` do, before anything is trained, and where every trial of a method diverged.
    """
    every = points(methods, values, trials, seed)
    planned = [
        Trial(
            p, _spec(grid, p, validation, seed, dataset), grid.data, store.root, device, provenance, save_every, readers
        )
        for tried in every.values()
        for p in tried
    ]
    results = dict(_done(planned, workers, tell))
    tuned: dict[str, Tuned] = {}
    for label, tried in every.items():
        found = [results[p.text] for p in tried]
        finished = [(r.accuracy, -k) for k, r in enumerate(found) if r.accuracy is not None]
        if not finished:
            raise UserError(f"every trial of '{label}' diverged: state other values, such as a smaller recipe.lr")
        best, place = max(finished)
        point = tried[-place]
        tuning = Tuning(
            trials=len(tried),
            images=sum(r.images for r in found),
            validation=validation,
            searched={key: v for key, v in values.items() if _place(networks.choose(label), key)},
            accuracy=best,
            cpu=round(sum(r.cpu for r in found), 3),
            wall=round(sum(r.wall for r in found), 3),
        )
        if point.method in tuned:
            raise UserError(f"two methods were tuned to the same one, '{point.method}': tune one of them")
        tuned[point.method] = Tuned(tuning=tuning, recipe=point.recipe)
    return grid.model_copy(update={"methods": tuple(tuned), "tuned": tuned})


def _spec(grid: Grid, point: Point, validation: int, seed: int, dataset: Dataset) -> TrainSpec:
    """Return the training of a trial: that of the grid, with images held out."""
    # In the place of the grid's fields, and of the paper's.
    recipe = {**point.recipe, "validation": validation}
    entry = Tuned(tuning=Tuning(trials=1, images=0, validation=validation), recipe=recipe)
    one = grid.model_copy(update={"methods": (point.method,), "seeds": (seed,), "tuned": {point.method: entry}})
    (spec,) = plan(one, dataset)
    return spec.training.model_copy(update={"tuning": None})


def _done(trials: Sequence[Trial], workers: int, tell: Callable[[Point, Result], None]) -> Iterator[tuple[str, Result]]:
    """Do the trials, some at once, and yield each with its result as it ends."""
    if workers <= 1 or len(trials) <= 1:
        for trial in trials:
            result = attempt(trial)
            tell(trial.point, result)
            yield trial.point.text, result
        return
    with ProcessPoolExecutor(workers, mp_context=process_context(), initializer=_begin) as pool:
        running = {pool.submit(attempt, trial): trial for trial in trials}
        try:
            for future in as_completed(running):
                trial, result = running[future], future.result()
                tell(trial.point, result)
                yield trial.point.text, result
        except BaseException as error:
            # Python waits for them when it ends: those that train would be waited for.
            for pid in list(pool._processes):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGTERM)
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "a trial's process was killed (out of memory?): give the same command again to go on"
                ) from error
            raise


def _begin() -> None:
    """Set a process of trials up: it ends on SIGTERM, when its parent is gone, and not on the parent's Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    watch_parent()


def attempt(trial: Trial) -> Result:
    """Do one trial in this process, or read what it came to before; one that was interrupted goes on from its save."""
    devices.prepare(trial.device)
    provenance = devices.describe(trial.device, trial.provenance)
    store, name = Store(trial.root), trial.spec.train_id
    made = made_by(scope(trial.spec), trial.device, provenance)
    try:
        with store.held(name):
            return _attempt(trial, store, made, provenance)
    except Held:
        raise UserError(
            f"another process works on {trial.point.text}: wait for it, and give the command again"
        ) from None


def _attempt(trial: Trial, store: Store, made: str, provenance: Provenance) -> Result:
    name = trial.spec.train_id
    found = unseal(store.trial(name))
    if found and found[1]["made_by"] == made:
        return Result(**found[1]["result"])
    dataset = load_data(trial.source)
    checkpoint = Checkpoint(store, name, made, trial.save_every)
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        fitted = fit(trial.spec, dataset, checkpoint, provenance, device=trial.device, readers=trial.readers)
    except Diverged as error:
        taken = time.process_time() - cpu, time.perf_counter() - wall
        result = Result(None, (error.step + 1) * trial.spec.recipe.batch, round(taken[0], 3), round(taken[1], 3))
    else:
        held = parted(dataset.train, trial.spec.recipe.validation)[1]
        seconds = fitted.seconds.values()
        result = Result(
            accuracy(fitted.network, held, trial.device),
            fitted.images,
            round(sum(s.cpu for s in seconds), 3),
            round(sum(s.wall for s in seconds), 3),
        )
    seal(store.trial(name), {}, {"point": trial.point.text, "result": result._asdict(), "made_by": made})
    checkpoint.remove()
    return result
