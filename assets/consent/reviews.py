"""Reviewers and their reviews, as they are kept: append-only rows beside the ledger, each review bound to a digest of what
was seen.

A row of the register enrols a reviewer, moves them to another organisation, or retires them, and the latest row of a name
stands. Organisations matter because two people of one organisation are one opinion; what a reviewer judged while active
stays. Which reviews count is decided in `review_counting`, what is left to do in `review_queue`.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Required, TypedDict, Unpack

import sqlalchemy as sa

from assets.database import append_only, engine_with, writing
from assets.lake import ClipKey, clip_key
from assets.reasons import closed
from training.consent.canonical import sha256_hex
from training.consent.database import BigId
from training.consent.times import time_text

MOST_PEOPLE = 10_000


def _clip_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", BigId, primary_key=True),
        sa.Column("clip_id", sa.String(64), nullable=False),
        sa.Column("item_id", sa.String(128), nullable=False),
        sa.Column("shot_index", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    ]


_metadata = sa.MetaData()
_reviewers = sa.Table(
    "reviewer",
    _metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("reviewer_id", sa.String(128), nullable=False),
    sa.Column("organisation", sa.String(128), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("recorded_at", sa.String(20), nullable=False),
    sa.Column("by", sa.String(128), nullable=False),
)
review_rows = sa.Table(
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
appeal_rows = sa.Table(
    "clip_appeal",
    _metadata,
    *_clip_columns(),
    sa.Column("after_review", sa.BigInteger, nullable=False),  # the last review that was given before
    sa.Column("contributor_id", sa.String(128), nullable=False),
    sa.Column("appealed_at", sa.String(20), nullable=False),
    sa.UniqueConstraint("clip_id", "item_id", "shot_index", "after_review"),
)
for _table in (_reviewers, review_rows, appeal_rows):
    append_only(_table)


def review_engine(database_url: str) -> sa.Engine:
    return engine_with(database_url, _metadata)


class ReviewError(ValueError):
    """A review, or a change of the register, that cannot be taken; the message says why and what to do."""


# -- the register ------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


@dataclass(frozen=True)
class Entry:
    """One row of the register."""

    reviewer_id: str
    organisation: str
    active: bool
    recorded_at: str
    by: str


def same(name: str | None) -> str:
    """The form in which names of people and organisations are compared: case and surrounding blanks play no part."""
    return (name or "").strip().casefold()


@dataclass(frozen=True)
class Register:
    """The register's rows in order, as the counting rule takes it."""

    entries: tuple[Entry, ...] = ()

    def standing(self, at: str | None = None) -> dict[str, Entry]:
        """The latest row of each reviewer, or the latest as of a time (`2026-11-02T08:15:00Z`), by name."""
        return {entry.reviewer_id: entry for entry in self.entries if at is None or entry.recorded_at <= at}

    def active(self, at: str | None = None) -> dict[str, Entry]:
        """Those of `standing` who may judge."""
        return {name: entry for name, entry in self.standing(at).items() if entry.active}

    def knows(self, reviewer_id: str, organisation: str) -> bool:
        """Whether this reviewer was ever enrolled for this organisation."""
        return any(
            entry.active and entry.reviewer_id == reviewer_id and same(entry.organisation) == same(organisation)
            for entry in self.entries
        )

    def judge(self, reviewer_id: str) -> Entry:
        """The row under which this reviewer judges now. Raises ReviewError where they may not."""
        entry = self.standing().get(reviewer_id)
        if entry is None:
            raise ReviewError(
                f"{reviewer_id!r} is no registered reviewer; `rushes review enrol NAME --organisation ORG` registers one"
            )
        if not entry.active:
            raise ReviewError(f"{reviewer_id} is retired as a reviewer; `rushes review enrol` takes them back")
        return entry


def read_register(database_url: str) -> Register:
    with review_engine(database_url).connect() as connection:
        return _read_register(connection)


def _read_register(connection: sa.Connection) -> Register:
    columns = [_reviewers.c[name] for name in Entry.__dataclass_fields__]
    rows = connection.execute(sa.select(*columns).order_by(_reviewers.c.id))
    return Register(tuple(Entry(**row._mapping) for row in rows))


