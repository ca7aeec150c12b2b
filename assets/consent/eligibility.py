"""Every clip's decision for a purpose: the eligibility table, proof that the default is no, all reasons against a clip, and how
many clips were and will be eligible.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from assets.consent.clips import Clip, clip_facts, read_clips
from assets.consent.ledger import Ledger
from assets.consent.review_counting import APPEALED
from assets.home import Home
from assets.lake import Written, clip_key
from assets.reasons import in_words
from training.consent.canonical import sha256_hex
from training.consent.eligibility import (
    PURPOSE,
    ClipFacts,
    Decision,
    decision_digest,
    decision_window,
    eligible,
)
from training.consent.state import ConsentState
from training.consent.times import HORIZON, shifted


def ground(home: Home, now: datetime) -> tuple[ConsentState, datetime, datetime]:
    """What decisions rest on: the ledger folded up to its head, and the window that the head and `now` give."""
    ledger = Ledger(home.database_url)
    head = ledger.head()
    return ConsentState.fold(ledger.events(upto=head.size)), *decision_window(head, now)


def decide(home: Home, purpose: str, now: datetime) -> list[tuple[ClipFacts, Decision]]:
    """Every clip's decision for a purpose, over the window that `now` and the ledger's head give."""
    state, at, until = ground(home, now)
    return [(clip.facts, eligible(clip.facts, purpose, at, until, state)) for clip in read_clips(home, state)]


def eligible_digest(home: Home, now: datetime, purpose: str = "train") -> str:
    """Digest of what may be used as of `now`: it changes when a consent lapses, with no event."""
    return sha256_hex(
        [
            [facts.clip_id, facts.item_id, facts.shot_index, list(decision.consent_ids)]
            for facts, decision in decide(home, purpose, now)
            if decision.eligible
        ]
    )


def write(home: Home, now: datetime) -> Written:
    """Decide every clip and replace table `eligibility`. No time enters a row."""
    return home.lake.write(
        "eligibility",
        [
            {
                "clip_id": facts.clip_id,
                "item_id": facts.item_id,
                "shot_index": facts.shot_index,
                "purpose": PURPOSE,
                "eligible": decision.eligible,
                "reasons": list(decision.reasons),
                "consent_ids": list(decision.consent_ids),
                "decision_digest": decision_digest(facts, PURPOSE, decision.consent_ids),
            }
            for facts, decision in decide(home, PURPOSE, now)
        ],
    )


def reason_table(rows: Sequence[Mapping[str, Any]], examples: int = 3) -> list[dict[str, Any]]:
    """How many clips each reason keeps out, most first: {reason, clips, share, says, examples}. One clip counts under all
    its reasons."""
    kept_out: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for reason in row["reasons"]:
            kept_out[reason].append(row["clip_id"][:12])
    return [
        {
            "reason": reason,
            "clips": len(clips),
            "share": f"{len(clips) / len(rows):.1%}",
            "says": in_words(reason),
            "examples": ", ".join(clips[:examples]),
        }
        for reason, clips in sorted(kept_out.items(), key=lambda counted: (-len(counted[1]), counted[0]))
    ]


def default_deny_problems(home: Home, now: datetime) -> list[str]:
    """Where the table says yes without ground, in sentences; empty when default deny holds."""
    rows = home.lake.rows("eligibility")
    decided = {clip_key(row) for row in rows}
    facts = clip_facts(home)
    in_lake = {(clip.clip_id, clip.item_id, clip.shot_index) for clip in facts}
    problems = [f"clip {key[0][:16]} has no decision" for key in sorted(in_lake - decided)]
    problems += [f"clip {key[0][:16]} is decided but not known" for key in sorted(decided - in_lake)]
    for row in rows:
        if row["eligible"] and (row["reasons"] or not row["consent_ids"]):
            problems.append(f"clip {row['clip_id'][:16]} is eligible without consent or in spite of reasons")
        if not row["eligible"] and not row["reasons"]:
            problems.append(f"clip {row['clip_id'][:16]} is kept out without a reason")
    nobody = ConsentState()
    problems += [
        f"clip {clip.clip_id[:16]} would be eligible with no consent at all"
        for clip in facts
        if eligible(clip, PURPOSE, now, now, nobody).eligible
    ]
    return problems


# -- all reasons, for the contributor ----------------------------------------------------------------------------------
# A contributor who learns one reason of three delivers the same footage again.


@dataclass(frozen=True)
class Objection:
    """One reason. `said_by` is a check, a comparison, the rules or `a reviewer`; which reviewer is not disclosed."""

    code: str
    said_by: str
    detail: str = ""


def objections_to(home: Home, clip: Clip, now: datetime, purpose: str = "train") -> list[Objection]:
    """All reasons against a clip, each code of each source once, in order of code."""
    objections = {*_of_checks(home, clip), *_of_duplicates(home, clip), *_of_reviewers(clip)}
    state, at, until = ground(home, now)
    decision = eligible(clip.facts, purpose, at, until, state)
    codes = {objection.code for objection in objections}
    objections |= {Objection(code, "the rules") for code in decision.reasons if code not in codes}
    return sorted(objections, key=lambda objection: (objection.code, objection.said_by, objection.detail))


def _of_checks(home: Home, clip: Clip) -> list[Objection]:
    rows = (row for row in home.lake.rows("verdicts") if clip_key(row) == clip.key and row["severity"] != "info")
    return [
        Objection(
            row["reason"] or f"quality.{row['check']}_{row['verdict']}", f"check {row['check']}", row["detail"] or ""
        )
        for row in rows
        if row["verdict"] not in ("pass", "not_measured")  # the latter is an error of ours: the rules say that it waits
    ]


def _of_duplicates(home: Home, clip: Clip) -> list[Objection]:
    rows = (row for row in home.lake.rows("duplicates") if clip_key(row) == clip.key and row["verdict"] != "pass")
    return [Objection(row["reason"] or "dup.unresolved", "comparison with other footage", row["kind"]) for row in rows]


def _of_reviewers(clip: Clip) -> list[Objection]:
    """Reasons of every rejection that counts, and of those that were overruled on appeal."""
    objections = []
    for review in clip.reviews:
        if clip.count.valid(review.id) and review.verdict == "reject":
            overruled = clip.count.why_not.get(review.id) == APPEALED
            objections += [
                Objection(code, "a reviewer", "overruled on appeal" if overruled else "") for code in review.reasons
            ]
    return objections


# -- over time ---------------------------------------------------------------------------------------------------------
# The past is recorded: one partition a UTC day, written whenever eligibility is decided on that day, never afterwards. The
# future is computed by asking the same rule about later dates; only clips whose consents begin or end need asking.

ELIGIBLE, NOT_ELIGIBLE = "eligible", "not_eligible"
AHEAD, STEP = timedelta(weeks=26), timedelta(weeks=1)


@dataclass(frozen=True)
class Outlook:
    """Clips by reason (`eligible` among them) on days: as recorded up to today, and as computed from today on."""

    past: dict[date, dict[str, int]]
    future: dict[date, dict[str, int]]


def counts(decisions: Iterable[tuple[bool, Iterable[str]]]) -> dict[str, int]:
    """How many clips are in, out, and out for each reason, from (eligible, reasons) of each; one counts under all its
    reasons."""
    counter = Counter({ELIGIBLE: 0, NOT_ELIGIBLE: 0})
    for yes, reasons in decisions:
        counter.update([ELIGIBLE] if yes else [NOT_ELIGIBLE, *reasons])
    return dict(counter)


def record_counts(home: Home, rows: Iterable[Mapping[str, object]], purpose: str, now: datetime) -> None:
    """Keep the counts of table `eligibility` as those of today; what other days recorded stays."""
    day = now.astimezone(UTC).date().isoformat()
    counted = counts((bool(row["eligible"]), row["reasons"]) for row in rows)  # type: ignore[misc]
    keys = [{"day": day, "purpose": purpose, "reason": reason, "clips": clips} for reason, clips in counted.items()]
    others = [row for row in home.lake.rows("eligibility_history", day) if row["purpose"] != purpose]
    home.lake.write("eligibility_history", [*others, *keys], day)


def outlook(home: Home, purpose: str, now: datetime) -> Outlook:
    """What was recorded for a purpose, and what the rule says of the coming weeks on today's ledger."""
    past: dict[date, dict[str, int]] = {}
    for row in home.lake.rows("eligibility_history"):
        if row["purpose"] == purpose:
            past.setdefault(date.fromisoformat(row["day"]), {})[row["reason"]] = row["clips"]
    state, at, _ = ground(home, now)
    facts = [clip.facts for clip in read_clips(home, state)]
    return Outlook(dict(sorted(past.items())), project(facts, state, purpose, at))


