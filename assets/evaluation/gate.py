"""The promotion gate: a pure function from what is known of two model versions to a decision with all its reasons.

The rules, their thresholds and margins are here. `promotion` gathers the facts and moves aliases, `decisions` keeps the
record. Hard rules (consent, copies, taint) bind everyone; the others are about quality:

    learned         on held-out clips, better beyond noise than each reference: the velocity that the clips' covariance
                    decides, an untrained network, the base model. None of them depends on the start of the run.
                    The base is met on these very clips (`_above_base`).
    obeys           on rendered trials, colour, direction and side reach a floor, and the base's obedience is kept
    reconstruction  the codec reaches a floor
    better          than the champion beyond noise, in held-out loss or in obedience, and worse in neither (two claims:
                    Holm's correction)
    no_regression   not worse than the champion by more than a margin, in every metric of MARGINS. All must hold, so this
                    needs no correction (an intersection-union test, Berger 1982).
    slices          no part of the held-out clips far worse

Everything is compared in pairs (`decisions.paired`): the same clips, times and noise, the same trials and seeds. What was not
measured on both sides is not passed. "Beyond noise" is a 95 % interval that excludes zero; "not worse" is one that stays
inside the margin.

Power, with 80 % of the cases found: 12 clips whose differences spread by 5 % of the loss find a loss that is 4.5 % lower.
Of 48 trials a model that is right in 90 % reaches a floor of 80 % in 98 % of the cases, one that is right in 95 % a
floor of 85 % in 99.7 %. On 96 trials, two models that are both right in 90 % of their answers, with independent errors,
are found equal within 10 points in 90 % of the cases, at 95 % in more than 99 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from assets.evaluation.decisions import LEVEL, Decision, Figure, Paired, Reason, figure, holm, paired, reason
from assets.model.published import PRIMARY
from training.evaluate.rows import wilson

# changes with every rule, threshold or margin, so that an older verdict is not taken for one of these
RULES = "paired/2"
BY_TIME = f"{PRIMARY}_by_time"  # the same loss as a mean over the clips, by time
OBEDIENCE = "obedience"  # the share of a trial's questions that are answered right, see `obedience`
LEAST_PSNR_DB = 22.0  # the codec reconstructs held-out clips better than this
FLOORS: Mapping[str, float] = {"trial_colour": 0.80, "trial_direction": 0.85, "trial_side": 0.80}
LEAST_TRIALS = 24  # of a question, below which its share says too little to be held to a floor
OBEDIENCE_KEPT = 0.10  # how much less of it than the base a model may have
SLICE_MARGIN = 0.10  # share by which a slice's loss may be above the champion's
ALPHA = (1 - LEVEL) / 2  # of a one-sided claim


@dataclass(frozen=True)
class Margin:
    """How much worse than the champion a candidate may be. `unit` "share" is of the champion's mean."""

    metric: str
    better: str
    amount: float
    unit: str

    def absolute(self, reference: float) -> float:
        return self.amount * abs(reference) if self.unit == "share" else self.amount


# A codec of the same data comes out up to 0.08 dB apart from night to night; 0.25 dB is below what the eye sees.
MARGINS = (
    Margin(PRIMARY, "lower", 0.05, "share"),
    Margin(OBEDIENCE, "higher", OBEDIENCE_KEPT, "points"),
    Margin("reconstruction_psnr", "higher", 0.25, "dB"),
    Margin("reconstruction_ssim", "higher", 0.01, "points"),
)
CLAIMS = (PRIMARY, OBEDIENCE)  # a candidate is better than the champion in one of these
REFERENCES = {"closed_form": "the closed form", "untrained": "an untrained network", "base": "the base model"}

Values = Mapping[str, Mapping[str, float]]  # by metric, or "metric@slice", and item: a clip, a trial, a scene


@dataclass(frozen=True)
class Contender:
    """What the gate knows of one version. None means unknown, and what is unknown does not pass."""

    version: str
    heldout: str | None  # digest of the held-out clips that the values were measured on
    latents: str | None = None  # digest of what encodes clips: losses in two latent spaces do not compare
    values: Values = field(default_factory=dict)
    base: str | None = None  # key of the base model of its size; None if the size has none
    base_apart: str = ""  # why the base's loss does not compare: another latent space
    pretrained: bool = False  # tuned from a pretrained base, which rendered trials say nothing about
    psnr_db: float | None = None  # of the codec on held-out clips
    copies: int | None = None  # samples that repeat a training clip
    taint: str | None = None  # the revocation that reached it
    consent: tuple[str, ...] = ()  # clips, with reasons, that the ledger's head no longer allows


