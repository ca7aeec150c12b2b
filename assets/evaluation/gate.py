"""The promotion gate: a pure function from what is known of two model versions to a decision with all its reasons.

What belongs here: the rules and their thresholds. What does not: gathering the facts and moving aliases (`promotion`).
Hard rules (consent, copies, taint) bind everyone, an engineer at the console included; the rest is about quality.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PRIMARY = "heldout_flow_loss"
COPIES = "memorised_clips"
OVERALL = "all"
LEAST_IMPROVEMENT = 0.5  # a first champion's flow loss is at most this share of its start
LEAST_PSNR_DB = 22.0  # and its autoencoder reconstructs held-out clips better than this
SLICE_TOLERANCE = 0.10  # share by which a slice's primary metric may be worse, beyond noise, than the champion's

Key = tuple[str, str]  # metric, slice


@dataclass(frozen=True)
class Score:
    """A measured number with its 95 % interval. `better` is higher, lower or none (not compared)."""

    value: float
    low: float
    high: float
    better: str

    def beats(self, other: Score) -> bool:
        """Better beyond noise: the intervals do not touch."""
        return self.low > other.high if self.better == "higher" else self.high < other.low

    def relative_loss(self, other: Score) -> float:
        """By which share of the other's value this one is worse; negative where it is better."""
        loss = other.value - self.value if self.better == "higher" else self.value - other.value
        return loss / abs(other.value) if other.value else loss


@dataclass(frozen=True)
class Contender:
    """What the gate knows of one version. None means not measured, and what is not measured is not passed."""

    version: str
    heldout: str | None  # digest of the held-out clips that the scores were measured on
    scores: Mapping[Key, Score] = field(default_factory=dict)
    improvement: float | None = None  # held-out flow loss at the end over that at the start
    psnr_db: float | None = None  # of the autoencoder on held-out clips
    copies: int | None = None  # samples that repeat a training clip
    taint: str | None = None  # the revocation that reached it
    consent: tuple[str, ...] = ()  # clips, with reasons, that the ledger's head no longer allows


@dataclass(frozen=True)
class Reason:
    rule: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Decision:
    """`promote` is true only when every reason passed."""

    version: str
    against: str | None
    promote: bool
    reasons: tuple[Reason, ...]

    @property
    def summary(self) -> str:
        """One line for a tag: what spoke against, or that nothing did."""
        failed = [f"{reason.rule}: {reason.detail}" for reason in self.reasons if not reason.passed]
        return "; ".join(failed) or "every rule passed"


def hard_rules(contender: Contender) -> list[Reason]:
    """What no version may break that serves anybody."""
    consent, copies = contender.consent, contender.copies
    shown = ", ".join(consent[:3]) + (f" and {len(consent) - 3} more" if len(consent) > 3 else "")
    return [
        Reason(
            "consent", not consent, f"no longer allowed: {shown}" if consent else "valid for every clip at the head"
        ),
        Reason("taint", not contender.taint, contender.taint or "no revocation reaches it"),
        Reason("copies", copies == 0, "not measured" if copies is None else f"{copies} samples repeat a training clip"),
    ]


def may_serve(contender: Contender) -> bool:
    return all(reason.passed for reason in hard_rules(contender))


def good_enough(contender: Contender) -> list[Reason]:
    """What a model must reach by itself before it serves: it learned, and its autoencoder reconstructs."""
    improvement, psnr = contender.improvement, contender.psnr_db
    return [
        Reason(
            "learned",
            improvement is not None and improvement <= LEAST_IMPROVEMENT,
            "flow loss at start or end not measured"
            if improvement is None
            else f"flow loss fell to {improvement:.0%} of its start, at most {LEAST_IMPROVEMENT:.0%} is asked",
        ),
        Reason(
            "reconstruction",
            psnr is not None and psnr > LEAST_PSNR_DB,
            "not measured" if psnr is None else f"{psnr:.1f} dB on held-out clips, above {LEAST_PSNR_DB:g} is asked",
        ),
    ]


def against_champion(candidate: Contender, champion: Contender) -> list[Reason]:
    """Better than the champion beyond noise on the primary metric, worse beyond noise on none, no slice far worse."""
    if candidate.heldout is None or candidate.heldout != champion.heldout:
        return [Reason("comparable", False, "not measured on the same held-out clips as the champion")]
    reasons = [Reason("comparable", True, "measured on the same held-out clips")]
    ours, theirs = candidate.scores.get((PRIMARY, OVERALL)), champion.scores.get((PRIMARY, OVERALL))
    if ours is None or theirs is None:
        reasons.append(Reason("better", False, f"{PRIMARY} was not measured for both"))
    else:
        detail = f"{PRIMARY} {ours.value:.4g} [{ours.low:.4g}, {ours.high:.4g}] against " + (
            f"{theirs.value:.4g} [{theirs.low:.4g}, {theirs.high:.4g}]"
        )
        reasons.append(Reason("better", ours.beats(theirs), detail))
    worse = [
        f"{metric} {mine.value:.4g} against {other.value:.4g}"
        for (metric, part), mine, other in _shared(candidate, champion)
        if part == OVERALL and other.beats(mine)
    ]
    reasons.append(Reason("no_regression", not worse, ", ".join(worse) or "no metric is worse beyond noise"))
    slices = [
        f"{part} {mine.value:.4g} against {other.value:.4g}"
        for (metric, part), mine, other in _shared(candidate, champion)
        if metric == PRIMARY and part != OVERALL and other.beats(mine) and mine.relative_loss(other) > SLICE_TOLERANCE
    ]
    reasons.append(Reason("slices", not slices, ", ".join(slices) or "no slice is worse than allowed"))
    return reasons


def _shared(candidate: Contender, champion: Contender) -> list[tuple[Key, Score, Score]]:
    """Metrics that both have and that have a direction, in order."""
    keys = sorted(candidate.scores.keys() & champion.scores.keys())
    pairs = [(key, candidate.scores[key], champion.scores[key]) for key in keys]
    return [(key, mine, other) for key, mine, other in pairs if mine.better in {"higher", "lower"}]


def decide(candidate: Contender, champion: Contender | None) -> Decision:
    """Whether the candidate becomes champion. A champion that must not serve is no champion to be compared with."""
    reasons = hard_rules(candidate) + good_enough(candidate)
    rival = champion if champion is not None and may_serve(champion) else None
    if rival is not None:
        reasons += against_champion(candidate, rival)
    elif champion is not None:
        reasons.append(Reason("champion", True, f"version {champion.version} must not serve any more"))
    else:
        reasons.append(Reason("champion", True, "there is none yet"))
    return Decision(candidate.version, rival.version if rival else None, all(r.passed for r in reasons), tuple(reasons))


def scores(rows: Iterable[Mapping[str, Any]]) -> dict[Key, Score]:
    """The measured rows of a scorecard; a row without an interval is better or worse than nothing beyond noise."""
    found: dict[Key, Score] = {}
    for row in rows:
        if row["state"] == "measured" and (value := row["value"]) is not None:
            low, high = row["ci_low"], row["ci_high"]
            if low is None or high is None:
                low, high = -math.inf, math.inf
            found[row["metric"], row["slice"]] = Score(value, low, high, row["better"])
    return found


def as_rows(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    """Reasons as a table for people."""
    return [
        {"rule": reason.rule, "verdict": "pass" if reason.passed else "fail", "detail": reason.detail}
        for reason in reasons
    ]
