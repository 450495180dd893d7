"""Networks from outside: a version of a network against the one of the reference, image by image.

There is one network a version, so no seeds tell how much training by chance changes. Both versions answered the same images:
with d_i the candidate's share of right answers for image i over the cells, minus the reference's, Student's one-sided 95 %
bounds on the mean of d decide as for seeds. What is decided is about these two networks, for images like these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError, unknown
from lcrbench.reports import identity
from lcrbench.reports.gate.bounds import Outcome, non_inferiority
from lcrbench.reports.gate.endpoints import unequal
from lcrbench.reports.significance import Endpoint, Outcomes

ENDPOINTS: Final[dict[str, Endpoint]] = {"corruption_accuracy": "common", "clean_accuracy": "clean"}
MARGIN: Final = 1.0
"""Points, where none is stated."""


class Right(Frozen):
    """How often each test image was classified right, of `cells` times."""

    cells: int
    right: tuple[int, ...]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Return the shares, in points."""
        return np.asarray(self.right, np.float64) * 100 / self.cells


class NetworkReference(Frozen):
    """What a reference holds of a network from outside: what it was shown, and its right answers image by image."""

    identity: dict[str, Any]
    endpoint: str
    margin: float = Field(description="in points")
    images: dict[str, Right] = Field(description="by endpoint")
    run: str
    written: str
    weights: str

    @property
    def text(self) -> str:
        """Return what a candidate is held to."""
        n = len(self.images[self.endpoint].right)
        return f"{n:,} images, {self.endpoint} no worse by {self.margin:g} points, by image"


class Found(NamedTuple):
    """What a comparison came to; values and bounds are in points."""

    outcome: Outcome
    reason: str
    candidate: float | None = None
    reference: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    images: int = 0
    improved: bool = False


def held(store: Store, records: Sequence[Record], endpoint: str, margin: float | None) -> NetworkReference:
    """Return what a reference holds of a network; raises `UserError` where there are several, or no such endpoint."""
    record = _one(records)
    images = {name: right for name in ENDPOINTS if (right := _right(store, record, name)) is not None}
    if endpoint not in images:
        raise unknown(f"endpoint of '{record.spec.label}', which is compared by image,", endpoint, images)
    chosen = MARGIN if margin is None else margin
    if not 0 < chosen <= 20:
        raise UserError(f"the margin must be above 0 and at most 20 points (got {chosen:g})")
    return NetworkReference(
        identity=identity.gated(record),
        endpoint=endpoint,
        margin=chosen,
        images=images,
        run=record.run_id,
        written=record.provenance.created,
        weights=record.weights_sha256,
    )


def compare(store: Store, records: Sequence[Record], ref: NetworkReference, endpoint: str, margin: float) -> Found:
    """Compare a network with the reference's by their answers to the same images."""
    if endpoint not in ref.images:
        raise unknown("endpoint that is compared by image", endpoint, ref.images)
    n = len(ref.images[endpoint].right)
    if not records:
        return Found("not comparable", "the candidate has no network of this name")
    try:
        record = _one(records)
    except UserError as error:
        return Found("not comparable", str(error))
    if record.status == "failed":
        return Found("not comparable", f"run {record.run_id} failed: {record.failure and record.failure.message}")
    if (record.run_id, record.provenance.created) == (ref.run, ref.written):
        return Found("not comparable", f"the candidate is stale: run {record.run_id} is the reference's own")
    if differing := unequal(ref.identity, identity.gated(record)):
        return Found("not comparable", f"run {record.run_id} differs from the reference in {', '.join(differing)}")
    ours = _right(store, record, endpoint)
    if ours is None or ours.cells != ref.images[endpoint].cells or len(ours.right) != n:
        return Found("not comparable", f"run {record.run_id} has no answers for {endpoint} on these images")
    x, y = ours.shares, ref.images[endpoint].shares
    means = float(x.mean()), float(y.mean())
    if ours.right == ref.images[endpoint].right:
        return Found("pass", "identical: every image is answered as by the reference", *means, 0.0, 0.0, 0.0, n)
    outcome, difference, low, high = non_inferiority(list(x), list(y), margin, paired=True)
    said = {
        "pass": f"not worse by {margin:g} points or more",
        "regression": f"worse by more than {margin:g} points",
        "inconclusive": "show it more images: the difference is at the margin",
    }[outcome]
    return Found(outcome, said, *means, difference, low, high, n, low > margin)


def _one(records: Sequence[Record]) -> Record:
    """Return the one run; raises `UserError` for several, which would be networks or test sets of one name."""
    runs = {r.run_id: r for r in records}
    if len(runs) > 1:
        told = ", ".join(sorted(runs))
        raise UserError(
            f"the store has {len(runs)} runs of '{records[0].spec.label}' ({told}): keep one, or name them apart"
        )
    return records[0]


def _right(store: Store, record: Record, endpoint: str) -> Right | None:
    shares = Outcomes(store).per_image(record.run_id, ENDPOINTS[endpoint])
    if shares is None:
        return None
    cells = 1 if ENDPOINTS[endpoint] == "clean" else _common_cells(store, record)
    return Right(cells=cells, right=tuple(int(n) for n in np.rint(shares * cells)))


def _common_cells(store: Store, record: Record) -> int:
    from lcrbench.reports.comparison import COMMON

    return sum(cell.corruption in COMMON for cell in store.outcomes(record.run_id))
