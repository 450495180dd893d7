"""Metrics, one file each; the file's name is the metric's name.

A metric has

- `INFO`, a `MetricInfo`: unit, direction, and whether its numbers are exact, bounds or estimates;
- `PHASE`, the phase of the ledger that its time is charged to;
- `Options`, a frozen dataclass: what a spec may set; every option is written into the spec;
- `measure(subject, options) -> Iterator[Measurement]`.
"""
