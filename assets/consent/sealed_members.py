"""The graph's first half: which sealed snapshots hold which clips, found by person or by digest in milliseconds.

Belongs here: keeping sealed members in the transactional database (as `graph_rows`), when a snapshot is sealed and
again from any manifest that the store has and this database lacks. What these facts mean for a withdrawal is
`closure`'s business; where the things made of a clip lie is `artifacts`'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from assets.consent.sealed_member_rows import (
    METADATA,
    Member,
    Sealing,
    bitmap,
    chunks,
    digest_rows,
    member_of,
    member_rows,
    next_number,
    numbered,
    party_rows,
    sealing_of,
    sealing_rows,
    set_rows,
)
from assets.home import Home
from training.consent.canonical import CanonicalError, canonical, parse_strictly
from training.consent.database import engine_with, writing


class Graph:
    """The sealed snapshots of one database."""

    def __init__(self, database_url: str) -> None:
        self.engine = engine_with(database_url, METADATA)

    # -- writing -----------------------------------------------------------------------------------------------------

    def record(self, manifest: Mapping[str, Any], manifest_sha256: str) -> None:
        """Keep a sealing and the members that no snapshot had before, in one transaction; again changes nothing."""
        from training.consent.snapshot import member_leaf

        leaves = {member_leaf(member).hex(): member for member in manifest["members"]}
        with writing(self.engine) as connection:
            same = (sealing_rows.c.root == manifest["root"]) & (sealing_rows.c.manifest_sha256 == manifest_sha256)
            if connection.execute(sa.select(sealing_rows.c.number).where(same)).first():
                return
            if not connection.execute(sa.select(set_rows.c.n).where(set_rows.c.root == manifest["root"])).first():
                numbers = numbered(connection, leaves)
                row = {"root": manifest["root"], "n": len(numbers), "members": bitmap(numbers)}
                connection.execute(sa.insert(set_rows), row)
            connection.execute(
                sa.insert(sealing_rows),
                {
                    "number": next_number(connection, sealing_rows),
                    "root": manifest["root"],
                    "manifest_sha256": manifest_sha256,
                    "purpose": manifest["purpose"],
                    "territory": manifest["territory"],
                    "recipient": manifest.get("recipient", "*"),
                    "opens_at": manifest["at"],
                    "until": manifest["until"],
                    "ledger_size": manifest["ledger"]["size"],
                    "ledger_root": manifest["ledger"]["root"],
                },
            )

    # -- reading -----------------------------------------------------------------------------------------------------

    def sealings(self, after: int = -1) -> list[Sealing]:
        """Every sealing with a number above `after`, in the order in which they were recorded."""
        query = sa.select(sealing_rows).where(sealing_rows.c.number > after).order_by(sealing_rows.c.number)
        with self.engine.connect() as connection:
            return [sealing_of(row) for row in connection.execute(query)]

    def sealing(self, root: str, manifest_sha256: str) -> Sealing | None:
        same = (sealing_rows.c.root == root) & (sealing_rows.c.manifest_sha256 == manifest_sha256)
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(sealing_rows).where(same)).first()
        return sealing_of(row) if row else None

    def roots(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(set_rows.c.root)).scalars())

    def concerned(self, parties: Collection[str], digests: Collection[str]) -> set[int]:
        """Numbers of the members that any of these people is in, or that any of these digests names."""
        found: set[int] = set()
        with self.engine.connect() as connection:
            for table, column, values in (
                (party_rows, party_rows.c.party_id, parties),
                (digest_rows, digest_rows.c.digest, digests),
            ):
                for some in chunks(values):
                    found.update(connection.execute(sa.select(table.c.number).where(column.in_(some))).scalars())
        return found

    def holding(self, numbers: Collection[int], root: str | None = None) -> dict[str, list[int]]:
        """By root of every snapshot (or of the one named) that holds any of these members: which ones."""
        if not numbers:
            return {}
        ordered, found = sorted(numbers), {}
        query = sa.select(set_rows.c.root, set_rows.c.members).order_by(set_rows.c.root)
        with self.engine.connect() as connection:
            for row in connection.execute(query if root is None else query.where(set_rows.c.root == root)):
                bits = row.members
                held = [n for n in ordered if n >> 3 < len(bits) and bits[n >> 3] >> (n & 7) & 1]
                if held:
                    found[row.root] = held
        return found

    def numbers_in(self, root: str) -> list[int]:
        """The members of one snapshot; none where the root is not known."""
        with self.engine.connect() as connection:
            bits = connection.execute(sa.select(set_rows.c.members).where(set_rows.c.root == root)).scalar() or b""
        return [8 * j + i for j, byte in enumerate(bits) if byte for i in range(8) if byte >> i & 1]

    def members(self, numbers: Iterable[int]) -> dict[int, Member]:
        """The members themselves, by number."""
        return {row.number: member_of(row) for row in self._rows(member_rows.c.number, numbers)}

    def of_clips(self, clip_ids: Iterable[str]) -> list[Member]:
        """Every member ever sealed of these clips; a clip whose facts changed has several."""
        return [member_of(row) for row in self._rows(member_rows.c.clip_id, clip_ids)]

    def _rows(self, column: sa.Column[Any], values: Iterable[Any]) -> Iterator[Any]:
        with self.engine.connect() as connection:
            for some in chunks(values):
                query = sa.select(member_rows.c.number, member_rows.c.member).where(column.in_(some))
                yield from connection.execute(query.order_by(member_rows.c.number)).all()


def manifest_key(root: str) -> str:
    """Where the store has the manifest of a sealed snapshot."""
    return f"snapshots/{root}/manifest.json"


def graph_of(home: Home) -> Graph:
    """The graph, brought up to date with the store: a process killed after sealing left a manifest unrecorded."""
    graph = Graph(home.database_url)
    known = graph.roots()
    for root in home.store.folders("snapshots"):
        if root not in known:
            _record_stored(home, graph, root)
    return graph


def record_snapshot(home: Home, manifest: Mapping[str, Any]) -> None:
    """Called with a snapshot that is about to be put into the store."""
    Graph(home.database_url).record(manifest, hashlib.sha256(canonical(dict(manifest))).hexdigest())


def _record_stored(home: Home, graph: Graph, root: str) -> None:
    """A manifest that is not what its root says holds nothing: no model can be shown to rest on it either."""
    from training.consent.snapshot import members_root

    try:
        data = home.store.get(manifest_key(root))
        manifest = parse_strictly(data.decode())
        if members_root(manifest["members"]) == root == manifest["root"]:
            graph.record(manifest, hashlib.sha256(data).hexdigest())
    except (FileNotFoundError, UnicodeDecodeError, CanonicalError, KeyError, TypeError):
        return
