"""How many clips were in and out on each day, and how many will be in the coming months if nothing happens.

The past is recorded: one partition a UTC day, written whenever eligibility is decided on that day, never afterwards. The
future is computed, by asking the same rule about later dates; only clips whose consents begin or end need asking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from assets.consent.clip_facts import read_clips
from assets.consent.eligibility import ground
from assets.home import Home
from training.consent.eligibility import ClipFacts, eligible
from training.consent.state import ConsentState
from training.consent.times import HORIZON, shifted

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


def record(home: Home, rows: Iterable[Mapping[str, object]], purpose: str, now: datetime) -> None:
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
