"""Decisions of the gate: the paired comparisons behind them, rules with their verdicts, and the record of them all.

Two models that are measured on the same clip with the same noise share most of what makes the clip easy or hard. The
difference clip by clip drops that share, so a few clips are enough where two separate intervals would need hundreds.
Intervals and p-values are Student's t on the differences. The rules themselves are in `gate`.

A version's tags show its last verdict; `gate/<model key>/<time>-<rival>.json` in the store has all of them, written once
each, with the figures, the rival and the ledger that each was reached on, so a later comparison overwrites nothing.

Reference: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from assets.home import Home

LEVEL = 0.95  # of every interval; a one-sided claim is therefore made at 2.5 %
POWER = 0.80
LEAST_PAIRS = 5  # with fewer, even a win on every item happens by chance in more than 5 % of cases (sign test)


@dataclass(frozen=True)
class Paired:
    """Candidate against reference on `n` items. `difference` is candidate minus reference, `sd` that of one item."""

    n: int
    candidate: float
    reference: float
    difference: float
    sd: float

    @property
    def error(self) -> float:
        """Standard error of the mean difference."""
        return self.sd / math.sqrt(self.n)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean difference."""
        width = self._quantile(0.5 + LEVEL / 2) * self.error
        return self.difference - width, self.difference + width

    @property
    def detectable(self) -> float:
        """The smallest true difference that an interval from items like these excludes zero for with 80 % power."""
        return (self._quantile(0.5 + LEVEL / 2) + self._quantile(POWER)) * self.error

    def p_value(self, better: str) -> float:
        """One-sided, against the hypothesis that the candidate is not better. `better` is higher or lower."""
        gain = self.difference if better == "higher" else -self.difference
        if self.error == 0:
            return 0.0 if gain > 0 else 1.0
        from scipy.special import stdtr  # takes a fifth of a second, which loading the assets need not pay

        return float(1 - stdtr(self.n - 1, gain / self.error))

    def _quantile(self, share: float) -> float:
        from scipy.special import stdtrit

        return float(stdtrit(self.n - 1, share))


