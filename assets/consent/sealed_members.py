"""Sealed snapshots, found by the people and the footage in them: which snapshot holds which clip, in milliseconds.

Kept in the transactional database when a snapshot is sealed, and again from any manifest that the store has and this
database lacks. A member that many snapshots share is one row; a snapshot is a bitmap over the members' numbers. What these
facts mean for a withdrawal is `reach`'s; where the things made of a clip lie is `assets.withdrawals.artifacts`'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from assets.database import append_only, engine_with, writing
from assets.home import Home
from training.consent.canonical import CanonicalError, canonical, parse_strictly, sha256_hex
from training.consent.database import BigId, portions
from training.consent.eligibility import ClipFacts
from training.consent.snapshot import member_leaf, members_root
from training.consent.state import Audience
from training.consent.times import instant

metadata = sa.MetaData()

member_rows = sa.Table(
    "sealed_member",
    metadata,
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
        metadata,
        sa.Column(column, sa.String(length), primary_key=True),
        sa.Column("number", BigId, sa.ForeignKey(member_rows.c.number), primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )


party_rows = _index("sealed_party", "party_id", 128)
digest_rows = _index("sealed_digest", "digest", 64)
set_rows = sa.Table(
    "sealed_set",
    metadata,
    sa.Column("root", sa.String(64), primary_key=True),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("members", sa.LargeBinary, nullable=False),  # bit i of byte j: member 8 j + i is in it
)
sealing_rows = sa.Table(
    "sealing",
    metadata,
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
    audience: Audience
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


class SealedSnapshots:
    """The sealed snapshots of one database."""

    def __init__(self, database_url: str) -> None:
        self.engine = engine_with(database_url, metadata)

    # -- writing -----------------------------------------------------------------------------------------------------

    def record(self, manifest: Mapping[str, Any], manifest_sha256: str) -> None:
        """Keep a sealing and the members that no snapshot had before, in one transaction; again changes nothing."""
        leaves = {member_leaf(member).hex(): member for member in manifest["members"]}
        with writing(self.engine) as connection:
            same = (sealing_rows.c.root == manifest["root"]) & (sealing_rows.c.manifest_sha256 == manifest_sha256)
            if connection.execute(sa.select(sealing_rows.c.number).where(same)).first():
                return
            if not connection.execute(sa.select(set_rows.c.n).where(set_rows.c.root == manifest["root"])).first():
                numbers = _numbered(connection, leaves)
                row = {"root": manifest["root"], "n": len(numbers), "members": _bitmap(numbers)}
                connection.execute(sa.insert(set_rows), row)
            connection.execute(
                sa.insert(sealing_rows),
                {name: manifest[name] for name in ("root", "purpose", "territory", "until")}
                | {"number": _next_number(connection, sealing_rows), "manifest_sha256": manifest_sha256}
                | {"opens_at": manifest["at"], "recipient": manifest.get("recipient", "*")}
                | {f"ledger_{name}": manifest["ledger"][name] for name in ("size", "root")},
            )

    # -- reading -----------------------------------------------------------------------------------------------------

    def sealings(self, after: int = -1) -> list[Sealing]:
        """Every sealing with a number above `after`, in the order in which they were recorded."""
        query = sa.select(sealing_rows).where(sealing_rows.c.number > after).order_by(sealing_rows.c.number)
        with self.engine.connect() as connection:
            return [_sealing_of(row) for row in connection.execute(query)]

    def sealing(self, root: str, manifest_sha256: str) -> Sealing | None:
        same = (sealing_rows.c.root == root) & (sealing_rows.c.manifest_sha256 == manifest_sha256)
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(sealing_rows).where(same)).first()
        return _sealing_of(row) if row else None

    def roots(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(set_rows.c.root)).scalars())

    def concerned(self, parties: Collection[str], digests: Collection[str]) -> set[int]:
        """Numbers of the members that any of these people is in, or that any of these digests names."""
        numbers: set[int] = set()
        with self.engine.connect() as connection:
            for table, column, values in (
                (party_rows, party_rows.c.party_id, parties),
                (digest_rows, digest_rows.c.digest, digests),
            ):
                for some in portions(values):
                    numbers.update(connection.execute(sa.select(table.c.number).where(column.in_(some))).scalars())
        return numbers

    def holding(self, numbers: Collection[int], root: str | None = None) -> dict[str, list[int]]:
        """By root of every snapshot (or of the one named) that holds any of these members: which ones."""
        if not numbers:
            return {}
        ordered, by_root = sorted(numbers), {}
        query = sa.select(set_rows.c.root, set_rows.c.members).order_by(set_rows.c.root)
        with self.engine.connect() as connection:
            for row in connection.execute(query if root is None else query.where(set_rows.c.root == root)):
                bits = row.members
                held = [n for n in ordered if n >> 3 < len(bits) and bits[n >> 3] >> (n & 7) & 1]
                if held:
                    by_root[row.root] = held
        return by_root

    def numbers_in(self, root: str) -> list[int]:
        """The members of one snapshot; none where the root is not known."""
        with self.engine.connect() as connection:
            bits = connection.execute(sa.select(set_rows.c.members).where(set_rows.c.root == root)).scalar() or b""
        return [8 * j + i for j, byte in enumerate(bits) if byte for i in range(8) if byte >> i & 1]

    def members(self, numbers: Iterable[int]) -> dict[int, Member]:
        """The members themselves, by number."""
        return {row.number: _member_of(row) for row in self._rows(member_rows.c.number, numbers)}

    def of_clips(self, clip_ids: Iterable[str]) -> list[Member]:
        """Every member ever sealed of these clips; a clip whose facts changed has several."""
        return [_member_of(row) for row in self._rows(member_rows.c.clip_id, clip_ids)]

    def _rows(self, column: sa.Column[Any], values: Iterable[Any]) -> Iterator[Any]:
        with self.engine.connect() as connection:
            for some in portions(values):
                query = sa.select(member_rows.c.number, member_rows.c.member).where(column.in_(some))
                yield from connection.execute(query.order_by(member_rows.c.number)).all()


def manifest_key(root: str) -> str:
    """Where the store has the manifest of a sealed snapshot."""
    return f"snapshots/{root}/manifest.json"


def sealed_snapshots(home: Home) -> SealedSnapshots:
    """The snapshots, brought up to date with the store: a process killed after sealing left a manifest unrecorded."""
    snapshots = SealedSnapshots(home.database_url)
    recorded = snapshots.roots()
    for root in home.store.folders("snapshots"):
        if root not in recorded:
            _record_stored(home, snapshots, root)
    return snapshots


def record_snapshot(home: Home, manifest: Mapping[str, Any]) -> None:
    """Called with a snapshot that is about to be put into the store."""
    SealedSnapshots(home.database_url).record(manifest, sha256_hex(dict(manifest)))


def _record_stored(home: Home, snapshots: SealedSnapshots, root: str) -> None:
    """A manifest that is not what its root says holds nothing: no model can be shown to rest on it either."""
    try:
        data = home.store.get(manifest_key(root))
        manifest = parse_strictly(data.decode())
        if members_root(manifest["members"]) == root == manifest["root"]:
            snapshots.record(manifest, sha256_hex(data))
    except (FileNotFoundError, UnicodeDecodeError, CanonicalError, KeyError, TypeError):
        return


# -- rows ----------------------------------------------------------------------------------------------------------


def _numbered(connection: sa.Connection, leaves: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Numbers of all these members; those that were never sealed before get one."""
    kept: dict[str, int] = {}
    for some in portions(leaves):
        query = sa.select(member_rows.c.leaf_hash, member_rows.c.number).where(member_rows.c.leaf_hash.in_(some))
        kept |= {row.leaf_hash: row.number for row in connection.execute(query)}
    first = _next_number(connection, member_rows)
    fresh = {leaf: first + i for i, leaf in enumerate(leaf for leaf in leaves if leaf not in kept)}
    for some in portions(fresh):
        rows, people, named = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
        for leaf in some:
            number, member, facts = fresh[leaf], leaves[leaf], _facts(leaves[leaf])
            key = {"number": number, "leaf_hash": leaf, "clip_id": member["clip_id"]}
            rows.append(key | {"member": canonical(member).decode()})
            people += [{"party_id": party, "number": number} for party in sorted(facts.parties)]
            named += [{"digest": digest, "number": number} for digest in sorted(facts.assets)]
        for table, values in ((member_rows, rows), (party_rows, people), (digest_rows, named)):
            if values:
                connection.execute(sa.insert(table), values)
    return sorted((kept | fresh).values())


def _facts(member: Mapping[str, Any]) -> ClipFacts:
    return ClipFacts.from_dict({"properties": [], **member["facts"]})  # facts from before property owners were asked


def _member_of(row: Any) -> Member:
    member = parse_strictly(row.member)
    return Member(row.number, _facts(member), member["media_key"], tuple(member["consent_ids"]))


def _sealing_of(row: Any) -> Sealing:
    fields = {name: row._mapping[name] for name in Sealing.__dataclass_fields__.keys() & row._mapping.keys()}
    opens_at, until = instant(row.opens_at), instant(row.until)
    return Sealing(**fields | {"at": opens_at, "until": until, "audience": Audience(row.territory, row.recipient)})


def _bitmap(numbers: list[int]) -> bytes:
    bits: dict[int, int] = defaultdict(int)
    for number in numbers:
        bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits[j] for j in range(max(bits) + 1)) if bits else b""


def _next_number(connection: sa.Connection, table: sa.Table) -> int:
    return connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.number) + 1, 0))).scalar_one()
