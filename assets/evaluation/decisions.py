"""Decisions of the gate: rules with their verdicts, the comparisons behind each as numbers, and the record of them all.

The rules themselves are in `gate`. A version's tags show its last verdict; `gate/<model key>/<time>-<rival>.json` in the
store has all of them, written once each, with the figures, the rival and the ledger that each was reached on, so a later
comparison overwrites nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from assets.evaluation.paired import Paired
from assets.home import Home

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