def decide(candidate: Contender, champion: Contender | None) -> Decision:
    """Whether the candidate becomes champion. A champion that must not serve is not compared with."""
    reasons = hard_rules(candidate) + good_enough(candidate)
    rival = champion if champion is not None and may_serve(champion) else None
    if rival is not None:
        reasons += against_champion(candidate, rival)
    elif champion is not None:
        reasons.append(Reason("champion", True, f"version {champion.version} must not serve any more"))
    else:
        reasons.append(Reason("champion", True, "there is none yet"))
    return Decision(candidate.version, rival.version if rival else None, all(r.passed for r in reasons), tuple(reasons))


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
    """What a model must reach by itself before it serves."""
    psnr = contender.psnr_db
    detail = "not measured" if psnr is None else f"{psnr:.1f} dB on held-out clips, above {LEAST_PSNR_DB:g} is asked"
    return [
        learned(contender),
        obeys(contender),
        Reason("reconstruction", psnr is not None and psnr > LEAST_PSNR_DB, detail),
    ]


def learned(contender: Contender) -> Reason:
    """Better than each reference on the same held-out clips, beyond noise."""
    ours, figures = contender.values.get(PRIMARY, {}), []
    for name, words in REFERENCES.items():
        if name == "base" and (contender.base is None or contender.base_apart):
            why = contender.base_apart or "this size has no base model"
            figures.append(Figure(PRIMARY, words, "nothing", True, note=why))
            continue
        theirs = contender.values.get(f"{PRIMARY}@{name}", {})
        pair = paired(ours, theirs)
        if name == "base":
            figures += _above_base(contender, words, pair)
            continue
        figures.append(figure(PRIMARY, words, pair, pair is not None and pair.interval[1] < 0, "lower beyond noise"))
    return reason("learned", figures, "better than every reference")


def _above_base(contender: Contender, words: str, pair: Paired | None) -> list[Figure]:
    """Better than the base in total, and not far worse on a typical clip.

    Where most held-out clips are rendered scenes, which the base was trained on, what a night learns is in the few that
    are not, and no test over clips could find it. So the clips are taken as they are, and what is noise is the noise that
    they were measured with, which is drawn anew at each of the eight times. The typical clip keeps a model from passing
    that gained on one clip and lost on the others.
    """
    ours, theirs = (contender.values.get(name, {}) for name in (BY_TIME, f"{BY_TIME}@base"))
    by_time = paired(ours, theirs)
    better = by_time is not None and by_time.interval[1] < 0
    total = figure(BY_TIME, words, by_time, better, "lower beyond the noise of measuring")
    if pair is None:
        return [total, figure(PRIMARY, words, pair, False, "measured")]
    clips = contender.values[PRIMARY], contender.values[f"{PRIMARY}@base"]
    typical = median(clips[0][item] / clips[1][item] for item in clips[0])
    asked = f"at most {1 + SLICE_MARGIN:.2f} of the base model's on a typical clip"
    note = f"{typical:.3f} of it on a typical clip"
    return [total, figure(PRIMARY, words, pair, typical <= 1 + SLICE_MARGIN, asked, note)]


def obeys(contender: Contender) -> Reason:
    """Rendered trials: what the base model of the size can do, this model must be able to do."""
    values, figures = contender.values, []
    if contender.pretrained:
        return Reason("obeys", True, "not measured: rendered trials do not apply to a model of a pretrained base")
    for metric, floor in FLOORS.items():
        verdicts, base = values.get(metric, {}), values.get(f"{metric}@base", {})
        required, note = contender.base is not None, "" if contender.base else "this size has no base model"
        if required and base and _mean(base) < floor:
            required, note = False, f"the base model itself reaches {_mean(base):.2f}"
        share = _mean(verdicts) if verdicts else None
        enough = share is not None and (not required or (len(verdicts) >= LEAST_TRIALS and share >= floor))
        low, high = wilson(sum(map(round, verdicts.values())), len(verdicts)) if verdicts else (None, None)
        asked = f"at least {floor:g} of {LEAST_TRIALS} or more" if required else "a measurement"
        figures.append(Figure(metric, "", asked, enough, share, low=low, high=high, n=len(verdicts), note=note))
    if contender.base is not None:
        pair = paired(obedience(values), obedience(values, "@base"))
        kept = pair is not None and pair.interval[0] > -OBEDIENCE_KEPT
        asked = f"above {-OBEDIENCE_KEPT:g} with its interval"
        figures.append(figure(OBEDIENCE, REFERENCES["base"], pair, kept, asked))
    return reason("obeys", figures, ", ".join(comparison.finding for comparison in figures))


