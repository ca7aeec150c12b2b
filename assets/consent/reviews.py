"""Human reviews as they are kept: append-only rows beside the ledger, each bound to a digest of what was seen.

Belongs here: the tables of reviews and appeals, what may enter them, and the digest. Which reviews count is decided in
`review_counting`, what is left to do in `review_queue`, and what it means for a clip in the eligibility rule.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Required, TypedDict, Unpack

import sqlalchemy as sa

from assets.consent import reviewers
from assets.consent.clip import Clip, ClipKey, clip_key, digest
from assets.consent.review_counting import POLICY, Appeal, Review
from assets.consent.reviewers import ReviewError, same
from assets.database import append_only, engine_with, writing
from assets.reasons import closed
from training.consent.canonical import sha256_hex
from training.consent.database import BigId
from training.consent.times import time_text

MOST_PEOPLE = 10_000

_metadata = sa.MetaData()


def _clip_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", BigId, primary_key=True),
        sa.Column("clip_id", sa.String(64), nullable=False),
        sa.Column("item_id", sa.String(128), nullable=False),
        sa.Column("shot_index", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    ]


_reviews = sa.Table(
    "clip_review",
    _metadata,
    *_clip_columns(),
    sa.Column("reviewer_id", sa.String(128), nullable=False),
    sa.Column("organisation", sa.String(128), nullable=False),  # whom the reviewer worked for when judging
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("reasons_json", sa.Text, nullable=False),
    sa.Column("persons_counted", sa.Integer, nullable=False),
    sa.Column("non_identifiable", sa.Integer, nullable=False),
    sa.Column("reviewed_at", sa.String(20), nullable=False),
    sa.UniqueConstraint("clip_id", "item_id", "shot_index", "reviewer_id", "round"),
)
_appeals = sa.Table(
    "clip_appeal",
    _metadata,
    *_clip_columns(),
    sa.Column("after_review", sa.BigInteger, nullable=False),  # the last review that was given before
    sa.Column("contributor_id", sa.String(128), nullable=False),
    sa.Column("appealed_at", sa.String(20), nullable=False),
    sa.UniqueConstraint("clip_id", "item_id", "shot_index", "after_review"),
)
append_only(_reviews)
append_only(_appeals)


class Judgement(TypedDict, total=False):
    """What a reviewer says of a clip; `digest` is that of what they saw, as the queue has it."""

    clip_id: Required[str]
    item_id: Required[str]
    shot_index: Required[int]
    reviewer_id: Required[str]
    digest: Required[str]
    verdict: Required[str]
    persons_counted: Required[int]
    reasons: Iterable[str]
    non_identifiable: int


def submit_review(database_url: str, now: datetime, **review: Unpack[Judgement]) -> int:
    """Keep a review; returns its round. The same judgement of the same digest again is no new round.

    Raises ReviewError for a reviewer who is not active on the register, an unknown verdict, a rejection without reasons, an
    approval with some, or negative counts, and UnknownReason for a code that is not on the list. Whether the reviewer may
    judge this clip is decided whenever it is counted: people are declared later too.
    """
    verdict, codes = review["verdict"], closed(review.get("reasons", ()))
    persons_counted, non_identifiable = review["persons_counted"], review.get("non_identifiable", 0)
    if verdict not in ("approve", "reject"):
        raise ReviewError(f"a verdict is approve or reject, not {verdict!r}")
    if (verdict == "reject") != bool(codes):
        raise ReviewError("a rejection says why: give every reason that applies; an approval has none")
    if not all(0 <= people <= MOST_PEOPLE for people in (persons_counted, non_identifiable)):
        raise ReviewError(f"people are counted from 0 to {MOST_PEOPLE}")
    clip = {"clip_id": review["clip_id"], "item_id": review["item_id"], "shot_index": review["shot_index"]}
    key = clip | {"reviewer_id": review["reviewer_id"]}
    own = sa.and_(*(_reviews.c[name] == value for name, value in key.items()))
    register = reviewers.read_register(database_url)
    judgement = {
        "digest": review["digest"],
        "organisation": register.judge(review["reviewer_id"]).organisation,
        "verdict": verdict,
        "reasons_json": json.dumps(codes),
        "persons_counted": persons_counted,
        "non_identifiable": non_identifiable,
    }
    with writing(engine_with(database_url, _metadata)) as connection:
        last = connection.execute(sa.select(_reviews).where(own).order_by(_reviews.c.round.desc()).limit(1)).first()
        if last is not None and {name: last._mapping[name] for name in judgement} == judgement:
            return last.round
        round_ = last.round + 1 if last is not None else 1
        connection.execute(_reviews.insert().values(**key, **judgement, round=round_, reviewed_at=time_text(now)))
    return round_


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
    same_clip = sa.and_(*(_appeals.c[name] == value for name, value in key.items()))
    with writing(engine_with(database_url, _metadata)) as connection:
        after: int = connection.execute(sa.select(sa.func.max(_reviews.c.id))).scalar_one()
        earlier: Sequence[int] = connection.execute(sa.select(_appeals.c.after_review).where(same_clip)).scalars().all()
        if len(earlier) >= POLICY.appeals:
            if not any(review.id > max(earlier) for review in clip.reviews):
                return False
            raise ReviewError("the appeal was decided; what changes about the clip itself is judged afresh")
        row = key | {"after_review": after, "contributor_id": contributor_id, "appealed_at": time_text(now)}
        connection.execute(_appeals.insert().values(**row))
    return True


def all_reviews(database_url: str) -> list[dict[str, Any]]:
    """Every review in the order given, `reasons` as a list."""
    with engine_with(database_url, _metadata).connect() as connection:
        rows = [dict(row._mapping) for row in connection.execute(sa.select(_reviews).order_by(_reviews.c.id))]
    return [{**row, "reasons": json.loads(row["reasons_json"])} for row in rows]


def reviews_by_clip(database_url: str) -> dict[ClipKey, tuple[Review, ...]]:
    by_clip: dict[ClipKey, tuple[Review, ...]] = defaultdict(tuple)
    names = set(Review.__dataclass_fields__) - {"reasons"}
    for row in all_reviews(database_url):
        fields = {name: row[name] for name in names}
        by_clip[clip_key(row)] += (Review(**fields, reasons=tuple(row["reasons"])),)
    return by_clip


def appeals_by_clip(database_url: str) -> dict[ClipKey, tuple[Appeal, ...]]:
    by_clip: dict[ClipKey, tuple[Appeal, ...]] = defaultdict(tuple)
    with engine_with(database_url, _metadata).connect() as connection:
        for row in connection.execute(sa.select(_appeals).order_by(_appeals.c.id)):
            by_clip[clip_key(dict(row._mapping))] += (Appeal(row.digest, row.after_review, row.appealed_at),)
    return by_clip


def reviews_digest(database_url: str) -> str:
    """Digest of all reviews, appeals and the register: equal digests mean that nobody judged anything since."""
    entries = reviewers.read_register(database_url).entries
    appeals = {
        str(key): [vars(appeal_) for appeal_ in of_clip] for key, of_clip in appeals_by_clip(database_url).items()
    }
    return sha256_hex(
        {
            "reviews": [[row["id"], row["digest"], row["verdict"]] for row in all_reviews(database_url)],
            "appeals": appeals,
            "register": [[entry.reviewer_id, entry.organisation, entry.active] for entry in entries],
        }
    )
