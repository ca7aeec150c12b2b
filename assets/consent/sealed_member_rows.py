"""What is kept of sealed snapshots: the tables, and how members and sealings become rows and come back.

A member that many snapshots share is one row; a snapshot is a bitmap over the members' numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from training.consent.canonical import canonical, parse_strictly
from training.consent.database import BigId, append_only
from training.consent.eligibility import ClipFacts
from training.consent.times import instant

CHUNK = 500  # values in one IN list; every database takes that many

METADATA = sa.MetaData()

member_rows = sa.Table(
    "sealed_member",
    METADATA,
    sa.Column("number", BigId, primary_key=True, autoincrement=False),
    sa.Column("leaf_hash", sa.String(64), nullable=False),
    sa.Column("clip_id", sa.String(64), nullable=False, index=True),
    sa.Column("member", sa.Text, nullable=False),  # canonical JSON, as in the manifest
    sa.UniqueConstraint("leaf_hash"),
)


def _index(name: str, column: str, length: int) -> sa.Table:
    """Which members each value of `column` names."""
    return sa.Table(
        name,
        METADATA,
        sa.Column(column, sa.String(length), primary_key=True),
        sa.Column("number", BigId, sa.ForeignKey(member_rows.c.number), primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )


party_rows = _index("sealed_party", "party_id", 128)
digest_rows = _index("sealed_digest", "digest", 64)
set_rows = sa.Table(
    "sealed_set",
    METADATA,
    sa.Column("root", sa.String(64), primary_key=True),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("members", sa.LargeBinary, nullable=False),  # bit i of byte j: member 8 j + i is in it
)
sealing_rows = sa.Table(
    "sealing",
    METADATA,
    sa.Column("number", BigId, primary_key=True, autoincrement=False),
    sa.Column("root", sa.String(64), sa.ForeignKey(set_rows.c.root), nullable=False, index=True),
    sa.Column("manifest_sha256", sa.String(64), nullable=False),
    sa.Column("purpose", sa.String(32), nullable=False),
    sa.Column("territory", sa.String(8), nullable=False),
    sa.Column("recipient", sa.String(128), nullable=False),
    sa.Column("opens_at", sa.String(20), nullable=False),
    sa.Column("until", sa.String(20), nullable=False),
    sa.Column("ledger_size", BigId, nullable=False),
    sa.Column("ledger_root", sa.String(64), nullable=False),
    sa.UniqueConstraint("root", "manifest_sha256"),
)
for _table in (member_rows, party_rows, digest_rows, set_rows, sealing_rows):
    append_only(_table)


@dataclass(frozen=True)
class Sealing:
    """One time that a set of members was sealed: the same members may be sealed again later, over another window."""

    number: int
    root: str
    manifest_sha256: str
    purpose: str
    territory: str
    recipient: str
    at: datetime
    until: datetime
    ledger_size: int
    ledger_root: str


@dataclass(frozen=True)
class Member:
    """A clip as it was sealed; `facts` are what its eligibility is decided on."""

    number: int
    facts: ClipFacts
    media_key: str
    consent_ids: tuple[str, ...]

    @property
    def clip_id(self) -> str:
        return self.facts.clip_id


def numbered(connection: sa.Connection, leaves: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Numbers of all these members; those that were never sealed before get one."""
    known: dict[str, int] = {}
    for some in chunks(leaves):
        query = sa.select(member_rows.c.leaf_hash, member_rows.c.number).where(member_rows.c.leaf_hash.in_(some))
        known |= {row.leaf_hash: row.number for row in connection.execute(query)}
    first = next_number(connection, member_rows)
    fresh = {leaf: first + i for i, leaf in enumerate(leaf for leaf in leaves if leaf not in known)}
    for some in chunks(fresh):
        _insert(connection, [(fresh[leaf], leaf, leaves[leaf]) for leaf in some])
    return sorted((known | fresh).values())


def _insert(connection: sa.Connection, fresh: list[tuple[int, str, Mapping[str, Any]]]) -> None:
    facts = {number: _facts(member) for number, _, member in fresh}
    connection.execute(
        sa.insert(member_rows),
        [
            {"number": number, "leaf_hash": leaf, "clip_id": member["clip_id"], "member": canonical(member).decode()}
            for number, leaf, member in fresh
        ],
    )
    people = [{"party_id": party, "number": number} for number, f in facts.items() for party in sorted(f.parties)]
    named = [{"digest": digest, "number": number} for number, f in facts.items() for digest in sorted(f.assets)]
    if people:
        connection.execute(sa.insert(party_rows), people)
    connection.execute(sa.insert(digest_rows), named)


def _facts(member: Mapping[str, Any]) -> ClipFacts:
    return ClipFacts.from_dict({"properties": [], **member["facts"]})  # facts from before property owners were asked


def member_of(row: Any) -> Member:
    member = parse_strictly(row.member)
    return Member(row.number, _facts(member), member["media_key"], tuple(member["consent_ids"]))


def sealing_of(row: Any) -> Sealing:
    fields = {name: value for name, value in row._mapping.items() if name not in {"opens_at", "until"}}
    return Sealing(at=instant(row.opens_at), until=instant(row.until), **fields)


def bitmap(numbers: list[int]) -> bytes:
    bits: dict[int, int] = defaultdict(int)
    for number in numbers:
        bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits[j] for j in range(max(bits) + 1)) if bits else b""


def next_number(connection: sa.Connection, table: sa.Table) -> int:
    return connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.number) + 1, 0))).scalar_one()


def chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(values)
    while some := list(islice(rest, CHUNK)):
        yield some
