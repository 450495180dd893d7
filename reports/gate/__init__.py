"""The regression gate: is a candidate's robustness no worse than a reference's, up to a margin?

One-sided non-inferiority over training seeds. With d = mean(candidate) - mean(reference), oriented by the metric's
direction so that positive is better, and Welch's one-sided 95 % bounds on it:

    lower bound > -margin: pass;    upper bound < -margin: regression;    otherwise: inconclusive, run more seeds.

Runs are compared only under equal budgets, data, evaluation, corruption source and schema. A reference is a file of each
seed's value, which `update` alone writes, with a reason; ten seeds or more, at least twice the candidate's.

Simulated with a spread of .35 points over seeds, a margin of 1 point, 10 reference and 5 candidate seeds: without a drop
99.8 % of runs pass, with a drop of 2 points 99.8 % fail (tests/reports/test_gate.py).
"""

from lcrbench.reports.gate.decision import (
    EXIT_CODES,
    GOOD_REFERENCE,
    Outcome,
    Verdict,
    check,
    exit_code,
    non_inferiority,
    seeds_to_decide,
)
from lcrbench.reports.gate.endpoints import DEFAULT_ENDPOINT, Endpoint, endpoints
from lcrbench.reports.gate.formats import as_json, as_junit, as_markdown, text
from lcrbench.reports.gate.reference import MethodReference, Reference, Update, load, update

__all__ = [
    "DEFAULT_ENDPOINT",
    "EXIT_CODES",
    "GOOD_REFERENCE",
    "Endpoint",
    "MethodReference",
    "Outcome",
    "Reference",
    "Update",
    "Verdict",
    "as_json",
    "as_junit",
    "as_markdown",
    "check",
    "endpoints",
    "exit_code",
    "load",
    "non_inferiority",
    "seeds_to_decide",
    "text",
    "update",
]