def paired(candidate: Mapping[str, float], reference: Mapping[str, float]) -> Paired | None:
    """The comparison; None unless both have the same items, enough of them, and only finite numbers."""
    if candidate.keys() != reference.keys() or len(candidate) < LEAST_PAIRS:
        return None
    items = sorted(candidate)
    ours, theirs = [candidate[item] for item in items], [reference[item] for item in items]
    if not all(map(math.isfinite, ours + theirs)):
        return None
    n = len(items)
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = math.fsum(differences) / n
    variance = math.fsum((value - mean) ** 2 for value in differences) / (n - 1)
    sd = math.sqrt(variance) if variance > (1e-12 * max(map(abs, ours + theirs))) ** 2 else 0.0  # rounding is no spread
    return Paired(n, math.fsum(ours) / n, math.fsum(theirs) / n, mean, sd)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: a claim with one of at most a holds, whatever the others, with a family-wise error of a."""
    adjusted, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: (pair[1], pair[0]))):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        adjusted[name] = largest
    return adjusted


NO_RIVAL = "none"
COLUMNS = (
    *("rule", "compared", "candidate", "reference", "difference [95 %]", "n", "finds (80 %)", "margin", "verdict"),
    "detail",
)


@dataclass(frozen=True)
class Figure:
    """One comparison behind a reason. Numbers are None if it was not measured; `asked` says what passes."""

    metric: str
    against: str
    asked: str
    passed: bool
    candidate: float | None = None
    reference: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    detectable: float | None = None  # the smallest difference that is found with 80 % power
    note: str = ""

    @property
    def text(self) -> str:
        """The comparison with what was asked, for people."""
        return f"{self.finding}, asked: {self.asked}"

    @property
    def finding(self) -> str:
        """The comparison alone."""
        text = f"{self.metric} {'not measured' if self.candidate is None else f'{self.candidate:.4g}'}"
        if self.against:
            text += f" against {'' if self.reference is None else f'{self.reference:.4g} of '}{self.against}"
        if self.difference is not None:
            text += f": {self.difference:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"
        elif self.low is not None:
            text += f" [{self.low:.3g}, {self.high:.3g}]"
        text += f", n {self.n}" if self.n else ""
        text += f", finds {self.detectable:.2g}" if self.detectable is not None else ""
        return f"{text}, {self.note}" if self.note else text


@dataclass(frozen=True)
class Reason:
    rule: str
    passed: bool
    detail: str
    figures: tuple[Figure, ...] = ()


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


def figure(metric: str, against: str, pair: Paired | None, passed: bool, asked: str, note: str = "") -> Figure:
    """A paired comparison as a figure. Without a pair it has not passed, whatever `passed` says."""
    if pair is None:
        return Figure(metric, against, asked, False, note="not measured on the same items on both sides")
    numbers = (pair.candidate, pair.reference, pair.difference, *pair.interval, pair.n, pair.detectable)
    return Figure(metric, against, asked, passed, *numbers, note)


def reason(rule: str, figures: Sequence[Figure], otherwise: str) -> Reason:
    """A rule that passes when all its figures do; its detail names those that do not."""
    failed = [figure.text for figure in figures if not figure.passed]
    return Reason(rule, not failed, "; ".join(failed) or otherwise, tuple(figures))


def as_rows(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    """Reasons as a table for people: a row a comparison, or one for a rule that has none."""
    rows = []
    for reason in reasons:
        if not reason.figures:
            rows.append(dict.fromkeys(COLUMNS, "") | _verdict(reason.rule, reason.passed, reason.detail))
        rows += [_row(reason.rule, figure) for figure in reason.figures]
    return rows


def _row(rule: str, figure: Figure) -> dict[str, str]:
    difference = "" if figure.difference is None else f"{figure.difference:+.3g} "
    interval = "" if figure.low is None else f"[{figure.low:.3g}, {figure.high:.3g}]"
    compared = f"{figure.metric} against {figure.against}" if figure.against else figure.metric
    numbers = (_number(figure.candidate), _number(figure.reference), f"{difference}{interval}", str(figure.n or ""))
    cells = ("", compared, *numbers, _number(figure.detectable), figure.asked, "", "")
    return dict(zip(COLUMNS, cells, strict=True)) | _verdict(rule, figure.passed, figure.note)


def _verdict(rule: str, passed: bool, detail: str) -> dict[str, str]:
    return {"rule": rule, "verdict": "pass" if passed else "fail", "detail": detail}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


@dataclass(frozen=True)
class Case:
    """What a verdict is about. The same case has the same verdict."""

    model_key: str
    rival: str  # model key of the champion, or NO_RIVAL
    ledger: str  # its head, as size:root
    facts: str  # digest of the gate's rules and of all that it was given


@dataclass(frozen=True)
class Verdict:
    """A recorded decision. `key` is where."""

    key: str
    at: str
    case: Case
    decision: Decision


def verdicts(home: Home, model_key: str) -> list[Verdict]:
    """All verdicts about a model, oldest first."""
    return [_read(key, json.loads(home.store.get(key))) for key in home.store.list(f"gate/{model_key}/")]


def find(home: Home, case: Case) -> Verdict | None:
    """The verdict on this case, if there is one."""
    return next((verdict for verdict in verdicts(home, case.model_key) if verdict.case == case), None)


def record(home: Home, case: Case, decision: Decision) -> Verdict:
    """Add a verdict to the history."""
    now = datetime.now(UTC)
    key = f"gate/{case.model_key}/{now:%Y%m%dT%H%M%S.%fZ}-{case.rival}.json"
    if home.store.exists(key):
        raise FileExistsError(f"{key} is there already: a verdict is never overwritten, decide again")
    at = now.isoformat(timespec="seconds")
    body = {"at": at, "case": asdict(case), "decision": asdict(decision), "summary": decision.summary}
    home.store.put(key, json.dumps(body, indent=1, sort_keys=True).encode())
    return Verdict(key, at, case, decision)


def ever_passed(home: Home, model_key: str) -> bool:
    return any(verdict.decision.promote for verdict in verdicts(home, model_key))


def _read(key: str, body: dict[str, Any]) -> Verdict:
    recorded = body["decision"]
    reasons = tuple(
        Reason(r["rule"], r["passed"], r["detail"], tuple(Figure(**figure) for figure in r["figures"]))
        for r in recorded["reasons"]
    )
    decision = Decision(recorded["version"], recorded["against"], recorded["promote"], reasons)
    return Verdict(key, body["at"], Case(**body["case"]), decision)
