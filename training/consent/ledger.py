"""The consent ledger: admitted events in one order, each a salted leaf of a Merkle tree, in a transactional database.

A leaf commits to what was signed and when it was recorded, and holds nothing personal; the event beside it can be
erased without changing any root. Who may enter is decided in `admission`; what events mean, in `state`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from training.consent import merkle
from training.consent.admission import Refusal, Rule, judge
from training.consent.canonical import CanonicalError, canonical, parse_strictly, sha256_hex
from training.consent.checkpoint import Checkpoint, sign_checkpoint
from training.consent.database import create_tables, open_engine, writing
from training.consent.event_schema import MAX_ENVELOPE_BYTES, PLATFORM
from training.consent.events import Envelope, Event, register_key, sign
from training.consent.ledger_tables import checkpoints, events, leaves, metadata, refusals
from training.consent.register import Register
from training.consent.times import instant, parse_time, time_text


class LedgerMissing(FileNotFoundError):
    """There is no ledger at this address. Without one nobody has consented to anything."""


class LedgerBroken(ValueError):
    """The ledger is not what was appended; `problems` says all that is wrong, in sentences."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems[:5]) + (f" and {len(problems) - 5} more" if len(problems) > 5 else ""))
        self.problems = problems


@dataclass(frozen=True)
class Admitted:
    """`already` is true when the same envelope was admitted before; nothing was written then."""

    seq: int
    leaf_hash: str
    recorded_at: datetime
    already: bool = False


@dataclass(frozen=True)
class Refused:
    rule: Rule
    detail: str
    event_sha256: str


def commitment_leaf(salt: bytes, recorded_at: str, body: bytes, signature: bytes) -> bytes:
    """SHA-256(0x00 || SHA-256(salt || recorded_at || body || signature)).

    Salt (32 bytes), time (20) and signature (64) have fixed lengths, so no two entries read the same. The time is
    committed to because the time rules rest on it.
    """
    return merkle.leaf_hash(hashlib.sha256(salt + recorded_at.encode("ascii") + body + signature).digest())


