"""The notes at a report's end: how the numbers were obtained, and in what environment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from lcrbench.bench.records.measurement import MetricInfo
from lcrbench.reports.comparison import Comparison, mixture
from lcrbench.reports.words import LCR_FORMS, plain
from lcrbench.reports.words.budget import mixture_text


class Note(NamedTuple):
    """One way in which numbers were obtained: its title, and the text."""

    title: str
    text: str


def environment(compared: Comparison) -> list[tuple[str, str, int]]:
    """Return what the runs were made with: what it is, a value, and in how many runs, the most frequent value first."""
    runs = compared.runs
    each: dict[str, list[str]] = {}
    for r in runs:
        p = r.provenance
        facts = {
            "Command": p.command,
            "lcrbench": p.lcrbench,
            "Commit": (p.commit or "unknown") + (" with changes" if p.dirty else ""),
            **{f"Version of {name}": version for name, version in sorted(p.versions.items())},
            "Device": f"{p.device}, {p.device_name}" if p.device_name else p.device,
            "Threads a run": str(p.threads),
            "Deterministic algorithms": "yes" if p.deterministic else "no",
            **_flat("Corruptions", p.corruptions),
            "Data": f"{r.spec.data.text}, sha256 {r.spec.data.sha256[:16]}…",
            "Corruption seed": str(r.spec.evaluation.seed),
            "Images a forward pass": f"{r.spec.evaluation.block:,}, padded",
        }
        for name, value in facts.items():
            each.setdefault(name, []).append(value)
    rows = []
    for name, values in each.items():
        known = Counter(values).most_common()
        rows += [(name, value, n) for value, n in known[:MOST_VALUES]]
        if rest := known[MOST_VALUES:]:
            rows.append((name, f"and {len(rest)} other values", sum(n for _, n in rest)))
    return rows


MOST_VALUES = 6


def _flat(title: str, facts: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return nested facts as one line each, named by all of their keys."""
    found: dict[str, str] = {}
    for key, value in sorted(facts.items()):
        name = f"{title}: {key.replace('_', ' ')}"
        if isinstance(value, dict):
            found |= _flat(name, value)
        else:
            found[name] = {True: "yes", False: "no"}[value] if isinstance(value, bool) else plain(value)
    return found


def metrics(compared: Comparison) -> list[tuple[str, ...]]:
    """Return the metrics of a report: name, unit, which way is better, what kind of bound, and what it measures."""
    seen = {name: info for s in compared.settings for name, info in s.metrics.items()}
    return [
        (name, info.unit, _direction(info.higher_is_better), info.bound, f"{info.summary}{_others(info)}")
        for name, info in sorted(seen.items())
    ]


def methods_notes(compared: Comparison) -> list[Note]:
    """Return how the numbers were obtained, as titles and texts."""
    notes = [
        (
            "Corruption error",
            "The error (1 − accuracy) on the same test images after a corruption, averaged over the severities that "
            "were run; "
            "a mean over corruptions weighs each corruption alike. It is unnormalized. The mCE of the ImageNet-C "
            "literature divides "
            "each corruption's error by AlexNet's on ImageNet-C; those constants mean nothing on another data set, so "
            "mCE is given "
            "on ImageNet-C alone. Extras (speckle noise, gaussian blur, spatter, saturate) enter no mean, because "
            "methods may be "
            "tuned on them.",
        ),
        (
            "Intervals and their unit",
            "Two questions are kept apart. Whether a method is better is a question about training: its unit is the "
            "seed, the "
            "interval Student's t (a mean) or Welch's (a difference) over seeds, on these test images; differences of "
            "Lipschitz figures "
            "add what other images would change. Whether these trained networks "
            "differ on these "
            "images has the image as its unit, and outcomes are paired. The corrupted copies of one image are not "
            "independent, so "
            "they are averaged before the interval is taken; treating them as independent would make it several times "
            "too short.",
        ),
        (
            "Testing",
            "One endpoint is fixed beforehand: mean accuracy over the common corruptions. Its p-values are corrected "
            "with Holm's "
            "method over the comparisons of one table. Everything else, single corruptions and single cells above "
            "all, is "
            "descriptive.",
        ),
        (
            "Empirical Lipschitz figures",
            "omega(x; eps) is the largest ‖f(x+d) − f(x)‖ that a search found over ‖d‖ ≤ eps with x+d in the box of "
            "pixels [0, 1], f the logits of the deployed network; kappa the largest change of a margin over the margin. "
            "Both are lower bounds and grow with more search, so how hard was searched is said beside them. A network "
            "with sign activations jumps: its Lipschitz constant is infinite, and only a figure at a named radius has "
            "meaning. Logits can be scaled without changing a single decision, so networks are ranked by kappa, by the "
            "gain over the size of the logits and by the smallest radius with a found flip, which have no scale, and "
            "never by omega. Two methods are not separated where a quick and a longer search disagree on their order, or "
            "where the difference may be chance.",
        ),
        (
            "Budget",
            "Every method of a comparison sees the same images in the same order with the same augmentation, from the "
            "same latent "
            "weights, and the reported weights are selected by the same rule. The budget table shows what each run's "
            "ledger recorded. "
            "A run under another budget is shown, and neither ranked nor tested." + _own_recipes(compared),
        ),
    ]
    used = {name for s in compared.settings for row in s.rows for name in row.regularizers}
    if forms := [f"+{name}: {words}" for name, words in LCR_FORMS.items() if name in used]:
        text = (
            "; ".join(forms) + ". The latent variant is this project's reading of the paper's figure, with no teacher."
        )
        notes.append(("Forms of LCR", text if "lcr" in used else "; ".join(forms) + "."))
    if mixed := mixture([r.provenance for r in compared.runs]):
        notes.append(("Devices and versions", mixture_text(mixed)))
    return [Note(title, text) for title, text in notes]


def _own_recipes(compared: Comparison) -> str:
    if all(r.trained.training.recipe_of == "comparison" for r in compared.runs if r.external is None):
        return ""
    return (
        " Methods that are trained each by its own recipe are compared with one another under an equal amount of training: "
        "batches, order, optimizer and schedule then differ between them, and no budgets are called identical."
    )


def _others(info: MetricInfo) -> str:
    """Return what the statistics of another unit or bound than the metric's are."""
    kinds: dict[str, list[str]] = {}
    for name, kind in info.other.items():
        kinds.setdefault(f"{kind.unit}, {kind.bound}", []).append(f"'{name}'")
    return "".join(f" {', '.join(names)}: {words}." for words, names in kinds.items())


def _direction(higher_is_better: bool | None) -> str:
    return {True: "higher", False: "lower", None: "neither"}[higher_is_better]
