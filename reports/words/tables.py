"""What stands under the tables of a report, and in their cells where there is no number."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import JsonValue

from lcrbench.bench.records.statistics import Statistic
from lcrbench.reports.comparison import Key, Row, Setting
from lcrbench.reports.words import plain, plural


def unit_note(setting: Setting) -> str:
    """Say what the intervals of a table rest on."""
    n = setting.any.spec.data.test
    if setting.unit == "seeds":
        return (
            "Intervals are 95 % Student's t over training seeds (n = seeds), on these test images: they speak about "
            "methods. A row with one seed "
            f"has an interval over its {n:,} test images instead, and says so."
        )
    return (
        f"One training seed a method, so the intervals are 95 % over the {n:,} test images (Wilson for a proportion, "
        "Student's t over base images for a mean over corruptions): they speak about these trained networks, not about "
        "what another seed would give."
    )


def pool_note(setting: Setting) -> str:
    """Say what the marks mean and among which rows."""
    pool = setting.pool
    who = "binary networks" if pool and all(r.binary for r in pool) and len(pool) < len(setting.ranked) else "methods"
    return (
        f"Bold: best printed value among the {who}, underlined: second; equal printed values are marked alike. A mark "
        "is "
        "not a claim of a difference: see the differences."
    )


def topology_note(setting: Setting) -> str:
    """Say which topology all networks of a setting have, or that they differ."""
    if setting.any.external is not None:
        return "The networks were trained elsewhere, on budgets that are not known."
    found = [r.model.topology for row in setting.rows for r in row.runs if r.model]
    if any(topology != found[0] for topology in found):
        return "The topology is not the same in all networks: see the warning above."
    options = ", ".join(_option(k, v) for k, v in sorted(found[0].items() if found else ()))
    return f"One topology for all: {setting.any.spec.backbone}" + (f" ({options})." if options else ".")


def _option(name: str, value: JsonValue) -> str:
    """Return an option of a backbone in words.

    >>> _option("head_norm", True), _option("stem_activation", False), _option("shortcut", "pad")
    ('head norm', 'no stem activation', 'shortcut pad')
    """
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {plain(value)}"


def foreign_notes(setting: Setting) -> list[str]:
    """Say of each network from outside how it was loaded, what its pixels go through, and where more is to be read."""
    said = []
    for row in setting.rows:
        if (network := row.any.external) is None:
            continue
        parts = [f"loaded as {network.model}" if network.model else "given as a Python object"]
        parts.append(f"takes {network.preprocess.text}" if network.preprocess else "takes pixels in [0, 1]")
        if network.outputs == "probabilities":
            parts.append("its logits are the logarithm of probabilities")
        if network.order:
            parts.append(f"order of classes: {network.order}")
        if network.training_data:
            parts.append(f"trained on {network.training_data}")
        parts += [f"{what}: {address}" for what, address in network.links.items()]
        said.append(f"{row.label}: {'; '.join(parts)}.")
    return said


def tuning_notes(setting: Setting) -> list[str]:
    """Say of each method that was tuned how, and what that took; empty if none was."""
    found: dict[str, list[str]] = {}
    for row in setting.rows:
        if not row.foreign and (tuning := row.any.trained.training.tuning):
            tried = "; ".join(f"{k}: {', '.join(map(str, values))}" for k, values in tuning.searched.items())
            said = (
                f"tuned by {plural(tuning.trials, 'trial')} ({plain(tuning.images)} images seen, {tuning.cpu:,.0f} CPU s in "
                f"all) on {tuning.validation:,} held-out training images"
            )
            found.setdefault(said + (f", over {tried}" if tried else ""), []).append(row.name)
    return [f"{', '.join(labels)}: {said}." for said, labels in found.items()]


def calibration_note(keys: Collection[Key]) -> str:
    """Say what the columns of calibration hold, those that are there."""
    said = {
        "mean": " ECE: expected calibration error on clean images, in bins of equal width, which chance alone raises.",
        Statistic.DEBIASED: (
            " Debiased: without what chance adds; one network's interval covers its true ECE in 95 % or more."
        ),
        Statistic.CALIBRATED: (
            " If calibrated: what ECE would be of a perfectly calibrated network with these confidences, and the range of "
            "95 % of such networks: an ECE within it shows no miscalibration."
        ),
        "brier_score": " Brier: mean squared distance of the probabilities from the truth, 0 to 2.",
        "negative_log_likelihood": " NLL: mean negative log-likelihood of the true class.",
    }
    return "".join(said[k.statistic if k.metric == "calibration_error" else k.metric] for k in keys)


def interval_words(setting: Setting) -> str:
    """Return in a few words what the brackets hold."""
    return "95 % intervals over training seeds" if setting.unit == "seeds" else "95 % intervals over test images"


def failures(row: Row) -> str:
    """Say which of a row's runs failed, and why; empty if none."""
    if not row.failed:
        return ""
    parts = []
    for r in row.failed:
        f = r.failure
        why = f"{f.reason} at step {f.step:,}: {f.message}" if f else "no reason recorded"
        parts.append(f"seed {r.spec.seed} {why}")
    total = len(row.runs) + len(row.failed)
    count = "the run failed" if total == 1 else f"{len(row.failed)} of {total} runs failed"
    shown = "; ".join(parts[:5]) + (f"; and {len(parts) - 5} more" if len(parts) > 5 else "")
    return f"{count} ({shown})"


def left_out(setting: Setting, shown: int) -> tuple[str, ...]:
    """Say that a table shows some of the methods; empty if it shows all."""
    total = sum(1 for r in setting.rows if r.runs)
    if shown == total:
        return ()
    return (
        f"Shown are the reference and the {shown - 1} most accurate of {total} methods; measurements.csv holds all.",
    )
