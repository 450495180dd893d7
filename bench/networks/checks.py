"""The checks that run by default on a network from outside: is it prepared and read as it was trained?

    mode            evaluation mode;  determinism  two passes agree;  batch  an image's answer is its own
    finite          no output is infinite or no number
    normalization   no common preparation gives more right answers than the declared one (McNemar's exact test, paired)
    order           no order of classes that is known gives more right answers, nor does matching find one
    chance          the accuracy is above chance

On at most 512 labelled images. Findings are reported, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats as distributions
from torch import nn

from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.evaluation.inference import logits
from lcrbench.bench.networks import normalizations, orders
from lcrbench.bench.networks.foreign import Foreign, Ready
from lcrbench.bench.networks.orders import Order
from lcrbench.bench.networks.prepare import prepared
from lcrbench.bench.records.external import Preprocess
from lcrbench.errors import UserError

IMAGES: Final = 512
FEWEST: Final = 128
SHARE: Final = 160
"""One image of so many that are shown is also taken for the checks."""
ALIKE: Final = 16
SURE: Final = 1e-3
"""Level of a finding, over all alternatives of a check."""
ALIKE_TO: Final = 0.05
"""Level above which two preparations that fit are both named."""
MATCHED: Final = 0.5
"""Accuracy by matching from which another order of classes is likely, where it exceeds the plain one by .05."""
MOST: Final = 0.9
"""Share of the matched accuracy that a known order must reach. The right order of a trained network is nearly the best one
that there is. The answers of an untrained network go with the classes, too, so some order gains significantly there: in 27 %
of 300 random linear networks one of three orders did, and in 0.3 % one that reaches this share."""


class Finding(NamedTuple):
    """What a check found: whether that is good, its name, and a line to tell."""

    good: bool
    check: str
    what: str


def number(shown: int) -> int:
    """Return how many images the checks take where so many are shown in all cells."""
    return max(FEWEST, min(IMAGES, shown // SHARE))


def checks(
    ready: Ready, dataset: Dataset, *, images: int = IMAGES, device: str = "cpu", files: Iterable[Path] = ()
) -> Iterator[Finding]:
    """Yield the findings about a network that is ready, each as soon as it is known."""
    for note in ready.notes:
        yield Finding(True, "told", note)
    places = spread(dataset.test.labels, images)
    shown, labels = dataset.test.images[places], dataset.test.labels[places]
    network = ready.looked.network
    yield from _steady(network, shown, device)
    out = _outputs(ready.foreign, ready.foreign.how, shown, device)
    if not np.isfinite(out).all():
        bad = int((~np.isfinite(out)).any(1).sum())
        yield Finding(False, "finite", f"outputs of {bad} of {len(out)} images are infinite or no numbers")
        return
    right = orders.right(out, labels, ready.order)
    share = f"{right.sum():,} of {len(right):,} right ({right.mean():.1%})"
    explained = False
    for finding in (
        *_normalization(ready, shown, labels, right, device),
        *_order(out, labels, right, ready.order, dataset, files),
    ):
        explained |= not finding.good
        yield finding
    chance = 1 / len(dataset.classes)
    if distributions.binomtest(int(right.sum()), len(right), chance, alternative="greater").pvalue > SURE:
        why = "" if explained else "; neither a common preparation nor a known order of classes explains it"
        yield Finding(False, "chance", f"accuracy near chance ({chance:.1%}): {share}{why}")
    else:
        yield Finding(True, "chance", f"above chance: {share}")


def best_order(foreign: Foreign, dataset: Dataset, device: str = "cpu", files: Iterable[Path] = ()) -> str:
    """Return in words which order of classes fits a network whose outputs are not as many as the classes; empty for none."""
    places = spread(dataset.test.labels, FEWEST)
    labels = dataset.test.labels[places]
    out = _outputs(foreign, foreign.how, dataset.test.images[places], device)
    found = [
        (int(orders.right(out, labels, o).sum()), o.name)
        for o in orders.candidates(dataset.classes, out.shape[1], files)
    ]
    if not found:
        return ""
    told = ", ".join(f"{name} {n} of {len(labels)} right" for n, name in sorted(found, reverse=True))
    best = max(found)[1]
    return f"the order that fits is '{best}' ({told}): declare it with --label-order {best} (order={best!r})"


def spread(labels: NDArray[np.int64], images: int) -> NDArray[np.int64]:
    """Return the positions of so many images, spread evenly over the classes, ascending."""
    by_class = np.argsort(labels, kind="stable")
    taken = by_class[np.linspace(0, len(by_class) - 1, min(images, len(by_class))).round().astype(int)]
    return np.sort(taken)


def better(other: NDArray[np.bool_], than: NDArray[np.bool_]) -> float:
    """Return the p-value of McNemar's exact one-sided test: has `other` more right answers for the same images (n,)?"""
    gained, lost = int((other & ~than).sum()), int((than & ~other).sum())
    if gained + lost == 0:
        return 1.0
    return float(distributions.binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue)


