"""What `lcrbench.evaluate` and `lcrbench.lipschitz` return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from lcrbench.bench.evaluation.known import Known
    from lcrbench.bench.networks.checks import Finding
    from lcrbench.bench.records.grid import Options
    from lcrbench.bench.records.record import Evaluation, Measured
    from lcrbench.bench.records.spec import Protocol
    from lcrbench.bench.records.store import Store


@dataclass(frozen=True, repr=False)
class Result:
    """What `evaluate` and `lipschitz` found: what was asked for, and all that is known of the network by then.

    `checks` is what the checks of a network from outside found; `store` where all is kept, if anywhere.
    """

    known: Known
    protocol: Protocol
    metrics: Mapping[str, Options]
    checks: tuple[Finding, ...] = ()
    store: Store | None = None

    @property
    def evaluation(self) -> Evaluation:
        """Return the record: what was shown, what was measured, and where the numbers come from."""
        return self.known.evaluation

    def __repr__(self) -> str:
        """Return what was measured in a few lines; `table()` has all of it."""
        from lcrbench.bench.told import lines

        subject, test = self.evaluation.subject, self.protocol.test
        name = (
            self.evaluation.training.label if self.evaluation.training else subject.external and subject.external.name
        )
        numbers = [n for m in self._measured() for n in m.measurements]
        return "\n".join([f"{name} on {test.count:,} images of {test.name}", *lines(numbers, self.metrics)])

    def table(self) -> pd.DataFrame:
        """Return the measurements, one row each: metric, statistic, corruption, severity, value, interval, n, ..."""
        import pandas as pd

        return pd.DataFrame([n.flat() for m in self._measured() for n in m.measurements])

    def report(self, out: str | Path) -> Path:
        """Write the report on this network into a folder, and return its page.

        Raises `UserError` if the folder cannot be written.
        """
        import tempfile

        from lcrbench.bench.records import view
        from lcrbench.bench.records.store import Store
        from lcrbench.reports import report as reports

        run_id = view.run_id(self.evaluation, self.protocol)
        if self.store is not None:
            return reports.write(self.store, Path(out), runs=[run_id])
        with tempfile.TemporaryDirectory() as folder:
            kept = Store(folder)
            kept.evaluations.write(self.evaluation.evaluation_id, self.evaluation, self.known.files)
            return reports.write(kept, Path(out), runs=[run_id])

    @property
    def left_out(self) -> dict[str, str]:
        """Return why a metric has no number, or not all, by its name."""
        return {m.metric: m.left_out for m in self._measured() if m.left_out}

    def _measured(self) -> list[Measured]:
        from lcrbench.bench.evaluation.known import found_by

        return found_by(self.known, self.metrics, self.protocol)[0]
