"""What a decision of the gate is made of: rules with their verdicts, and the comparisons behind each, as numbers.

What belongs here: their form, as sentences and as a table. The rules themselves are `gate`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assets.evaluation.paired import Paired


@dataclass(frozen=True)
class Figure:
    """One comparison behind a reason. Numbers are None where it was not measured; `asked` says what passes."""

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
        said = f"{self.metric} {'not measured' if self.candidate is None else f'{self.candidate:.4g}'}"
        if self.against:
            said += f" against {'' if self.reference is None else f'{self.reference:.4g} of '}{self.against}"
        if self.difference is not None:
            said += f": {self.difference:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"
        elif self.low is not None:
            said += f" [{self.low:.3g}, {self.high:.3g}]"
        said += f", n {self.n}" if self.n else ""
        said += f", finds {self.detectable:.2g}" if self.detectable is not None else ""
        return f"{said}, {self.note}" if self.note else said


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
    """A paired comparison as a figure; without one it has not passed, whatever `passed` says."""
    if pair is None:
        return Figure(metric, against, asked, False, note="not measured on the same items on both sides")
    numbers = (pair.candidate, pair.reference, pair.difference, *pair.interval, pair.n, pair.detectable)
    return Figure(metric, against, asked, passed, *numbers, note)


def reason(rule: str, figures: Sequence[Figure], otherwise: str) -> Reason:
    """A rule that passes when all its figures do; its detail names those that do not."""
    failed = [one.text for one in figures if not one.passed]
    return Reason(rule, not failed, "; ".join(failed) or otherwise, tuple(figures))


def as_rows(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    """Reasons as a table for people: a row a comparison, or one for a rule that has none."""
    rows = []
    for one in reasons:
        if not one.figures:
            rows.append(_row(one.rule, one.passed, why=one.detail))
        for figure in one.figures:
            difference = "" if figure.difference is None else f"{figure.difference:+.3g} "
            interval = "" if figure.low is None else f"[{figure.low:.3g}, {figure.high:.3g}]"
            rows.append(
                _row(
                    one.rule,
                    figure.passed,
                    f"{figure.metric} against {figure.against}" if figure.against else figure.metric,
                    _number(figure.candidate),
                    _number(figure.reference),
                    f"{difference}{interval}",
                    str(figure.n or ""),
                    _number(figure.detectable),
                    figure.asked,
                    figure.note,
                )
            )
    return rows


def _row(
    rule: str,
    passed: bool,
    compared: str = "",
    candidate: str = "",
    reference: str = "",
    difference: str = "",
    n: str = "",
    finds: str = "",
    asked: str = "",
    why: str = "",
) -> dict[str, str]:
    return {
        "rule": rule,
        "compared": compared,
        "candidate": candidate,
        "reference": reference,
        "difference [95 %]": difference,
        "n": n,
        "finds (80 %)": finds,
        "margin": asked,
        "verdict": "pass" if passed else "fail",
        "detail": why,
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
