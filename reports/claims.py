"""The claims of the LCR paper (arXiv 2207.06540), each with the rule that decides it, written down before the data.

A verdict is *supported*, *refuted* or *not enough data*, and holds for the setting it was measured in. The rules:

- Raises clean accuracy, lowers corruption error: `MIN_SEEDS` seeds a side under identical budgets, Welch's 95 % interval
  of (with LCR - without). Supported if its lower end is above 0; refuted if its upper end is below `WORTH` (half a point:
  whatever gain there is, it is smaller than the paper's). Anything else is not enough data.
- Usual Lipschitz regularizers collapse on binary networks: a run collapses if it diverges or ends below twice chance while
  its base, the same binary method and options without the regularizer, does not. Judged are single regularizers under the
  reference's budget. Supported if most runs of every such regularizer collapse; refuted if fewer than half do for each.
  Needs `MIN_SEEDS` runs.
- The retention matrix tracks the spectral norm: the rank correlation over layers (at least 8), each the mean over seeds, of
  the exact proxy with the layer's operator norm. Supported if its interval lies above `TRACKS`; refuted if below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lcrbench.bench import stats
from lcrbench.reports.budget_proof import budget_proof
from lcrbench.reports.comparison import CLEAN, Row, Setting
from lcrbench.reports.lipschitz.fidelity import over_layers
from lcrbench.reports.significance import Difference, Endpoint, against_base, differences
from lcrbench.reports.words import LCR_FORMS

Verdict = Literal["supported", "refuted", "not enough data"]

MIN_SEEDS = 5
WORTH = 0.005
TRACKS = 0.5
LIPSCHITZ_REGULARIZERS = ("jacobian_penalty", "parseval", "spectral_norm", "spectral_penalty")


@dataclass(frozen=True)
class Judged:
    """One claim: what it says, the verdict, what was measured with interval and n, and the rule."""

    claim: str
    verdict: Verdict
    measured: str
    rule: str
    setting: str = ""


def judge(setting: Setting) -> list[Judged]:
    """Return the verdicts on all claims in one setting; empty where no network with LCR was trained."""
    used = {name for r in setting.rows for name in r.regularizers}
    judged = []
    for variant, words in LCR_FORMS.items():
        if variant in used:
            pairs = [(a, b) for a, b in against_base(setting) if a.regularizers == (variant,)]
            judged.append(_gain(setting, f"{words} raises clean accuracy", pairs, "clean"))
            judged.append(_gain(setting, f"{words} lowers corruption error", pairs, "common"))
    return [*judged, _collapse(setting), _fidelity(setting)] if judged else []


def decide(low: float | None, high: float | None, worth: float = WORTH) -> Verdict:
    """Return the verdict on a claimed gain from the interval of the difference.

    >>> decide(0.001, 0.02), decide(-0.02, 0.001), decide(-0.01, 0.02)
    ('supported', 'refuted', 'not enough data')
    """
    if low is None or high is None:
        return "not enough data"
    return "supported" if low > 0 else "refuted" if high < worth else "not enough data"


def _gain(setting: Setting, claim: str, pairs: Sequence[tuple[Row, Row]], endpoint: Endpoint) -> Judged:
    rule = (
        f"At least {MIN_SEEDS} seeds a side, equal budgets; Welch's 95 % interval of the difference. Supported: "
        f"all of it is above 0. Refuted: it reaches 0 or less and ends below {WORTH * 100:g} points, so a gain, if there "
        "is one, is smaller than that. Else: not enough data. With several base methods: all must agree."
    )
    found = [d for d in differences(setting, None, pairs, endpoint) if d.seeds is not None]
    verdicts = [_one(setting, d) for d in found]
    said = []
    for d in found:
        i = d.seeds
        assert i is not None
        ends = "" if i.low is None or i.high is None else f" [{i.low * 100:+.2f}, {i.high * 100:+.2f}]"
        seeds = f"{len(d.row.runs)} against {len(d.reference.runs)} seeds"
        figures = f"{i.value * 100:+.2f} points{ends}".replace("-", "−")
        said.append(f"{d.row.name} − {d.reference.name}: {figures}, {seeds}")
    measured = "; ".join(said) or "no pair of a method with and without LCR has two seeds a side"
    verdict: Verdict = verdicts[0] if verdicts and len(set(verdicts)) == 1 else "not enough data"
    return Judged(claim, verdict, measured, rule, setting.title)


def _one(setting: Setting, d: Difference) -> Verdict:
    if min(len(d.row.runs), len(d.reference.runs)) < MIN_SEEDS or d.seeds is None:
        return "not enough data"
    rows = (d.row, d.reference)
    if not budget_proof(Setting(setting.index, rows, d.reference)).identical:
        return "not enough data"
    return decide(d.seeds.low, d.seeds.high)


def _collapse(setting: Setting) -> Judged:
    claim = "Usual Lipschitz regularizers collapse on binary networks"
    rule = (
        f"A run collapses if it diverges or ends below twice chance where no run of its base, the same binary method "
        f"without it, does; at least {MIN_SEEDS} runs a regularizer, alone and under the reference's budget. Supported: "
        "most runs of each collapse. Refuted: fewer than half of each."
    )
    chance = 2 / max(1, len(setting.any.spec.data.classes))
    shares, said = [], []
    rows = [r for r in setting.rows if not r.aside]
    bases = [r for r in rows if r.binary and not r.regularizers]
    for row in rows:
        if len(row.regularizers) != 1 or row.regularizers[0] not in LIPSCHITZ_REGULARIZERS:
            continue
        same = [b for b in bases if b.base == row.base]
        if not same or min(same[0].per_seed(CLEAN), default=0.0) < chance:
            continue
        collapsed = len([r for r in row.failed if r.failure and r.failure.reason == "diverged"])
        collapsed += sum(1 for v in row.per_seed(CLEAN) if v < chance)
        total = len(row.runs) + len(row.failed)
        said.append(f"{row.name}: {collapsed} of {total} runs collapsed")
        if total >= MIN_SEEDS:
            shares.append(collapsed / total)
    verdict: Verdict = "not enough data"
    if shares:
        verdict = "supported" if min(shares) > 0.5 else "refuted" if max(shares) < 0.5 else "not enough data"
    measured = "; ".join(said) or "no binary network with another Lipschitz regularizer was trained"
    return Judged(claim, verdict, measured, rule, setting.title)


def _fidelity(setting: Setting) -> Judged:
    claim = "The retention matrix tracks the spectral norm"
    rule = (
        "The rank correlation over layers of the retention matrix's top singular value with the layer's own norm, n of at "
        f"least {stats.LEAST}. Supported: its 95 % interval lies above {TRACKS:g}. Refuted: below {TRACKS:g}."
    )
    said, verdicts = [], []
    for row in setting.rows:
        proxy, norm = over_layers(row, "sigma_1", "upper")
        if len(proxy) < stats.LEAST:
            if proxy:
                said.append(f"{row.name}: {len(proxy)} layers")
            continue
        i = stats.correlation(proxy, norm)
        ends = "" if i.low is None or i.high is None else f" [{i.low:.2f}, {i.high:.2f}]"
        said.append(f"{row.name}: {i.value:.2f}{ends}, n={i.n}")
        usable = i.low is not None and i.high is not None
        above, below = usable and (i.low or 0) > TRACKS, usable and (i.high or 0) < TRACKS
        verdicts.append("supported" if above else "refuted" if below else "not enough data")
    agreed = verdicts[0] if verdicts and len(set(verdicts)) == 1 else "not enough data"
    verdict: Verdict = "supported" if agreed == "supported" else "refuted" if agreed == "refuted" else "not enough data"
    return Judged(claim, verdict, "; ".join(said) or "no run measured both", rule, setting.title)
