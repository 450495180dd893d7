"""Verdicts for a terminal, a pull request, a program and a continuous integration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from xml.etree import ElementTree

from lcrbench.reports.gate import margins
from lcrbench.reports.gate.decision import GOOD_REFERENCE, Verdict, exit_code, seeds_text
from lcrbench.reports.gate.reference import MethodReference
from lcrbench.untrusted import shown


def text(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts for a terminal, a line each."""
    lines = []
    for v in verdicts:
        numbers = ""
        if v.difference is not None and v.low is not None and v.high is not None:
            numbers = f"  {v.difference:+.2f} [{v.low:+.2f}, {v.high:+.2f}] {v.unit}"
            numbers += f", n={v.n_candidate} against {v.n_reference}, margin {v.margin:g}"
        what = f"{v.endpoint}{numbers}: " if v.endpoint else ""
        lines.append(f"{v.outcome.upper():14} {v.method}: {what}{v.reason}")
        lines += [f"{'':15}{note}" for note in v.notes]
    return "\n".join(lines) + "\n"


def as_json(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as JSON, with the exit code."""
    return json.dumps({"exit_code": exit_code(verdicts), "verdicts": [asdict(v) for v in verdicts]}, indent=1) + "\n"


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table, for a pull request."""
    from lcrbench.reports.writers import escape_markdown

    lines = [
        "| Method | Endpoint | Candidate | Reference | Difference, one-sided 95 % bounds | Verdict |",
        "|:--|:--|--:|--:|:--|:--|",
    ]
    for v in verdicts:
        numbers = ["–", "–", "–"]
        if v.candidate is not None:
            numbers[:2] = f"{v.candidate:.2f} (n={v.n_candidate})", f"{v.reference:.2f} (n={v.n_reference})"
        if v.difference is not None:
            numbers[2] = f"{v.difference:+.2f} [{v.low:+.2f}, {v.high:+.2f}] {v.unit}"
        said = escape_markdown("; ".join([v.reason, *v.notes]))
        cells = [escape_markdown(v.method), escape_markdown(v.endpoint), *numbers, f"**{v.outcome}**: {said}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def as_junit(verdicts: Sequence[Verdict]) -> str:
    """Return JUnit XML: a regression is a failure, what cannot be compared an error, the rest but a pass skipped."""
    tags = {"regression": "failure", "not comparable": "error", "inconclusive": "skipped", "not gated": "skipped"}
    counts = {tag: sum(1 for v in verdicts if tags.get(v.outcome) == tag) for tag in ("failure", "error", "skipped")}
    suite = ElementTree.Element(
        "testsuite",
        name="lcrbench check",
        tests=str(len(verdicts)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
    )
    for v in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=_xml(f"lcrbench.{v.endpoint}"), name=_xml(v.method))
        if v.outcome in tags:
            ElementTree.SubElement(case, tags[v.outcome], message=_xml(v.reason)).text = _xml(text([v]))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _xml(value: str) -> str:
    """Return text in which what XML cannot hold, or what steers a terminal, is escaped."""
    return "".join(c if c in "\n\t" else shown(c) for c in value)


def described(held: MethodReference) -> str:
    """Return what a reference asks of a method's candidates, and how often unchanged code passes."""
    n = len(held.runs)
    said = f"{n} seed{'' if n == 1 else 's'}" + (
        f" ({GOOD_REFERENCE} or more are advised)" if n < GOOD_REFERENCE else ""
    )
    gate = held.gate
    if gate is None:
        return f"{said}, no margin"
    values, scale = list(held.values[gate.endpoint].values()), held.scales[gate.endpoint]
    power = margins.of(values, scale, gate.margin, len(gate.seeds), paired=gate.paired)
    asked = f"; asked of a candidate: seeds {seeds_text(gate.seeds)}" + (", paired" if gate.paired else "")
    return f"{said}{asked}; {gate.endpoint}" + (
        f": {power.text(gate.margin)}" if power else f", margin {gate.margin:g}"
    )
