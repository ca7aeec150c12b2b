"""How far a withdrawal reaches: from what the ledger says to sealed clips, to snapshots, to every model downstream.

Pure: takes what is known and returns what is reached. Acting on it is `desk`'s business, finding the few members
that an event can have touched is `graph`'s. A clip is reached when its consent did not hold without a gap from its
first sealing until now; one that was consented to again later stays reached, because it was in use in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from assets.consent.sealed_member_rows import Member, Sealing
from training.consent.eligibility import ClipFacts, ConsentState, eligible
from training.consent.event_schema import DISPUTE_TYPES
from training.consent.events import Event
from training.consent.state import Use
from training.consent.times import time_text

Pair = tuple[str, str]  # snapshot root, clip_id
Reached = Mapping[str, Mapping[str, tuple[str, ...]]]  # snapshot root -> clip_id -> reasons


@dataclass(frozen=True)
class Model:
    """A trained model: its snapshot, the model whose weights it started from, every snapshot its weights ever saw."""

    key: str
    snapshot_root: str
    parent: str | None = None
    exposure: Collection[str] = ()

    @property
    def roots(self) -> frozenset[str]:
        return frozenset({self.snapshot_root, *self.exposure} - {""})


@dataclass(frozen=True, order=True)
class Cause:
    """Why a clip is reached: an event of the ledger (`seq`, `identity` is its leaf) or terms that ended (no `seq`).

    `subject` is whose withdrawal it is: a party, or the dispute.
    """

    subject: str
    kind: str
    identity: str
    at: str
    seq: int | None = None


def reached_members(
    sealing: Sealing, members: Iterable[Member], state: ConsentState, now: datetime
) -> dict[str, tuple[str, ...]]:
    """Clips of a snapshot whose consent did not hold without a gap from its sealing until `now`, with the reasons."""
    start, found = min(sealing.at, now), {}
    for member in members:
        decision = eligible(
            member.facts, sealing.purpose, start, now, state, sealing.territory, recipient=sealing.recipient
        )
        if not decision.eligible:
            found[member.clip_id] = decision.reasons
    return found


def usable_now(sealing: Sealing, member: Member, state: ConsentState, now: datetime) -> bool:
    """Whether the clip could be sealed again at this moment, whatever happened in between."""
    asked = (sealing.purpose, now, now, state, sealing.territory)
    return eligible(member.facts, *asked, recipient=sealing.recipient).eligible


def causes_of(
    facts: ClipFacts, sealing: Sealing, state: ConsentState, events: Iterable[Event], now: datetime
) -> tuple[Cause, ...]:
    """What took the consent from a reached clip. `events` are all of its people, and all disputes, in ledger order."""
    use = Use(facts.assets, sealing.purpose, min(sealing.at, now), now, sealing.territory, sealing.recipient)
    found = {cause for event in events if (cause := _event_cause(event, facts, use, state))} | _endings(
        facts, use, state
    )
    if not found:  # an event that was erased, or one that no rule here names: never hidden, whoever was the cause
        subject = facts.contributor_id or facts.clip_id
        found = {Cause(subject, "unexplained", f"{sealing.root}/{facts.clip_id}", time_text(sealing.at))}
    return tuple(sorted(found, key=lambda cause: (cause.seq is None, cause.seq or 0, cause.identity)))


def _event_cause(event: Event, facts: ClipFacts, use: Use, state: ConsentState) -> Cause | None:
    body = event.body
    if event.type in DISPUTE_TYPES:
        subject, guilty = body["dispute_id"], _holds(body["dispute_id"], facts, state)
    elif event.type in ("revoke", "amend"):
        subject = body["party_id"]
        spoke = state.consents(subject, facts.assets) if subject in facts.parties else []
        guilty = any(one.consent_id == body["consent_id"] and one.objections(use) for one in spoke)
    elif event.type in ("guardian", "end_guardian"):
        subject = body["party_id"]
        guilty = any(person.person_id == subject and person.identifiable for person in facts.persons)
    else:
        return None
    return Cause(subject, event.type, event.leaf_hash, time_text(event.recorded_at), event.seq) if guilty else None


def _holds(dispute_id: str, facts: ClipFacts, state: ConsentState) -> bool:
    about = {d.dispute_id for digest in facts.assets for d in state.disputes_by_digest.get(digest, ())}
    return dispute_id in about and state.disputes[dispute_id].outcome != "dismissed"


def _endings(facts: ClipFacts, use: Use, state: ConsentState) -> set[Cause]:
    """Terms about this clip that were in force when they ended."""
    return {
        Cause(party, "expiry", f"{consent.consent_id}@{time_text(terms.ends_at)}", time_text(terms.ends_at))
        for party in facts.parties
        for consent in state.consents(party, facts.assets)
        for terms in consent.terms
        if terms.assets & facts.assets
        and terms.ends_at is not None
        and use.at < terms.ends_at <= use.until
        and consent.in_force(terms.ends_at - timedelta(microseconds=1)) is terms
    }


def downstream(reached: Reached, models: Iterable[Model]) -> dict[str, str]:
    """Causes by model key: its weights saw a reached snapshot, or it started, at any distance, from one that did."""
    everything = {model.key: model for model in models}
    causes: dict[str, str] = {}
    for key, model in sorted(everything.items()):
        for root in sorted(model.roots & set(reached), key=lambda root: (root != model.snapshot_root, root)):
            causes.setdefault(key, _cause(root, reached[root]))
    children: dict[str, list[str]] = {}
    for key, model in sorted(everything.items()):
        children.setdefault(model.parent or "", []).append(key)
    frontier = sorted(causes)
    while frontier:
        parent = frontier.pop(0)
        for child in children.get(parent, ()):
            if child not in causes:
                causes[child] = f"started from {parent}, which is tainted"
                frontier.append(child)
    return causes


def _cause(root: str, members: Mapping[str, tuple[str, ...]]) -> str:
    codes = sorted({code for reasons in members.values() for code in reasons})
    shown = ", ".join(clip[:16] for clip in sorted(members)[:10])
    more = f" and {len(members) - 10} more" if len(members) > 10 else ""
    return f"{', '.join(codes)} on {len(members)} clips of snapshot {root[:16]}: {shown}{more}"
