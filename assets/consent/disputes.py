"""Disputes: somebody objects to footage, it is held at once, and an officer who has no part in it decides.

A dispute is an event in the ledger, signed by the person concerned, or by the platform for somebody without a key; so is
its decision. Belongs here: who may open one, who may decide it, and what is open. That footage is held meanwhile is the
eligibility rule's business. Besides the ledger, only the name of the officer who opened one for somebody is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assets.consent.clips import Clip, digest, read_clips
from assets.consent.intake import Refused
from assets.consent.platform import platform_key, platform_ledger
from assets.consent.review_counting import POLICY
from assets.consent.review_queue import hours_between
from assets.consent.reviews import ReviewError, appeal_rows, review_engine, review_rows, same
from assets.database import append_only, engine_with, writing
from assets.home import Home
from assets.reasons import closed
from training.consent import events
from training.consent.events import OUTCOMES, PLATFORM
from training.consent.times import time_text

_metadata = sa.MetaData()
_openings = sa.Table(
    "dispute_opening",
    _metadata,
    sa.Column("dispute_id", sa.String(128), primary_key=True),
    sa.Column("officer", sa.String(128), nullable=False),
    sa.Column("opened_at", sa.String(20), nullable=False),
)
append_only(_openings)


class DisputeError(ValueError):
    """A dispute that cannot be opened or decided so; the message says why and what to do."""


@dataclass(frozen=True)
class Dispute:
    """One dispute as the ledger has it, with the clips of the lake that it holds. `outcome` is None while it is open."""

    dispute_id: str
    party_id: str
    opened_by: str  # the party, or the officer who opened it for them
    reason: str
    digests: frozenset[str]
    opened_at: str
    outcome: str | None = None
    officer: str | None = None
    decided_at: str | None = None
    clips: tuple[Clip, ...] = ()

    def age_hours(self, now: datetime) -> float:
        return hours_between(self.opened_at, now)

    def overdue(self, now: datetime) -> bool:
        """An open dispute that waits for longer than the policy allows. The footage stays held all the same."""
        return self.outcome is None and self.age_hours(now) > POLICY.sla_hours


def open_dispute(
    home: Home, clip: Clip, party_id: str, reason: str, signer: Ed25519PrivateKey | str, now: datetime
) -> str:
    """Open a dispute about a clip; its identity. The same one again is the one that is open.

    `signer` is the party's own key, or the name of the officer on whose word the platform signs for somebody without one.
    Raises DisputeError for a key of somebody whom the clip does not concern as far as is known and where the ledger
    refuses, and UnknownReason for a code that is not on the list.
    """
    officer = signer.strip() if isinstance(signer, str) else None
    if officer == "":
        raise DisputeError("the platform opens a dispute on an officer's word: give the officer's name")
    if officer is None and same(party_id) not in {same(party) for party in clip.concerned}:
        raise DisputeError(
            f"nothing says that this clip concerns {party_id}; an officer can open the dispute for them with --platform"
        )
    if len(codes := closed([reason])) != 1:
        raise DisputeError("a dispute says why: give one code such as legal.privacy")
    asked = (party_id, codes[0], frozenset({clip.facts.clip_id}))
    for earlier in disputes(home):
        if earlier.outcome is None and (earlier.party_id, earlier.reason, earlier.digests) == asked:
            return earlier.dispute_id
    body = events.dispute(party_id, {clip.facts.clip_id}, codes[0], now, actor=PLATFORM if officer else None)
    if officer:  # before the event: an opening without a dispute means nothing, a dispute without its opening would
        opening = {"dispute_id": body["dispute_id"], "officer": officer, "opened_at": time_text(now)}
        with writing(engine_with(home.database_url, _metadata)) as connection:
            connection.execute(_openings.insert().values(**opening))
    _append(home, body, platform_key(home) if isinstance(signer, str) else signer, now)
    return body["dispute_id"]


def adjudicate(home: Home, dispute_id: str, outcome: str, officer: str, now: datetime) -> Dispute:
    """Decide a dispute: `dismissed` ends the hold, `upheld` makes it final. Returns it as it was when open.

    Raises LookupError for an unknown one, and DisputeError for one that is decided, for an officer who has a part in it
    (who reviewed or delivered the footage, is concerned by it, or opened the dispute), and where the ledger refuses.
    """
    dispute = next((dispute for dispute in disputes(home) if dispute.dispute_id == dispute_id), None)
    if dispute is None:
        raise LookupError(f"there is no dispute {dispute_id!r}; `rushes review disputes` lists them")
    if outcome not in OUTCOMES:
        raise DisputeError(f"an outcome is {' or '.join(OUTCOMES)}, not {outcome!r}")
    if dispute.outcome is not None:
        raise DisputeError(f"{dispute_id} was {dispute.outcome} by {dispute.officer}; a decision is final")
    if part := partial(dispute).get(same(officer)):
        raise DisputeError(f"{officer} {part}, and cannot decide about it; another officer has to")
    _append(home, events.adjudicate(dispute_id, outcome, now, officer=officer.strip()), platform_key(home), now)
    return dispute


def partial(dispute: Dispute) -> dict[str, str]:
    """Who may not decide a dispute, and what part they have in it."""
    parts = {same(dispute.opened_by): "opened the dispute", same(dispute.party_id): "opened the dispute"}
    for clip in dispute.clips:
        parts |= {same(party): "is concerned by the footage" for party in clip.concerned}
        parts |= {same(review.reviewer_id): "reviewed the footage" for review in clip.reviews}
    return {name: part for name, part in parts.items() if name}


def disputes(home: Home, clips: Iterable[Clip] | None = None) -> list[Dispute]:
    """Every dispute in the ledger's order. `clips` are all clips of the lake, read when not given."""
    ledger = platform_ledger(home).disputes()
    by_digest: dict[str, list[Clip]] = defaultdict(list)
    if ledger:
        for clip in read_clips(home) if clips is None else clips:
            for digest in clip.facts.assets:
                by_digest[digest].append(clip)
    with engine_with(home.database_url, _metadata).connect() as connection:
        officers: dict[str, str] = {row.dispute_id: row.officer for row in connection.execute(sa.select(_openings))}
    decided = {event.body["dispute_id"]: event for event in ledger if event.type == "adjudicate"}
    listed = []
    for event in ledger:
        if event.type != "dispute":
            continue
        body, decision = event.body, decided.get(event.body["dispute_id"])
        held = {clip.key: clip for digest in body["assets"] for clip in by_digest.get(digest, ())}
        listed.append(
            Dispute(
                dispute_id=body["dispute_id"],
                party_id=body["party_id"],
                opened_by=officers.get(body["dispute_id"]) or body["party_id"],
                reason=body["reason"],
                digests=frozenset(body["assets"]),
                opened_at=time_text(event.recorded_at),
                outcome=decision.body["outcome"] if decision else None,
                officer=decision.body["officer"] if decision else None,
                decided_at=time_text(decision.recorded_at) if decision else None,
                clips=tuple(held[key] for key in sorted(held)),
            )
        )
    return listed