class Ledger:
    """The ledger in the database at `url`, made there unless `create` is false (then LedgerMissing is raised)."""

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = url
        if not create:
            _require_file(url)
        self.engine = open_engine(url)
        if create:
            create_tables(self.engine, metadata)
        elif not sa.inspect(self.engine).has_table(leaves.name):
            raise LedgerMissing(f"no consent ledger in {self.engine.url!r}")
        self._forget()

    def _forget(self) -> None:
        """Start again with the fold of the first `_known` events, the last of which was recorded at `_recorded`."""
        self._register, self._known, self._recorded = Register(), 0, ""

    # -- writing -----------------------------------------------------------------------------------------------------

    def append(self, envelope: Envelope | str, now: datetime) -> Admitted | Refused:
        """Admit one envelope, or keep the refusal with the rule that it broke."""
        return self.append_many([envelope], now)[0]

    def append_many(self, envelopes: Iterable[Envelope | str], now: datetime) -> list[Admitted | Refused]:
        """Judge envelopes (objects, or JSON text as received) in order, in one transaction; one outcome each."""
        now = instant(now)
        try:
            with writing(self.engine) as connection:
                self._catch_up(connection)
                return [self._append(connection, envelope, now) for envelope in envelopes]
        except BaseException:
            self._forget()  # what was folded in may have been rolled back
            raise

    def _append(self, connection: sa.Connection, received: Envelope | str, now: datetime) -> Admitted | Refused:
        raw = received.encode("utf-8", "surrogatepass") if isinstance(received, str) else None
        try:
            if raw is not None and len(raw) > MAX_ENVELOPE_BYTES:
                return self._refuse(connection, raw, Refusal(Rule.SIZE, f"{len(raw)} bytes"), now)
            line = canonical(parse_strictly(received) if isinstance(received, str) else received)
            envelope = parse_strictly(line.decode())  # judged as it is kept: normalised
        except CanonicalError as error:
            shown = raw if raw is not None else repr(received).encode("utf-8", "replace")
            return self._refuse(connection, shown, Refusal(Rule.MALFORMED, str(error)), now)
        if len(line) > MAX_ENVELOPE_BYTES:
            return self._refuse(connection, raw or line, Refusal(Rule.SIZE, f"{len(line)} bytes"), now)
        if known := self._known_envelope(connection, sha256_hex(line)):
            return known
        recorded = max(time_text(now), self._recorded)  # a clock that steps back never reorders the ledger
        if refusal := judge(self._register, envelope, parse_time(recorded)):
            return self._refuse(connection, raw or line, refusal, now)
        return self._admit(connection, envelope, line, recorded)

    def _admit(self, connection: sa.Connection, envelope: Envelope, line: bytes, recorded: str) -> Admitted:
        salt, seq, body = secrets.token_bytes(32), self._known, envelope["body"]
        leaf = commitment_leaf(salt, recorded, canonical(body), bytes.fromhex(envelope["sig"])).hex()
        connection.execute(leaves.insert().values(seq=seq, leaf_hash=leaf, recorded_at=recorded))
        connection.execute(
            events.insert().values(
                seq=seq,
                event_id=body["event_id"],
                consent_id=body.get("consent_id"),
                party_id=body["party_id"],
                envelope_sha256=sha256_hex(line),
                salt=salt,
                envelope=line.decode(),
            )
        )
        self._register.record(envelope)
        self._known, self._recorded = seq + 1, recorded
        return Admitted(seq, leaf, parse_time(recorded))

    def _refuse(self, connection: sa.Connection, received: bytes, refusal: Refusal, now: datetime) -> Refused:
        digest = hashlib.sha256(received).hexdigest()
        seen = sa.select(refusals.c.id).where(refusals.c.event_sha256 == digest, refusals.c.rule == refusal.rule.value)
        if connection.execute(seen).first() is None:
            kept = received[:MAX_ENVELOPE_BYTES].decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
            connection.execute(
                refusals.insert().values(
                    event_sha256=digest,
                    rule=refusal.rule.value,
                    detail=refusal.detail[:1000],
                    refused_at=time_text(now),
                    received=kept,
                )
            )
        return Refused(refusal.rule, refusal.detail, digest)

    def _known_envelope(self, connection: sa.Connection, digest: str) -> Admitted | None:
        query = sa.select(leaves).join(events, events.c.seq == leaves.c.seq).where(events.c.envelope_sha256 == digest)
        row = connection.execute(query).first()
        return Admitted(row.seq, row.leaf_hash, parse_time(row.recorded_at), already=True) if row else None

    def _catch_up(self, connection: sa.Connection) -> None:
        """Fold in what other writers appended since."""
        for row in connection.execute(_entries().where(leaves.c.seq >= self._known)):
            if row.envelope is not None:
                self._register.record(parse_strictly(row.envelope))
            self._known, self._recorded = row.seq + 1, row.recorded_at

    def found(self, platform_key: Ed25519PrivateKey, now: datetime) -> None:
        """Begin the ledger with the platform's key, unless it has begun. Raises ValueError where another key began it."""
        body = register_key(PLATFORM, platform_key, instant(now), event_id="genesis")
        genesis = next(iter(self.events(upto=1)), None)
        if genesis is None:
            outcome = self.append(sign(body, platform_key), now)
            if isinstance(outcome, Refused):
                raise ValueError(f"the ledger cannot be founded: {outcome.detail}")
        elif genesis.body.get("public_key") != body["public_key"]:
            raise ValueError("this ledger was founded with another platform key")

    # -- reading -----------------------------------------------------------------------------------------------------

    def size(self) -> int:
        with self.engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(leaves)).scalar_one()

    def events(self, upto: int | None = None, since: int = 0) -> list[Event]:
        """Events `since` .. `upto` (exclusive) in order; erased ones are left out."""
        query = _entries().where(leaves.c.seq >= since, leaves.c.seq < (upto if upto is not None else 1 << 62))
        with self.engine.connect() as connection:
            return [event for row in connection.execute(query) if (event := _event(row)) is not None]

    def find(self, event_id: str) -> Event | None:
        """The event of this identity, None when there is none or it was erased."""
        with self.engine.connect() as connection:
            row = connection.execute(_entries().where(events.c.event_id == event_id)).first()
        return _event(row) if row is not None else None

    def leaves(self, upto: int | None = None) -> list[bytes]:
        query = sa.select(leaves.c.leaf_hash).order_by(leaves.c.seq).limit(upto)
        with self.engine.connect() as connection:
            return [bytes.fromhex(row.leaf_hash) for row in connection.execute(query)]

    def head(self, upto: int | None = None) -> Checkpoint:
        """The ledger as it stands, or as it stood after `upto` events."""
        query = sa.select(leaves.c.leaf_hash, leaves.c.recorded_at).order_by(leaves.c.seq).limit(upto)
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        root = merkle.root([bytes.fromhex(row.leaf_hash) for row in rows])
        return Checkpoint(len(rows), root.hex(), parse_time(rows[-1].recorded_at) if rows else None)

    def refusals(self) -> list[dict[str, Any]]:
        """Refusals in order: id, event_sha256, rule, detail, refused_at, received."""
        with self.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(sa.select(refusals).order_by(refusals.c.id))]

    def standing_refusals(self) -> list[dict[str, Any]]:
        """The latest refusal of each envelope that is still refused, by digest; one admitted since is left out."""
        latest = {row["event_sha256"]: row for row in self.refusals()}
        with self.engine.connect() as connection:
            admitted = {row.envelope_sha256 for row in connection.execute(sa.select(events.c.envelope_sha256))}
        return [latest[digest] for digest in sorted(latest) if _identity(latest[digest]["received"]) not in admitted]

    # -- proving -----------------------------------------------------------------------------------------------------

    def checkpoint_signed(self, key: Ed25519PrivateKey) -> dict[str, Any]:
        """The head, signed and kept: from now on the ledger cannot be rewritten below it unnoticed."""
        signed = sign_checkpoint(self.head(), key)
        with writing(self.engine) as connection:
            kept = sa.select(checkpoints.c.size).where(checkpoints.c.size == signed["size"])
            if connection.execute(kept).first() is None:
                connection.execute(checkpoints.insert().values({k: v for k, v in signed.items() if k != "schema"}))
        return signed

    def verify(self) -> None:
        """Re-read everything with suspicion (see `audit`); raises LedgerBroken with all that is wrong.

        Sequence and times ascend, every leaf recomputes from its event, every event is admissible after those before
        it (signatures included), only declared erasures are missing, every kept checkpoint is that of a prefix.
        """
        from training.consent.audit import audit

        if problems := list(audit(self)):
            raise LedgerBroken(problems)

    def rows(self, connection: sa.Connection) -> Iterator[Any]:
        """Raw entries in order: seq, leaf_hash, recorded_at and, unless erased, salt and envelope; `erased` says so."""
        yield from connection.execute(_entries())


def _entries() -> Any:
    return (
        sa.select(leaves, events.c.salt, events.c.envelope)
        .outerjoin(events, events.c.seq == leaves.c.seq)
        .order_by(leaves.c.seq)
    )


def _identity(received: str) -> str | None:
    try:
        return sha256_hex(canonical(parse_strictly(received)))
    except CanonicalError:
        return None


def _event(row: Any) -> Event | None:
    if row.envelope is None:
        return None
    envelope = parse_strictly(row.envelope)
    return Event(row.seq, parse_time(row.recorded_at), envelope["body"], envelope["key_id"], row.leaf_hash)


def _require_file(url: str) -> None:
    parsed = sa.engine.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        from pathlib import Path

        if not parsed.database or not Path(parsed.database).is_file():
            raise LedgerMissing(f"no consent ledger at {parsed.database}")
