"""The gate as a pytest fixture, for somebody's own tests; pytest finds it wherever lcrbench is installed.

def test_robustness_is_kept(lcrbench_check):
    lcrbench_check("lcrbench-runs", against="robustness.json")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Check = Callable[..., None]


@pytest.fixture
def lcrbench_check() -> Check:
    """Return a function that fails the test on a regression, with every verdict in its message.

    `lcrbench_check(candidate, against, *, methods=None, endpoint=None, margin=None, any_source=False, inconclusive="fail")`:
    the store of the candidate's runs and the reference file, whose endpoint and margin count unless given. Runs that depend
    on code other than the installed one cannot be compared unless `any_source`. What cannot be compared always fails;
    `inconclusive` is "fail", "skip" or "pass".
    """

    def check(
        candidate: str | Path,
        against: str | Path,
        *,
        methods: Sequence[str] | None = None,
        endpoint: str | None = None,
        margin: float | None = None,
        any_source: bool = False,
        inconclusive: str = "fail",
    ) -> None:
        from lcrbench.bench.records import source
        from lcrbench.bench.records.store import Store
        from lcrbench.reports import gate

        held = gate.load(Path(against))
        stale = None if any_source else source.stale
        verdicts = gate.check(Store(candidate), held, methods=methods, endpoint=endpoint, margin=margin, stale=stale)
        code, said = gate.exit_code(verdicts), gate.text(verdicts)
        if code == gate.EXIT_CODES["inconclusive"] and inconclusive != "fail":
            if inconclusive == "skip":
                pytest.skip(said)
            return
        if code:
            pytest.fail(said, pytrace=False)

    return check