def _append(home: Home, body: events.Body, key: Ed25519PrivateKey, now: datetime) -> None:
    outcome = platform_ledger(home).append(events.sign(body, key), now)
    if isinstance(outcome, Refused):
        raise DisputeError(f"the ledger refused it: {outcome.rule.value}: {outcome.detail}")


def appeal(database_url: str, clip: Clip, contributor_id: str, now: datetime) -> bool:
    """Ask that people who have not judged this clip yet decide again; False where that was asked already.

    Raises ReviewError for anybody but the contributor, for a clip that is not rejected, and for one appeal too many.
    """
    facts, seen = clip.facts, digest(clip)
    if not facts.contributor_id or same(contributor_id) != same(facts.contributor_id):
        raise ReviewError(f"only {facts.contributor_id or 'the contributor'} can appeal; others open a dispute")
    if not facts.rejections:
        raise ReviewError("this clip is not rejected; there is nothing to appeal against")
    key = dict(zip(("clip_id", "item_id", "shot_index"), clip.key, strict=True)) | {"digest": seen}
    same_clip = sa.and_(*(appeal_rows.c[name] == value for name, value in key.items()))
    with writing(review_engine(database_url)) as connection:
        after: int = connection.execute(sa.select(sa.func.max(review_rows.c.id))).scalar_one()
        earlier: Sequence[int] = (
            connection.execute(sa.select(appeal_rows.c.after_review).where(same_clip)).scalars().all()
        )
        if len(earlier) >= POLICY.appeals:
            if not any(review.id > max(earlier) for review in clip.reviews):
                return False
            raise ReviewError("the appeal was decided; what changes about the clip itself is judged afresh")
        row = key | {"after_review": after, "contributor_id": contributor_id, "appealed_at": time_text(now)}
        connection.execute(appeal_rows.insert().values(**row))
    return True
