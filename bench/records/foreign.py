"""A run of a network from outside: what it was shown, and what was measured. Nothing is known of its training."""

from __future__ import annotations

from pydantic import Field

from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.external import External
from lcrbench.bench.records.grid import Evaluation, Options
from lcrbench.bench.records.ids import content_id
from lcrbench.bench.records.spec import DataId, MethodId, Protocol, Subject


class ForeignSpec(Frozen):
    """A network from outside under a protocol. Its budget, recipe and seed are unknown."""

    external: External
    protocol: Protocol
    metrics: dict[str, Options] = Field({}, description="options of each metric that was asked for, by name")

    @property
    def run_id(self) -> str:
        """Return the run's address."""
        return content_id("run", {**self.external.facts, "protocol": self.protocol.protocol_id})

    @property
    def subject(self) -> Subject:
        """Return what is evaluated."""
        return Subject(external=self.external)

    @property
    def label(self) -> str:
        """Return what reports call it, which says that it was trained elsewhere."""
        return f"foreign:{self.external.name}"

    @property
    def method(self) -> MethodId:
        """Return its name in the place of a method."""
        return MethodId(name=self.external.name)

    @property
    def backbone(self) -> str:
        """Return the text by which it was loaded, in the place of a topology."""
        return self.external.model or self.external.name

    @property
    def seed(self) -> int:
        """Return 0: there is one such network."""
        return 0

    @property
    def data(self) -> DataId:
        """Return the data that it was shown, none of which it was trained on here."""
        test = self.protocol.test
        return DataId(
            name=test.name, sha256=test.sha256, size=test.size, classes=test.classes, train=0, test=test.count
        )

    @property
    def evaluation(self) -> Evaluation:
        """Return what is shown, as a grid has it."""
        p = self.protocol
        return Evaluation(corruptions=p.corruptions, severities=p.severities, seed=p.seed, block=p.block)
