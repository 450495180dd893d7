"""The regression gate: is a candidate's robustness no worse than a reference's, up to a margin?

One-sided non-inferiority over training seeds. With d = mean(candidate) - mean(reference), oriented by the metric's
direction so that positive is better, and Welch's one-sided 95 % bounds on it:

    lower bound > -margin: pass;    upper bound < -margin: regression;    otherwise: inconclusive, run more seeds.

Runs repeat to the bit, so a candidate whose weights and values are the reference's passes without them. Runs are compared
only under equal budgets, data, evaluation, metric options, corruption source and schema, and only if every seed is there
that the reference asks for. A reference is a file of each seed's value, which `update` alone writes, with a reason and a
margin that unchanged code passes in 95 % of checks (`power`); ten seeds or more are advised.
"""

from lcrbench.reports.gate.bounds import Outcome, non_inferiority, seeds_to_decide
from lcrbench.reports.gate.decision import EXIT_CODES, GOOD_REFERENCE, Verdict, check, exit_code
from lcrbench.reports.gate.endpoints import DEFAULT_ENDPOINT, Endpoint, endpoints
from lcrbench.reports.gate.formats import as_json, as_junit, as_markdown, described, text
from lcrbench.reports.gate.reference import Gate, MethodReference, Reference, Update, load, update

__all__ = [
    "DEFAULT_ENDPOINT",
    "EXIT_CODES",
    "GOOD_REFERENCE",
    "Endpoint",
    "Gate",
    "MethodReference",
    "Outcome",
    "Reference",
    "Update",
    "Verdict",
    "as_json",
    "as_junit",
    "as_markdown",
    "check",
    "described",
    "endpoints",
    "exit_code",
    "load",
    "non_inferiority",
    "seeds_to_decide",
    "text",
    "update",
]
