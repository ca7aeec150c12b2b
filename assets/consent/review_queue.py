"""The queue: which clips wait for people, for how long, and who is asked next.

Reads what `clip_facts` gathered; decides nothing about a clip. Nobody is skipped and nothing is accepted because time passes:
what waits longer than the policy allows is overdue, and from then on everybody who may judge it is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from assets.consent.clips import Clip, digest, read_clips
from assets.consent.review_counting import POLICY
from assets.consent.reviews import Entry, Register, read_register, same
from assets.home import Home
from assets.reasons import fit_for_catalogue
from training.consent.times import parse_time


def review_queue(home: Home, now: datetime | None = None) -> list[dict[str, Any]]:
    """Clips that checks and duplicates let through and that people still have to judge, overdue and most approved first.

    `reviewers` judged it already, `may_judge` are those who still can, `offered` those who are asked. A clip that was
    rejected for good is not asked about again until it is edited or its contributor appeals.
    """
    now, register = now or datetime.now(UTC), read_register(home.database_url)
    queue = [_row(clip, register, now) for clip in read_clips(home) if waits(clip)]
    return sorted(queue, key=lambda row: (not row["overdue"], -row["approvals"], row["item_id"], row["shot_index"]))


def waits(clip: Clip) -> bool:
    """Whether people have to look at this clip (again)."""
    facts = clip.facts
    if not (clip.reviewable and facts.duplicate_ok):
        return False
    if facts.rejections:
        return appealed(clip) or _may_be_for_the_catalogue(clip)
    return facts.approvals < POLICY.approvals


def appealed(clip: Clip) -> bool:
    """Whether an appeal against the rejection of what is there now is still undecided."""
    after = _appealed_after(clip)
    since = [review for review in clip.reviews if after is not None and review.id > after]
    lost = any(clip.count.valid(review.id) and review.verdict == "reject" for review in since)
    return after is not None and bool(clip.facts.rejections) and not lost


def _appealed_after(clip: Clip) -> int | None:
    if not clip.appeals:
        return None
    seen = digest(clip)
    return max((appeal.after for appeal in clip.appeals if appeal.digest == seen), default=None)


def _may_be_for_the_catalogue(clip: Clip) -> bool:
    """Rejected for reasons that the catalogue does not mind, by one organisation alone: a second opinion is wanted."""
    valid = [review for review in clip.reviews if clip.count.valid(review.id)]
    opinions = {same(review.organisation) for review in valid}
    return len(opinions) < POLICY.approvals and all(fit_for_catalogue(review.reasons) for review in valid)


def may_judge(clip: Clip, register: Register) -> dict[str, Entry]:
    """Active reviewers who may judge this clip and have not yet, by name."""
    judged, bars = clip.judged(), _appealed_after(clip)
    done = {review.reviewer_id for review in clip.reviews if clip.count.valid(review.id)}
    if bars is not None:
        done |= {review.reviewer_id for review in clip.reviews if review.id <= bars and review.digest == judged.digest}
    return {
        name: entry
        for name, entry in register.active().items()
        if name not in done and not judged.bars(name, entry.organisation)
    }


def _offered(clip: Clip, free: Mapping[str, Entry], overdue: bool) -> list[str]:
    """Whom to ask: as many as are missing, each of another organisation, drawn by a hash that no reviewer chooses."""
    if overdue:
        return sorted(free)
    heard = {same(review.organisation) for review in clip.reviews if clip.count.counts(review.id)}
    asked: dict[str, str] = {}
    for name in sorted(free, key=lambda name: hashlib.sha256(f"{clip.facts.clip_id} {name}".encode()).digest()):
        organisation = same(free[name].organisation)
        if organisation not in heard or len(heard) >= POLICY.approvals:
            asked.setdefault(organisation, name)
    return sorted(list(asked.values())[: max(1, POLICY.approvals - clip.facts.approvals)])


def waiting_since(clip: Clip) -> str:
    """When the last thing happened to it that people are asked about."""
    judged = (review.reviewed_at for review in clip.reviews)
    return max([clip.received_at, *judged, *(appeal.appealed_at for appeal in clip.appeals)])


def hours_between(since: str, now: datetime) -> float:
    return round((now - parse_time(since)).total_seconds() / 3600, 1)


def _row(clip: Clip, register: Register, now: datetime) -> dict[str, Any]:
    facts, judged, since = clip.facts, clip.judged(), waiting_since(clip)
    age_hours = hours_between(since, now)
    overdue, free = age_hours > POLICY.sla_hours, may_judge(clip, register)
    return {
        "clip_id": facts.clip_id,
        "item_id": facts.item_id,
        "shot_index": facts.shot_index,
        "bytes_sha256": facts.bytes_sha256,
        "media_key": clip.media_key,
        "start_frame": clip.start_frame,
        "end_frame": clip.end_frame,
        "persons": facts.to_dict()["persons"],
        "properties": list(clip.properties),
        "contributor_id": facts.contributor_id,
        "declared": clip.declared,
        "faces_max": facts.faces_max,
        "approvals": facts.approvals,
        "codes": list(clip.count.codes),
        "appealed": appealed(clip),
        # and reviewers who work for the organisation that requested the clip
        "barred": sorted(
            {*clip.concerned, *(n for n, e in register.active().items() if judged.bars(n, e.organisation))}
        ),
        "reviewers": sorted({review.reviewer_id for review in clip.reviews if clip.count.valid(review.id)}),
        "may_judge": sorted(free),
        "offered": _offered(clip, free, overdue),
        "waiting_since": since,
        "age_hours": age_hours,
        "overdue": overdue,
        "digest": digest(clip),
    }
