"""How an envelope enters the ledger: read as received, judged on what was admitted before, written with its leaf.

Every call judges from the database as it stands, so that writers in other processes are always seen. Nothing that is
offered, however malformed, gets further than the refusals. The rules themselves are in `admission`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from assets.consent.admission import Needs, Refusal, Register, Rule, judge, judge_times, needs
from assets.consent.erasure import Erased
from assets.consent.event_schema import MAX_ENVELOPE_BYTES
from assets.consent.ledger_tables import refusals
from training.consent import merkle, tree
from training.consent.canonical import CanonicalError, canonical, parse_strictly, sha256_hex
from training.consent.database import portions
from training.consent.events import CONSENT_TYPES, IDENTITY_TYPES, Envelope
from training.consent.tables import TILE, events, leaf_of, leaves, not_erased, sortable_time, subtrees
from training.consent.times import parse_time, time_text

_LONGEST_DETAIL = 1000
_CHUNK = 1000  # envelopes judged on one look at the past and written together

Received = Envelope | str | bytes


@dataclass(frozen=True)
class Admitted:
    """`already` is true when the same envelope was admitted before; nothing was written then."""

    seq: int
    leaf_hash: str
    recorded_at: datetime
    already: bool = False


@dataclass(frozen=True)
class Refused:
    """`event_sha256` is the digest of what was received, byte for byte."""

    rule: Rule
    detail: str
    event_sha256: str


@dataclass(frozen=True)
class Offer:
    """What was received and, unless that `problem` prevents it, the envelope in canonical form and its identity."""

    received: bytes
    problem: Refusal | None = None
    envelope: Any = None
    line: bytes | None = None

    @classmethod
    def read(cls, received: Received) -> Offer:
        """Never raises: what cannot be read is an offer with a problem."""
        raw = received.encode("utf-8", "surrogatepass") if isinstance(received, str) else received
        if isinstance(raw, bytes) and len(raw) > MAX_ENVELOPE_BYTES:
            return cls(raw, Refusal(Rule.SIZE, f"{len(raw)} bytes; an envelope has at most {MAX_ENVELOPE_BYTES}"))
        try:
            envelope = parse_strictly(raw.decode()) if isinstance(raw, bytes) else raw
            line = canonical(envelope)
            if line != raw:
                envelope = parse_strictly(line.decode())  # judged as it is kept: normalised
        except (CanonicalError, UnicodeDecodeError) as error:
            return cls(raw if isinstance(raw, bytes) else _shown(raw), Refusal(Rule.MALFORMED, str(error)))
        raw = raw if isinstance(raw, bytes) else line
        if len(line) > MAX_ENVELOPE_BYTES:
            return cls(raw, Refusal(Rule.SIZE, f"{len(line)} bytes; an envelope has at most {MAX_ENVELOPE_BYTES}"))
        return cls(raw, None, envelope, line)

    @property
    def digest(self) -> str:
        return sha256_hex(self.line or b"")


def _shown(value: Any) -> bytes:
    """A value that is no JSON, as Python shows it."""
    try:
        return repr(value).encode("utf-8", "replace")
    except Exception:  # a foreign object's own failing, such as a recursion without end
        return f"<{type(value).__name__}>".encode()


@dataclass
class _Batch:
    """What one chunk adds, in order, before it is written."""

    recorded_at: str
    size: int
    leaves: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)

    def admit(self, offer: Offer) -> Admitted:
        assert offer.line is not None
        salt, seq, envelope = secrets.token_bytes(32), self.size, offer.envelope
        leaf = leaf_of(salt, self.recorded_at, envelope).hex()
        self.leaves.append({"seq": seq, "leaf_hash": leaf, "recorded_at": self.recorded_at})
        kept = {"envelope_sha256": offer.digest, "salt": salt, "envelope": offer.line.decode()}
        self.events.append({"seq": seq, **search_columns(envelope), **kept})
        self.size += 1
        return Admitted(seq, leaf, parse_time(self.recorded_at))

    def refuse(self, offer: Offer, refusal: Refusal, now: str) -> Refused:
        """Of a long envelope the beginning is kept, of one that was erased nothing but digests."""
        body = offer.envelope.get("body") if isinstance(offer.envelope, dict) else None
        consent_id = body.get("consent_id") if isinstance(body, dict) else None
        digest = sha256_hex(offer.received)
        row = {
            "event_sha256": digest,
            "rule": refusal.rule.value,
            "detail": _text(refusal.detail.encode("utf-8", "replace")[:_LONGEST_DETAIL]),
            "refused_at": now,
            "received": "" if refusal.rule is Rule.ERASED else _text(offer.received[:MAX_ENVELOPE_BYTES]),
            "received_bytes": len(offer.received),
            "envelope_sha256": offer.digest if offer.line is not None else None,
            "consent_id_sha256": sha256_hex(consent_id.encode()) if isinstance(consent_id, str) else None,
        }
        self.refusals.append(row)
        return Refused(refusal.rule, refusal.detail, digest)

    def write(self, connection: sa.Connection) -> None:
        if self.leaves:
            connection.execute(leaves.insert(), self.leaves)
            connection.execute(events.insert(), self.events)
        keep_refusals(connection, self.refusals)


def take_in(connection: sa.Connection, received: Iterable[Received], now: datetime) -> list[Admitted | Refused]:
    """One outcome for each, in order; within one transaction of the only writer."""
    outcomes: list[Admitted | Refused] = []
    offers = map(Offer.read, received)
    while chunk := list(islice(offers, _CHUNK)):
        outcomes += _take_in_chunk(connection, chunk, now)
    grow(connection)
    return outcomes


def _take_in_chunk(connection: sa.Connection, offers: list[Offer], now: datetime) -> list[Admitted | Refused]:
    readable = [offer for offer in offers if offer.problem is None]
    erased = Erased.among(connection, {offer.digest: offer.envelope for offer in readable})
    admitted_before = _known(connection, (offer.digest for offer in readable))
    register = register_for(connection, needs(o.envelope for o in readable if o.digest not in admitted_before))
    last = connection.execute(sa.select(leaves).order_by(leaves.c.seq.desc()).limit(1)).first()
    # a clock that steps back reorders nothing
    batch = _Batch(max(time_text(now), last.recorded_at), last.seq + 1) if last else _Batch(time_text(now), 0)
    judged_at, outcomes = parse_time(batch.recorded_at), list[Admitted | Refused]()
    for offer in offers:
        refusal = offer.problem or erased.refusal(offer.digest, offer.envelope)
        if not refusal and offer.digest in admitted_before:
            outcomes.append(replace(admitted_before[offer.digest], already=True))
        # whether its times are plausible goes by the clock: the ledger's own times may have leapt ahead
        elif refusal := (
            refusal or judge(register, offer.envelope, judged_at) or judge_times(offer.envelope["body"], now)
        ):
            outcomes.append(batch.refuse(offer, refusal, time_text(now)))
        else:
            admitted = batch.admit(offer)
            register.record(offer.envelope)
            admitted_before[offer.digest] = admitted
            outcomes.append(admitted)
    batch.write(connection)
    return outcomes


def _known(connection: sa.Connection, digests: Iterable[str]) -> dict[str, Admitted]:
    """Envelopes that are in the ledger already, by digest."""
    admitted = {}
    for some in portions(digests):
        query = sa.select(leaves, events.c.envelope_sha256).join(events, events.c.seq == leaves.c.seq)
        for row in connection.execute(query.where(events.c.envelope_sha256.in_(some))):
            admitted[row.envelope_sha256] = Admitted(row.seq, row.leaf_hash, parse_time(row.recorded_at))
    return admitted


def grow(connection: sa.Connection) -> None:
    """Keep the hash of every subtree that has become complete; in the transaction that wrote the leaves."""
    level, children = 1, tree.size(connection)
    while complete := children // TILE:
        kept = sa.select(sa.func.max(subtrees.c.position)).where(subtrees.c.level == level)
        last = connection.execute(kept).scalar()
        for position in range(0 if last is None else last + 1, complete):
            node = merkle.root(tree.hashes(connection, level - 1, position * TILE, (position + 1) * TILE))
            connection.execute(subtrees.insert().values(level=level, position=position, hash=node.hex()))
        level, children = level + 1, complete


# -- what a judgement rests on ---------------------------------------------------------------------------------------


def register_for(connection: sa.Connection, needs: Needs, before: int | None = None) -> Register:
    """The register as far as a judgement with these needs may look, folded from the events ahead of `before`."""
    earlier = [not_erased(), *([] if before is None else [events.c.seq < before])]

    def named(column: sa.Column[Any], names: Collection[str], *types: str) -> Iterator[Any]:
        where = [*earlier, events.c.type.in_(types)] if types else earlier
        # what no database can hold is nowhere in it; no identifier that the schema lets in is such a name
        for some in portions(name for name in names if len(name) <= 128 and "\x00" not in name):
            query = sa.select(events.c.seq, events.c.event_id, events.c.envelope)
            yield from connection.execute(query.where(column.in_(some), *where))

    rows = [
        *named(events.c.party_id, needs.parties, *IDENTITY_TYPES),
        *named(events.c.key_id, needs.keys, *IDENTITY_TYPES),
        *named(events.c.consent_id, needs.consents, *CONSENT_TYPES),
        *named(events.c.dispute_id, needs.disputes),
    ]
    register = Register()
    for _, envelope in sorted({(row.seq, row.envelope) for row in rows}):
        register.record(parse_strictly(envelope))
    register.event_ids.update(row.event_id for row in named(events.c.event_id, needs.event_ids))
    return register


# -- rows ------------------------------------------------------------------------------------------------------------


def search_columns(envelope: Envelope) -> dict[str, str | None]:
    """What `consent_event` repeats of a valid envelope, so that events are found by index."""
    body = envelope["body"]
    expires_at = body.get("expires_at")
    return {
        "event_id": body["event_id"],
        "type": body["type"],
        "party_id": body["party_id"],
        "consent_id": body.get("consent_id"),
        "dispute_id": body.get("dispute_id"),
        "key_id": envelope["key_id"] if body["type"] == "register_key" else body.get("key_id"),
        "expires_at": sortable_time(expires_at) if expires_at else None,
    }


def _text(received: bytes) -> str:
    """As text that every database can hold; what is not becomes U+FFFD."""
    return received.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def keep_refusals(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write those that are not kept yet: one for each envelope and rule."""
    fresh = {(row["event_sha256"], row["rule"]): row for row in reversed(rows)}  # the first of equal ones
    for digests in portions(digest for digest, _ in fresh):
        kept = sa.select(refusals.c.event_sha256, refusals.c.rule).where(refusals.c.event_sha256.in_(digests))
        for row in connection.execute(kept):
            fresh.pop((row.event_sha256, row.rule), None)
    if fresh:
        connection.execute(refusals.insert(), list(reversed(fresh.values())))
