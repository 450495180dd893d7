"""What a network and its training cost: operations and memory of one image, passes and seconds of a training."""

from __future__ import annotations

from collections.abc import Callable

from lcrbench.bench import stats
from lcrbench.bench.records.record import Record
from lcrbench.reports.comparison import Row
from lcrbench.reports.table import Cell


def cost(row: Row, of: Callable[[Record], float | None]) -> Cell:
    """Return the mean over a row's runs of something each record holds, with an interval over seeds if it varies."""
    found = [v for v in (of(r) for r in row.runs) if v is not None]
    if not found:
        return Cell()
    if len(set(found)) == 1:
        return Cell(found[0], how=f"the same in all {len(found)} runs" if len(found) > 1 else "one run")
    i = stats.mean(found, "seeds")
    return Cell.of(i if i.low is None else i._replace(low=max(0.0, i.low)))  # nothing costs less than nothing


def parameters(record: Record) -> float | None:
    """Return the number of a network's parameters; None of one from outside that has none as tensors."""
    if record.external is not None:
        return record.external.parameters
    return record.model.parameters if record.model else None


def passes(record: Record) -> float | None:
    """Return the images that went through any network in training, forward and backward passes counted alike."""
    ledger = record.ledger
    if ledger is None:
        return None
    return sum(ledger.forward.values()) + sum(ledger.backward.values()) + 2 * ledger.taught_images


def training_cpu(record: Record) -> float | None:
    """Return the CPU seconds a run's training took, a teacher's included."""
    if record.ledger is None or not record.ledger.seconds:
        return None
    return sum(s.cpu for phase, s in record.ledger.seconds.items() if phase in ("training", "teacher"))


def operations(record: Record) -> float | None:
    """Return the operations of one image, a binary multiply-accumulate counted as 1/64 as the field's papers do."""
    m = record.model
    if m is None:
        return None
    return m.macs - m.binary_macs + m.binary_macs / 64 if m.ops is None else m.ops


def memory(record: Record) -> float | None:
    """Return the bytes that inference needs: a bit a binary weight, four bytes any other number."""
    m = record.model
    if m is None:
        return None
    return (m.parameters - m.binary_weights) * 4 + m.binary_weights / 8 if m.memory_bits is None else m.memory_bits / 8
