"""How an envelope enters the ledger: read as received, judged on what was admitted before, written with its leaf.

Every call judges from the database as it stands, so that writers in other processes are always seen. Nothing that is
offered, however malformed, gets further than the refusals. The rules themselves are in `admission`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from training.consent.admission import Refusal, Rule, judge, judge_times
from training.consent.canonical import CanonicalError, canonical, parse_strictly, sha256_hex
from training.consent.event_schema import MAX_ENVELOPE_BYTES
from training.consent.events import Envelope
from training.consent.ledger import tree
from training.consent.ledger.entry import commitment_leaf, search_columns
from training.consent.ledger.erasure import Erased
from training.consent.ledger.reading import portions, register_for
from training.consent.ledger.refusals import Refused, keep_refusals, refusal_row
from training.consent.ledger.tables import events, leaves
from training.consent.register import needs
from training.consent.times import parse_time, time_text

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
        signature = bytes.fromhex(envelope["sig"])
        leaf = commitment_leaf(salt, self.recorded_at, canonical(envelope["body"]), signature).hex()
        self.leaves.append({"seq": seq, "leaf_hash": leaf, "recorded_at": self.recorded_at})
        kept = {"envelope_sha256": offer.digest, "salt": salt, "envelope": offer.line.decode()}
        self.events.append({"seq": seq, **search_columns(envelope), **kept})
        self.size += 1
        return Admitted(seq, leaf, parse_time(self.recorded_at))

    def refuse(self, offer: Offer, refusal: Refusal, now: str) -> Refused:
        row = refusal_row(offer.received, offer.envelope, offer.line, refusal, now)
        self.refusals.append(row)
        return Refused(refusal.rule, refusal.detail, row["event_sha256"])

    def write(self, connection: sa.Connection) -> None:
        if self.leaves:
            connection.execute(leaves.insert(), self.leaves)
            connection.execute(events.insert(), self.events)
        keep_refusals(connection, self.refusals)


def take_in(connection: sa.Connection, received: Iterable[Received], now: datetime) -> list[Admitted | Refused]:
    """One outcome for each, in order; within one transaction of the only writer."""
    outcomes: list[Admitted | Refused] = []
    for offers in _chunks(map(Offer.read, received)):
        outcomes += _take_in_chunk(connection, offers, now)
    tree.grow(connection)
    return outcomes


def _chunks(offers: Iterator[Offer]) -> Iterator[list[Offer]]:
    while chunk := list(islice(offers, _CHUNK)):
        yield chunk


def _take_in_chunk(connection: sa.Connection, offers: list[Offer], now: datetime) -> list[Admitted | Refused]:
    readable = [offer for offer in offers if offer.problem is None]
    erased = Erased.among(connection, {offer.digest: offer.envelope for offer in readable})
    known = _known(connection, (offer.digest for offer in readable))
    register = register_for(connection, needs(o.envelope for o in readable if o.digest not in known))
    last = connection.execute(sa.select(leaves).order_by(leaves.c.seq.desc()).limit(1)).first()
    # a clock that steps back reorders nothing
    batch = _Batch(max(time_text(now), last.recorded_at), last.seq + 1) if last else _Batch(time_text(now), 0)
    judged_at, outcomes = parse_time(batch.recorded_at), list[Admitted | Refused]()
    for offer in offers:
        refusal = offer.problem or erased.refusal(offer.digest, offer.envelope)
        if not refusal and offer.digest in known:
            outcomes.append(replace(known[offer.digest], already=True))
        elif refusal := refusal or judge(register, offer.envelope, judged_at) or _judge_times(offer, now):
            outcomes.append(batch.refuse(offer, refusal, time_text(now)))
        else:
            admitted = batch.admit(offer)
            register.record(offer.envelope)
            known[offer.digest] = admitted
            outcomes.append(admitted)
    batch.write(connection)
    return outcomes


def _judge_times(offer: Offer, now: datetime) -> Refusal | None:
    return judge_times(offer.envelope["body"], now)  # by the clock: the ledger's own times may have leapt ahead


def _known(connection: sa.Connection, digests: Iterable[str]) -> dict[str, Admitted]:
    """Envelopes that are in the ledger already, by digest."""
    known = {}
    for some in portions(digests):
        query = sa.select(leaves, events.c.envelope_sha256).join(events, events.c.seq == leaves.c.seq)
        for row in connection.execute(query.where(events.c.envelope_sha256.in_(some))):
            known[row.envelope_sha256] = Admitted(row.seq, row.leaf_hash, parse_time(row.recorded_at))
    return known
