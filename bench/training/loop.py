"""The training loop: one for all methods, so that a comparison differs in the method alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import nn

from lcrbench.bench.data.arrays import Split
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.budget import steps as steps_of
from lcrbench.bench.together import ALONE, Group
from lcrbench.bench.training import parts
from lcrbench.bench.training.average import Average
from lcrbench.bench.training.pace import Clock, Pace
from lcrbench.bench.training.parts import learning_rate, make_optimizer
from lcrbench.bench.training.precision import widened
from lcrbench.bench.training.prices import Prices, unpriced
from lcrbench.bench.training.shards import Shards
from lcrbench.bench.training.spent import Spent
from lcrbench.bench.training.state import Checkpoint, State, pack, restore
from lcrbench.bench.training.steps import Steps, layout, stream_of
from lcrbench.bench.training.stream import batches, parted
from lcrbench.bench.training.tally import Diverged as Diverged
from lcrbench.bench.training.tally import Tally


class Stopped(Exception):
    """The training was asked to stop and has saved a checkpoint."""


def train(
    network: nn.Module,
    split: Split,
    budget: Budget,
    recipe: Recipe,
    seed: int,
    *,
    on_progress: Callable[[nn.Module, float], None] = lambda network, t: None,
    stages: int = 1,
    on_stage: Callable[[nn.Module, int], None] = lambda network, k: None,
    on_gradient: Callable[[nn.Module], None] = lambda network: None,
    regularizers: dict[str, Any] | None = None,
    device: str = "cpu",
    watch: Callable[[dict[str, float], float], None] = lambda row, progress: None,
    checkpoint: Checkpoint | None = None,
    prices: Prices | None = None,
    readers: int = 0,
    group: Group = ALONE,
    capturable: bool = False,
) -> Spent:
    """Train `network` in place on `split` under `budget` and `recipe`, and leave it in evaluation mode.

    The loss is the cross-entropy, to smoothed labels if the recipe says so, plus the regularizers' terms (a term may take a
    share of the cross-entropy's place). The recipe's validation images are held out of `split`; with `selection = "best"`
    the network ends with the weights of the highest accuracy on them, and in the last stage only. With `ema` the weights
    that are looked at, selected and left are averaged ones (average.py). Each of several `stages` has an equal part of the
    budget, a schedule of its own with warm-up, and a fresh optimizer; it begins with `on_stage(network, k)`, and goes on
    with the weights and the data stream of the one before. `on_progress(network, t)` is called before each step with the
    progress t in [0, 1) within the stage, and `on_gradient(network)` in it, between the backward pass and the optimizer's
    step. `watch` is called after each logged step with the log's new row and the progress
    in [0, 1]: step, images, lr, loss (all terms), cross_entropy and accuracy (both means over the training images seen
    since the row before), each regularizer's figures, and validation_accuracy where it was measured.

    `capturable` is the method's declaration (steps.py); `Spent.made` tells how the steps were made.

    `prices` are those that the ledger's compute is charged by; without them a step costs its images. `readers` processes
    read streamed images ahead (none under a budget in seconds of this process).

    Each of the `group`'s processes calls this with the same arguments and with a `checkpoint`, or each without one, and
    computes its slices of every batch (shards.py); all end with the same network. A budget in seconds pays for the seconds
    of all processes together, and `Spent` holds their sums.

    With a `checkpoint` it goes on from the last save, to the same bits as if it had never stopped (not under a budget
    in seconds). Raises `UserError` for a recipe that does not exist or fit, `ValueError` for a budget that pays for no
    batch, `Diverged` when the loss of a step is not finite, or weights and statistics are not where a row is logged, and
    `Stopped` after saving when it was asked to stop. On an accelerator the losses of all steps are read where a row is
    logged, and nowhere else, so that the steps between follow each other without a wait (under a budget in seconds each
    step waits, because the clock decides).
    """
    named = parts.load(recipe)
    prices = prices or unpriced(recipe.batch, stages)
    pace = Pace(steps_of(budget, recipe, len(split)), budget.seconds, stages)
    trained, held = parted(split, recipe.validation)
    shards = Shards(network, recipe, seed, group)
    # One for each slice, because terms keep things from step to step.
    terms = [{name: r.attach(network) for name, r in (regularizers or {}).items()} for _ in shards.own]
    network.train().to(device)
    if device != "cpu":
        network.to(memory_format=layout(recipe.precision))
    state = State(network, make_optimizer(network, recipe), terms, shards=shards)
    state.average = Average(network, recipe.ema) if recipe.ema else None
    spent = state.spent
    if checkpoint and (saved := group.share(checkpoint.load())):
        # What the network holds beside its state, as the step before the save left it; then the state, over all else.
        on_stage(network, len(saved[1]["stages"]) - 1)
        on_progress(network, saved[1]["progress"])
        restore(state, saved)
    first, best = spent.steps, state.best
    clock = Clock(spent, device, group)
    steps = Steps(state, recipe, device, on_gradient, capturable)
    with ExitStack() as ends:
        ends.enter_context(stream_of(device))
        ends.callback(steps.leave)
        for term in (term for each in terms for term in each.values()):
            ends.callback(term.detach)
        if recipe.shards > 1:
            # Each slice seeds it.
            ends.callback(torch.set_rng_state, torch.get_rng_state())
            if device != "cpu":
                ends.callback(torch.cuda.set_rng_state, torch.cuda.get_rng_state())
        ends.enter_context(widened(network, recipe.precision))
        # Reading processes would be free under a budget of this process's seconds.
        ahead = 0 if budget.seconds and device == "cpu" else readers
        given = batches(trained, recipe.batch, named.augmentation, seed, spent, device, first, ahead, shards.part())
        stream = clock.waiting(given)
        ends.callback(stream.close)
        for step, (images, labels) in enumerate(stream, start=first):
            elapsed = clock.together() / budget.seconds if budget.seconds else clock.read()
            if pace.over(step, elapsed):
                break
            stage, progress = pace.place(step, elapsed)
            if stage > state.stage:
                if state.stage >= 0:
                    state.optimizer = make_optimizer(network, recipe)
                state.stage = stage
                on_stage(network, stage)
            spent.progress = progress
            on_progress(network, progress)
            mark = pace.mark(step, elapsed) if recipe.selection == "best" else 0
            logged = pace.logs(step) or mark > best.mark
            rate = learning_rate(recipe, named.schedule, progress)

            try:
                steps.make(images, labels, step, rate, logged)
            except Exception:
                # What a network that has diverged raises is not the reason.
                state.tally.read()
                raise
            spent.charge(stage, recipe.batch, shards.passes(terms), prices, logged)
            if state.average:
                state.average.update(spent.stages[stage])
            # The clock of a budget in seconds counts what the device has done.
            if logged or pace.steps is None:
                state.tally.read()
            # sign() can mask NaN in the loss, so check parameters and batch-norm buffers too.
            if logged and not all(t.isfinite().all() for t in network.state_dict().values()):
                raise Diverged(step, "a weight or statistic of the network was not finite")
            row: dict[str, float] = {}
            if mark > best.mark:
                best.mark = mark
                row["validation_accuracy"] = _measure(state, held, device, step + 1, prices)
            if logged:
                spent.log.append(_row(state, rate, stages) | row)
                watch(spent.log[-1], (step + 1) / pace.steps if pace.steps else max(elapsed, 1e-9))
                state.tally = Tally()
            if checkpoint:
                stopping, due = _asked(checkpoint, group)
                if stopping or due:
                    clock.together()
                    checkpoint.save(*pack(state))
                if stopping:
                    raise Stopped
        if recipe.selection == "best" and best.measured < spent.steps:
            _measure(state, held, device, spent.steps, prices)
        if group.world > 1:
            clock.together()
        if checkpoint and spent.steps > first:
            checkpoint.save(*pack(state))
    spent.made, spent.selected = steps.told, spent.steps
    if recipe.selection == "best":
        network.load_state_dict(best.weights)
        on_progress(network, best.progress)
        spent.selected, spent.progress = best.step, best.progress
    elif state.average:
        state.average.settle()
    network.eval()
    if device != "cpu":
        network.to(memory_format=torch.channels_last)  # as every other network that is evaluated
    return spent


def _asked(checkpoint: Checkpoint, group: Group) -> tuple[bool, bool]:
    """Tell whether any process is asked to stop, and whether one finds a save due."""
    stopping = checkpoint.stopping()
    due = not stopping and checkpoint.due()
    if group.world == 1:
        return stopping, due
    told = group.numbers([stopping, due])
    return any(one[0] for one in told), any(one[1] for one in told)


def _measure(state: State, held: Split, device: str, step: int, prices: Prices) -> float:
    """Measure the network, or its average, on the validation images after `step` steps; return the accuracy."""
    with state.average.shown() if state.average else nullcontext():
        found = state.best.measure(state.network, held, device, step, state.spent.progress, state.shards.group)
    state.spent.validate(len(held), prices)
    return found


def _row(state: State, rate: float, stages: int) -> dict[str, float]:
    """Return the log's row after a step."""
    sums, seen = state.tally, state.tally.images
    row: dict[str, float] = {
        "step": state.spent.steps,
        "images": state.spent.images,
        "lr": rate,
        "loss": sums.loss / seen,
        "cross_entropy": sums.cross_entropy / seen,
        "accuracy": sums.right / seen,
    }
    if stages > 1:
        row["stage"] = state.stage + 1
    if state.shards.number > 1:
        return row | state.shards.figures
    for name, term in state.terms[0].items():
        row |= {f"{name}.{k}": v for k, v in term.figures().items()}
    return row
