"""Human reviews: who judged which clip, bound to a digest of what was seen.

Belongs here: keeping reviews (append-only, beside the ledger), which of them count, and the queue of what is left to do.
What they mean for a clip is the eligibility rule's business. A reviewer's latest round counts; a review of other bytes,
people, declarations or consents is void; nobody judges a clip that they delivered or are seen in.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from training.consent.canonical import sha256_hex
from training.consent.database import append_only, create_tables, open_engine, writing
from training.consent.eligibility import APPROVALS_NEEDED
from training.consent.times import time_text

if TYPE_CHECKING:
    from assets.consent.facts import Clip
    from assets.home import Home

ClipKey = tuple[str, str, int]  # clip_id, item_id, shot_index

_metadata = sa.MetaData()
_reviews = sa.Table(
    "review",
    _metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("clip_id", sa.String(64), nullable=False),
    sa.Column("item_id", sa.String(128), nullable=False),
    sa.Column("shot_index", sa.Integer, nullable=False),
    sa.Column("reviewer_id", sa.String(128), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("reasons_json", sa.Text, nullable=False),
    sa.Column("persons_counted", sa.Integer, nullable=False),
    sa.Column("non_identifiable", sa.Integer, nullable=False),
    sa.Column("reviewed_at", sa.String(20), nullable=False),
    sa.UniqueConstraint("clip_id", "item_id", "shot_index", "reviewer_id", "round"),
)
append_only(_reviews)


class ReviewError(ValueError):
    """A review that cannot be taken; the message says why and what to do."""


@dataclass(frozen=True)
class Tally:
    """The valid reviews of one clip, counted; see `ClipFacts` for what the numbers mean."""

    approvals: int = 0
    rejections: int = 0
    persons_counted: int | None = None
    non_identifiable: int = 0


@functools.lru_cache(maxsize=8)
def _engine(database_url: str) -> sa.Engine:
    engine = open_engine(database_url)
    create_tables(engine, _metadata)
    return engine


def digest(clip: Clip) -> str:
    """What a reviewer judges, as one digest: the pictures, who is said to be in them, what is declared, the consents."""
    return sha256_hex(
        {
            "clip_id": clip.facts.clip_id,
            "bytes_sha256": clip.facts.bytes_sha256,
            "contributor_id": clip.facts.contributor_id,
            "persons": clip.facts.to_dict()["persons"],
            "declared": clip.declared,
            "consent_ids": list(clip.consent_ids),
        }
    )


def submit_review(
    database_url: str,
    *,
    clip_id: str,
    item_id: str,
    shot_index: int,
    reviewer_id: str,
    digest: str,
    verdict: str,
    persons_counted: int,
    now: datetime,
    reasons: Iterable[str] = (),
    non_identifiable: int = 0,
) -> int:
    """Keep a review; returns its round. The same judgement of the same digest again is no new round.

    `digest` is the queue's. Raises ReviewError for an unknown verdict, a rejection without reasons, or negative counts.
    Whether the reviewer may judge this clip is decided whenever it is counted, since people are declared later too.
    """
    reasons = sorted({reason.strip() for reason in reasons} - {""})
    if verdict not in ("approve", "reject"):
        raise ReviewError(f"a verdict is approve or reject, not {verdict!r}")
    if verdict == "reject" and not reasons:
        raise ReviewError("a rejection says why: give every reason that applies")
    if min(persons_counted, non_identifiable) < 0 or not reviewer_id.strip():
        raise ReviewError("a review names its reviewer and counts people from 0")
    key = {"clip_id": clip_id, "item_id": item_id, "shot_index": shot_index, "reviewer_id": reviewer_id}
    said = {
        "digest": digest,
        "verdict": verdict,
        "reasons_json": json.dumps(reasons),
        "persons_counted": persons_counted,
        "non_identifiable": non_identifiable,
    }
    mine = sa.and_(*(_reviews.c[name] == value for name, value in key.items()))
    with writing(_engine(database_url)) as connection:
        last = connection.execute(sa.select(_reviews).where(mine).order_by(_reviews.c.round.desc()).limit(1)).first()
        if last is not None and {name: last._mapping[name] for name in said} == said:
            return last.round
        round_ = last.round + 1 if last is not None else 1
        connection.execute(_reviews.insert().values(**key, **said, round=round_, reviewed_at=time_text(now)))
    return round_


def all_reviews(database_url: str) -> list[dict[str, Any]]:
    """Every review in the order given, `reasons` as a list."""
    with _engine(database_url).connect() as connection:
        rows = [dict(row._mapping) for row in connection.execute(sa.select(_reviews).order_by(_reviews.c.id))]
    return [{**row, "reasons": json.loads(row["reasons_json"])} for row in rows]


def reviews_digest(database_url: str) -> str:
    """Digest of all reviews: equal digests mean that nobody judged anything since."""
    return sha256_hex([[row["id"], row["digest"], row["verdict"]] for row in all_reviews(database_url)])


def by_clip(database_url: str) -> dict[ClipKey, list[dict[str, Any]]]:
    found: dict[ClipKey, list[dict[str, Any]]] = defaultdict(list)
    for row in all_reviews(database_url):
        found[row["clip_id"], row["item_id"], row["shot_index"]].append(row)
    return found


def barred(clip: Clip) -> set[str]:
    """Who may not judge a clip: whoever delivered it or is said to be in it."""
    return {clip.facts.contributor_id or "", *(person.person_id for person in clip.facts.persons)}


def valid_rounds(clip: Clip, given: Iterable[dict[str, Any]]) -> set[tuple[str, int]]:
    """(reviewer, round) of the reviews that count: the latest round of each who may judge, of what is there now."""
    latest = {row["reviewer_id"]: row for row in sorted(given, key=lambda row: row["round"])}
    seen, excluded = digest(clip), barred(clip)
    return {(name, row["round"]) for name, row in latest.items() if name not in excluded and row["digest"] == seen}


def tally(clip: Clip, given: Iterable[dict[str, Any]]) -> Tally:
    """Count the valid reviews. People marked not identifiable count as far as two reviewers agree."""
    given = list(given)
    counted = valid_rounds(clip, given)
    rows = [row for row in given if (row["reviewer_id"], row["round"]) in counted]
    marked = sorted((row["non_identifiable"] for row in rows), reverse=True)
    return Tally(
        approvals=sum(row["verdict"] == "approve" for row in rows),
        rejections=sum(row["verdict"] == "reject" for row in rows),
        persons_counted=max((row["persons_counted"] for row in rows), default=None),
        non_identifiable=marked[1] if len(marked) > 1 else 0,
    )


def review_queue(home: Home) -> list[dict[str, Any]]:
    """Clips that checks and duplicates let through and that still lack approvals, most approved first.

    A rejected clip is not asked about again, until an edit voids the rejection. `reviewers` already judged it.
    """
    from assets.consent.facts import read_clips

    given, queue = by_clip(home.database_url), []
    for clip in read_clips(home):
        facts = clip.facts
        if not (clip.reviewable and facts.duplicate_ok) or facts.rejections or facts.approvals >= APPROVALS_NEEDED:
            continue
        queue.append(
            {
                "clip_id": facts.clip_id,
                "item_id": facts.item_id,
                "shot_index": facts.shot_index,
                "bytes_sha256": facts.bytes_sha256,
                "media_key": clip.media_key,
                "start_frame": clip.start_frame,
                "end_frame": clip.end_frame,
                "persons": facts.to_dict()["persons"],
                "contributor_id": facts.contributor_id,
                "declared": clip.declared,
                "faces_max": facts.faces_max,
                "approvals": facts.approvals,
                "barred": sorted(barred(clip)),
                "reviewers": sorted(name for name, _ in valid_rounds(clip, given.get(clip.key, []))),
                "digest": digest(clip),
            }
        )
    return sorted(queue, key=lambda row: (-row["approvals"], row["item_id"], row["shot_index"]))


def rows(home: Home) -> list[dict[str, Any]]:
    """Rows of table `reviews`, those of clips that are no longer known included (never valid)."""
    from assets.consent.facts import read_clips

    given = by_clip(home.database_url)
    valid = {
        (*clip.key, name, round_)
        for clip in read_clips(home)
        for name, round_ in valid_rounds(clip, given.get(clip.key, []))
    }
    kept = ("clip_id", "item_id", "shot_index", "reviewer_id", "round", "digest", "verdict", "reasons")
    counts = ("persons_counted", "non_identifiable", "reviewed_at")
    return [
        {name: row[name] for name in (*kept, *counts)} | {"valid": tuple(row[name] for name in kept[:5]) in valid}
        for row in all_reviews(home.database_url)
    ]