def _steady(network: nn.Module, shown: NDArray[np.uint8], device: str) -> Iterator[Finding]:
    """Compare two passes, and passes with other images in the batch."""
    few = shown[:ALIKE]
    once, again = (_logits(network, few, len(few), device) for _ in range(2))
    scale = float(np.nanstd(once)) or 1.0
    apart = np.abs(once - again).max(1) / scale
    if np.median(apart) > 1e-3:
        changed = int((once.argmax(1) != again.argmax(1)).sum())
        what = (
            f"two passes over the same images differ ({changed} of {len(few)} answers): a dropout is left on, or a draw"
        )
        yield Finding(False, "determinism", what)
        return
    yield Finding(True, "determinism", "two passes agree")
    try:
        # Each image beside others than before: alone if the network takes one, else at the end of a batch of itself.
        alone = np.concatenate([_logits(network, image[None], 1, device) for image in few[:4]])
    except UserError:
        alone = np.stack(
            [_logits(network, np.repeat(image[None], len(few), 0), len(few), device)[-1] for image in few[:4]]
        )
    apart = np.abs(once[:4] - alone).max(1) / scale
    if np.median(apart) > 1e-2:
        what = "an image's outputs depend on the other images in the batch: numbers hold for this block size alone"
        yield Finding(False, "batch", what)
    else:
        yield Finding(True, "batch", "an image's outputs do not depend on the other images in the batch")


def _normalization(
    ready: Ready, shown: NDArray[np.uint8], labels: NDArray[np.int64], right: NDArray[np.bool_], device: str
) -> Iterator[Finding]:
    """Score the common preparations on a quarter of the images, and on all where one gains more answers than it loses.

    One that fits better on all images, at the level of a finding, gains more than it loses on a quarter of them, too, but
    for one time in thirty at most. Most preparations end there, as good as the declared one or worse.
    """
    others = list(normalizations.others(ready.foreign.how))
    few = spread(labels, max(len(labels) // 4, FEWEST // 4))
    scores, found = [f"declared {right.mean():.1%}"], list[tuple[float, int, str, Preprocess, NDArray[np.bool_]]]()
    for name, how in others:
        part = orders.right(_outputs(ready.foreign, how, shown[few], device), labels[few], ready.order)
        settled = part.sum() <= right[few].sum()
        whole = part if settled else orders.right(_outputs(ready.foreign, how, shown, device), labels, ready.order)
        scores.append(f"{name} {whole.mean():.1%}")
        if not settled and (p := better(whole, right)) < SURE / len(others):
            found.append((p, -int(whole.sum()), name, how, whole))
    told = ", ".join(scores)
    if not found:
        yield Finding(True, "normalization", f"no other preparation fits better: {told}")
        return
    p, _, name, how, best = min(found, key=lambda f: (f[1], f[0]))
    alike = [f[2] for f in found if f[2] != name and better(best, f[4]) > ALIKE_TO]
    also = f", or {' or '.join(alike)}, which {len(labels)} images do not tell from it" if alike else ""
    yield Finding(
        False,
        "normalization",
        f"another preparation fits better: {name}{also} (p {p:.1g}): {told}; declare {_way(how, ready.foreign.how)}, or "
        "look where the network is normalized",
    )


def _order(
    out: NDArray[np.float32],
    labels: NDArray[np.int64],
    right: NDArray[np.bool_],
    order: Order,
    dataset: Dataset,
    files: Iterable[Path],
) -> Iterator[Finding]:
    """Score the orders of classes that are known, and what matching finds where there are enough images a class."""
    known = [o for o in orders.candidates(dataset.classes, out.shape[1], files) if o.columns != order.columns]
    scored = [(orders.right(out, labels, o), o) for o in known]
    matched = orders.matched(out, labels)
    least = 0.0 if matched is None else MOST * matched
    fits = [(r.sum(), o) for r, o in scored if better(r, right) < SURE / max(len(scored), 1) and r.mean() >= least]
    beside = "" if matched is None else f"; matched by answers {matched:.1%}"
    if fits:
        count, best = max(fits, key=lambda f: int(f[0]))
        yield Finding(
            False,
            "order",
            f"another order of classes fits: {best.name or 'that of the data'}, {count} of {len(labels)} right against "
            f"{right.sum()}{beside}; declare it with --label-order {best.name} (order={best.name!r})",
        )
    elif matched is not None and matched >= MATCHED and matched - right.mean() > 0.05:
        yield Finding(
            False,
            "order",
            f"the classes are in another order: {right.mean():.1%} right, and {matched:.1%} if outputs are matched to "
            "classes by the answers; no order that is known fits, so give a file of the classes' ids with --label-order",
        )
    else:
        yield Finding(True, "order", f"no other order of classes fits better{beside}")


def _outputs(foreign: Foreign, how: Preprocess, shown: NDArray[np.uint8], device: str) -> NDArray[np.float32]:
    network = prepared(foreign.loaded.network, how).to(device).eval()
    return _logits(network, shown, min(len(shown), 64), device)


def _logits(network: nn.Module, shown: NDArray[np.uint8], block: int, device: str) -> NDArray[np.float32]:
    try:
        found: NDArray[np.float32] = logits(network, shown, block, device)
    except UserError:
        raise
    except Exception as error:  # their code may raise anything
        first = str(error).partition("\n")[0]
        raise UserError(f"the network does not take {block} images at once: {type(error).__name__}: {first}") from error
    return found


def _way(how: Preprocess, declared: Preprocess) -> str:
    """Return the options that declare a preparation, where they differ from the declared one."""
    options = []
    if (how.mean, how.std) != (declared.mean, declared.std):
        mean, std = (" ".join(f"{v:.4g}" for v in values) for values in (how.mean, how.std))
        options.append(f'--mean "{mean}" --std "{std}"')
    if how.range != declared.range:
        options.append(f'--range "{how.range[0]:g} {how.range[1]:g}"')
    if how.channels != declared.channels:
        options.append(f"--channels {how.channels}")
    return " ".join(options)