def project(facts: Iterable[ClipFacts], state: ConsentState, purpose: str, at: datetime) -> dict[date, dict[str, int]]:
    """Counts by day, a week apart, for half a year from `at` on, each decided over the training horizon from that day."""
    days = [shifted(at, STEP * week) for week in range(AHEAD // STEP + 1)]
    lasting: list[ClipFacts] = []
    moving: list[ClipFacts] = []
    for clip in facts:
        (moving if changes_after(clip, state, at) else lasting).append(clip)

    def counts_on(clips: Iterable[ClipFacts], day: datetime) -> dict[str, int]:
        decisions = (eligible(clip, purpose, day, shifted(day, HORIZON), state) for clip in clips)
        return counts((decision.eligible, decision.reasons) for decision in decisions)

    always = Counter(counts_on(lasting, at))
    by_day: dict[date, dict[str, int]] = {}
    for day in days:
        count = always.copy()
        count.update(counts_on(moving, day))  # not `+`, which drops what is zero
        by_day[day.date()] = dict(count)
    return by_day


def changes_after(clip: ClipFacts, state: ConsentState, at: datetime) -> bool:
    """Whether any consent that speaks of this clip begins or ends after `at` by itself, with no further event."""
    for party in clip.parties:
        for consent in state.consents(party, clip.assets):
            moments = [moment for terms in consent.terms for moment in (terms.acts_from, terms.ends_at) if moment]
            if consent.revoked_from is not None:
                moments.append(consent.revoked_from)
            if any(moment > at for moment in moments):
                return True
    return False


def turning_points(future: Mapping[date, Mapping[str, int]]) -> list[dict[str, object]]:
    """Days from which fewer or more clips are eligible than before: {from, eligible, change}."""
    turns: list[dict[str, object]] = []
    before: int | None = None
    for day, counted in future.items():
        now = counted[ELIGIBLE]
        if before is not None and now != before:
            turns.append({"from": day.isoformat(), "eligible": now, "change": f"{now - before:+d}"})
        before = now
    return turns