def enrol_reviewer(database_url: str, reviewer_id: str, organisation: str, *, by: str, now: datetime) -> bool:
    """Register a reviewer, or move one to another organisation; False where the register says so already.

    Raises ReviewError for invalid names, and for names that differ from an enrolled one by case alone.
    """
    for name in (reviewer_id, organisation):
        if not _NAME.fullmatch(name):
            raise ReviewError(
                f"{name!r} is no name: letters, digits and . _ : -, at most 128, beginning with the first"
            )
    with writing(review_engine(database_url)) as connection:
        register = _read_register(connection)
        standing = register.standing()
        if twin := next((name for name in standing if name != reviewer_id and same(name) == same(reviewer_id)), None):
            raise ReviewError(f"{reviewer_id!r} would be taken for {twin!r}, who is registered; choose another name")
        entry = standing.get(reviewer_id)
        if entry is not None and entry.active and entry.organisation == organisation:
            return False
        _enter(connection, register, Entry(reviewer_id, organisation, True, time_text(now), by))
    return True


def retire_reviewer(database_url: str, reviewer_id: str, *, by: str, now: datetime) -> bool:
    """Let a reviewer judge no more; False where they are retired already. Raises ReviewError for an unknown one."""
    with writing(review_engine(database_url)) as connection:
        register = _read_register(connection)
        entry = register.standing().get(reviewer_id)
        if entry is None:
            raise ReviewError(f"{reviewer_id!r} is no registered reviewer; `rushes review reviewers` lists them")
        if entry.active:
            _enter(connection, register, Entry(reviewer_id, entry.organisation, False, time_text(now), by))
    return entry.active


def _enter(connection: sa.Connection, register: Register, entry: Entry) -> None:
    if not entry.by.strip():
        raise ReviewError("the register says who changed it: give a name")
    # a clock that was set back does not reorder the register
    recorded_at = max([entry.recorded_at, *(earlier.recorded_at for earlier in register.entries[-1:])])
    row = vars(entry) | {"recorded_at": recorded_at, "by": entry.by.strip()[:128]}
    connection.execute(_reviewers.insert().values(**row))


# -- reviews and appeals -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Review:
    """One judgement as kept; `id` is its place in the order of all judgements."""

    id: int
    reviewer_id: str
    organisation: str
    round: int
    digest: str
    verdict: str
    persons_counted: int
    non_identifiable: int
    reviewed_at: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Appeal:
    """A contributor asks that others judge; `after` is the last review given before."""

    digest: str
    after: int
    appealed_at: str = ""


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
    own = sa.and_(*(review_rows.c[name] == value for name, value in key.items()))
    register = read_register(database_url)
    judgement = {
        "digest": review["digest"],
        "organisation": register.judge(review["reviewer_id"]).organisation,
        "verdict": verdict,
        "reasons_json": json.dumps(codes),
        "persons_counted": persons_counted,
        "non_identifiable": non_identifiable,
    }
    with writing(review_engine(database_url)) as connection:
        last = connection.execute(
            sa.select(review_rows).where(own).order_by(review_rows.c.round.desc()).limit(1)
        ).first()
        if last is not None and {name: last._mapping[name] for name in judgement} == judgement:
            return last.round
        round_ = last.round + 1 if last is not None else 1
        connection.execute(review_rows.insert().values(**key, **judgement, round=round_, reviewed_at=time_text(now)))
    return round_


def all_reviews(database_url: str) -> list[dict[str, Any]]:
    """Every review in the order given, `reasons` as a list."""
    with review_engine(database_url).connect() as connection:
        rows = [dict(row._mapping) for row in connection.execute(sa.select(review_rows).order_by(review_rows.c.id))]
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
    with review_engine(database_url).connect() as connection:
        for row in connection.execute(sa.select(appeal_rows).order_by(appeal_rows.c.id)):
            by_clip[clip_key(dict(row._mapping))] += (Appeal(row.digest, row.after_review, row.appealed_at),)
    return by_clip


def reviews_digest(database_url: str) -> str:
    """Digest of all reviews, appeals and the register: equal digests mean that nobody judged anything since."""
    entries = read_register(database_url).entries
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
