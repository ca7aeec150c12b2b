"""Everything that stands against a clip, for whoever delivered it: every code, who said it, and what was found.

A contributor who is told one reason of three delivers the same footage again. All that is told here can be computed
again from what is stored: verdicts of checks, duplicates, reviews, and the decision on consent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from assets.consent.clip import Clip
from assets.consent.ledger import Ledger
from assets.consent.review_counting import APPEALED
from assets.home import Home
from training.consent.eligibility import decision_window, eligible
from training.consent.state import ConsentState


@dataclass(frozen=True)
class Objection:
    """One reason. `said_by` is a check, a comparison, the rules or `a reviewer`: those judged are not told who that was."""

    code: str
    said_by: str
    detail: str = ""


def objections_to(home: Home, clip: Clip, now: datetime, purpose: str = "train") -> list[Objection]:
    """All reasons against a clip, each code of each source once, in order of code."""
    objections = {*_of_checks(home, clip), *_of_duplicates(home, clip), *_of_reviewers(clip)}
    ledger = Ledger(home.database_url)
    at, until = decision_window(ledger.head(), now)
    decision = eligible(clip.facts, purpose, at, until, ConsentState.fold(ledger.events()))
    codes = {objection.code for objection in objections}
    objections |= {Objection(code, "the rules") for code in decision.reasons if code not in codes}
    return sorted(objections, key=lambda objection: (objection.code, objection.said_by, objection.detail))


def _of_checks(home: Home, clip: Clip) -> list[Objection]:
    rows = (row for row in home.lake.rows("verdicts") if _is_of(row, clip) and row["severity"] != "info")
    return [
        Objection(
            row["reason"] or f"quality.{row['check']}_{row['verdict']}", f"check {row['check']}", row["detail"] or ""
        )
        for row in rows
        if row["verdict"] not in ("pass", "not_measured")  # the latter is an error of ours: the rules say that it waits
    ]


def _of_duplicates(home: Home, clip: Clip) -> list[Objection]:
    rows = (row for row in home.lake.rows("duplicates") if _is_of(row, clip) and row["verdict"] != "pass")
    return [Objection(row["reason"] or "dup.unresolved", "comparison with other footage", row["kind"]) for row in rows]


def _of_reviewers(clip: Clip) -> list[Objection]:
    """Of every rejection that binds, or that was overruled on appeal and is told for that reason."""
    objections = []
    for review in clip.reviews:
        if clip.count.valid(review.id) and review.verdict == "reject":
            overruled = clip.count.why_not.get(review.id) == APPEALED
            objections += [
                Objection(code, "a reviewer", "overruled on appeal" if overruled else "") for code in review.reasons
            ]
    return objections


def _is_of(row: dict[str, object], clip: Clip) -> bool:
    return (row["clip_id"], row["item_id"], row["shot_index"]) == clip.key