def obedience(values: Values, suffix: str = "") -> dict[str, float]:
    """By trial, the share of its questions (of FLOORS) that are answered right. Empty unless each question was asked."""
    asked = [values.get(f"{metric}{suffix}", {}) for metric in FLOORS]
    if not all(asked):
        return {}
    trials = sorted(set().union(*asked))
    answers = {trial: [verdicts[trial] for verdicts in asked if trial in verdicts] for trial in trials}
    return {trial: sum(right) / len(right) for trial, right in answers.items()}


def against_champion(candidate: Contender, champion: Contender) -> list[Reason]:
    """Better than the champion in one claim beyond noise, worse by more than a margin in nothing."""
    if candidate.heldout is None or candidate.heldout != champion.heldout:
        return [Reason("comparable", False, "not measured on the same held-out clips as the champion")]
    if candidate.latents is None or candidate.latents != champion.latents:
        return [Reason("comparable", False, "its codec encodes otherwise than the champion's: losses do not compare")]
    if candidate.pretrained != champion.pretrained:
        return [Reason("comparable", False, "only one of the two was tuned from a pretrained base")]
    asked = [m.metric for m in MARGINS if not (candidate.pretrained and m.metric == OBEDIENCE)]
    pairs = {metric: _compare(candidate, champion, metric) for metric in asked}
    return [
        Reason("comparable", True, "measured on the same held-out clips, in the same latent space"),
        _better(pairs),
        _no_regression(pairs),
        _slices(candidate, champion),
    ]


def _compare(candidate: Contender, champion: Contender, metric: str) -> Paired | None:
    if metric == OBEDIENCE:
        return paired(obedience(candidate.values), obedience(champion.values))
    return paired(candidate.values.get(metric, {}), champion.values.get(metric, {}))


def _better(pairs: Mapping[str, Paired | None]) -> Reason:
    """Won in one claim and lost in none, both beyond noise: else two models could replace each other in turn."""
    direction = {margin.metric: margin.better for margin in MARGINS}
    opposite = {"higher": "lower", "lower": "higher"}
    adjusted = holm({m: pair.p_value(direction[m]) for m in CLAIMS if (pair := pairs.get(m)) is not None})
    figures = []
    for m in filter(pairs.__contains__, CLAIMS):
        note = f"p {adjusted[m]:.2g} (Holm)" if m in adjusted else ""
        better = adjusted.get(m, 1.0) <= ALPHA
        figures.append(figure(m, "the champion", pairs[m], better, "better beyond noise", note))
    won = [comparison for comparison in figures if comparison.passed]
    lost = [m for m in CLAIMS if (pair := pairs.get(m)) is not None and pair.p_value(opposite[direction[m]]) <= ALPHA]
    findings = "; ".join(comparison.finding for comparison in figures)
    if won and not lost:
        return Reason("better", True, "; ".join(comparison.finding for comparison in won), tuple(figures))
    why = f"worse beyond noise in {lost[0]}" if lost else "no improvement beyond noise"
    return Reason("better", False, f"{why}: {findings}", tuple(figures))


def _no_regression(pairs: Mapping[str, Paired | None]) -> Reason:
    figures = []
    for margin in (margin for margin in MARGINS if margin.metric in pairs):
        pair, sign = pairs[margin.metric], 1 if margin.better == "higher" else -1
        kept, amount = False, f"{margin.amount:.0%}" if margin.unit == "share" else f"{margin.amount:g} {margin.unit}"
        if pair is not None:
            worst = min(sign * end for end in pair.interval)
            kept = worst > -margin.absolute(pair.reference)
        figures.append(figure(margin.metric, "the champion", pair, kept, f"not worse by {amount} with its interval"))
    return reason("no_regression", figures, "within its margin in every metric")


def _slices(candidate: Contender, champion: Contender) -> Reason:
    """A slice fails if its loss is above the margin and the rise is beyond noise; a few clips alone refuse nothing."""
    keys = sorted(key for key in candidate.values if key.startswith(f"{PRIMARY}@") and "=" in key)
    pairs = {key: pair for key in keys if (pair := _compare(candidate, champion, key)) is not None}
    adjusted = holm({key: pair.p_value("higher") for key, pair in pairs.items()})  # that the loss is higher
    figures = [
        figure(
            key,
            "the champion",
            pair,
            pair.difference <= SLICE_MARGIN * abs(pair.reference) or adjusted[key] > ALPHA,
            f"not higher by {SLICE_MARGIN:.0%} and beyond noise",
        )
        for key, pair in pairs.items()
    ]
    return reason("slices", figures, "no slice is worse than allowed")


def _mean(verdicts: Mapping[str, float]) -> float:
    return math.fsum(verdicts.values()) / len(verdicts)
