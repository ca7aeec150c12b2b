"""The consent ledger: admitted events in one order, each a salted leaf of a Merkle tree, in a transactional database.

This is the ledger as the rest of the platform sees it. A leaf commits to what was signed and when it was recorded, and
holds nothing personal; the event beside it can be erased without changing any root. How an envelope enters is in
`intake`, which may enter in `admission`, what events mean in `state`, how the tree is kept in `tree`, how all of it is
re-read with suspicion in `audit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from training.consent.checkpoint import Checkpoint, sign_checkpoint
from training.consent.database import create_tables, grant_writer, open_engine, writing
from training.consent.event_schema import PLATFORM
from training.consent.events import Event, register_key, sign
from training.consent.ledger import erasure, intake, reading, refusals, tree
from training.consent.ledger.intake import Admitted, Received
from training.consent.ledger.refusals import Refused
from training.consent.ledger.tables import checkpoints, events, leaves, metadata
from training.consent.times import instant, parse_time, time_text


class LedgerMissing(FileNotFoundError):
    """There is no ledger at this address. Without one nobody has consented to anything."""


class LedgerBroken(ValueError):
    """The ledger is not what was appended; `problems` says all that is wrong, in sentences."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems[:5]) + (f" and {len(problems) - 5} more" if len(problems) > 5 else ""))
        self.problems = problems


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

    # -- writing -----------------------------------------------------------------------------------------------------

    def found(self, platform_key: Ed25519PrivateKey, now: datetime) -> None:
        """Begin the ledger with the platform's key, unless it has begun. Raises ValueError where another key began it."""
        body = register_key(PLATFORM, platform_key, instant(now), event_id="genesis")
        if (genesis := self.entry(0)) is None:
            self.append(sign(body, platform_key), now)
            genesis = self.entry(0)  # somebody else's, where two began it at once
        if genesis is None or genesis.body.get("public_key") != body["public_key"]:
            raise ValueError("this ledger was founded with another platform key")

    def append(self, envelope: Received, now: datetime) -> Admitted | Refused:
        """Admit one envelope, or keep the refusal with the rule that it broke."""
        return self.append_many([envelope], now)[0]

    def append_many(self, envelopes: Iterable[Received], now: datetime) -> list[Admitted | Refused]:
        """Judge envelopes (objects, or JSON as received) in order and commit once; one outcome each.

        Other writers wait meanwhile, for up to a minute: offer some ten thousand at a time.
        """
        now = instant(now)
        with writing(self.engine) as connection:
            return intake.take_in(connection, envelopes, now)

    def erase(self, consent_id: str, reason: str, now: datetime) -> tuple[int, ...]:
        """Erase every event of one revoked consent, or raise ErasureError (see `erasure`); returns their places."""
        with writing(self.engine) as connection:
            places = erasure.erase(connection, consent_id, reason, time_text(now))
        erasure.scrub(self.engine)
        return places

    def grant_writer(self, role: str) -> None:
        """On PostgreSQL, let `role` read and append without owning the tables (see `database.grant_writer`)."""
        grant_writer(self.engine, role, metadata)

    # -- reading -----------------------------------------------------------------------------------------------------

    def size(self) -> int:
        """Number of entries, erased ones included."""
        with self.engine.connect() as connection:
            return tree.size(connection)

    def events(self, upto: int | None = None, since: int = 0, parties: Iterable[str] | None = None) -> list[Event]:
        """Events `since` .. `upto` (exclusive) in order; erased ones are left out.

        With `parties`, only consent and identity events of these, by index.
        """
        with self.engine.connect() as connection:
            if parties is not None:
                return reading.events_of_parties(connection, parties, since, upto)
            return list(reading.events_between(connection, since, upto))

    def iter_events(self, upto: int | None = None, since: int = 0) -> Iterator[Event]:
        """As `events`, a few at a time, for a ledger that does not fit into memory."""
        with self.engine.connect() as connection:
            yield from reading.events_between(connection, since, upto)

    def of_consent(self, consent_id: str) -> list[Event]:
        """Every event of one consent in order, a stranger's under the same name included; none when erased."""
        with self.engine.connect() as connection:
            return reading.events_of_consent(connection, consent_id)

    def disputes(self, upto: int | None = None) -> list[Event]:
        """Every dispute and every decision, in order."""
        with self.engine.connect() as connection:
            return reading.disputes(connection, upto)

    def entry(self, seq: int) -> Event | None:
        """The event at a place, None when there is none or it was erased."""
        with self.engine.connect() as connection:
            return next(reading.read_events(connection, events.c.seq == seq), None)

    def find(self, event_id: str) -> Event | None:
        """The event of this identity, None when there is none or it was erased."""
        with self.engine.connect() as connection:
            return next(reading.read_events(connection, events.c.event_id == event_id), None)

    def parties_since(self, seq: int) -> set[str]:
        """Parties to whose consents or guardians something happened from `seq` on."""
        with self.engine.connect() as connection:
            return reading.parties_since(connection, seq)

    def disputed_since(self, seq: int) -> set[str]:
        """Digests of footage about which a dispute was opened or decided from `seq` on."""
        with self.engine.connect() as connection:
            return reading.disputed_since(connection, seq)

    def ending_between(self, after: datetime, upto: datetime) -> set[str]:
        """Parties with terms whose `expires_at` lies in (after, upto]."""
        with self.engine.connect() as connection:
            return reading.ending_between(connection, after, upto)

    def refusals(self) -> list[dict[str, Any]]:
        """Refusals in order: event_sha256, rule, detail, refused_at, received, received_bytes and more."""
        with self.engine.connect() as connection:
            return refusals.all_refusals(connection)

    def standing_refusals(self) -> list[dict[str, Any]]:
        """The latest refusal of each envelope that is still refused, by digest; one admitted since is left out."""
        with self.engine.connect() as connection:
            return refusals.standing_refusals(connection)

    # -- proving -----------------------------------------------------------------------------------------------------

    def leaves(self, upto: int | None = None) -> list[bytes]:
        """Every leaf; a root or a proof does not need them."""
        query = sa.select(leaves.c.leaf_hash).order_by(leaves.c.seq).limit(upto)
        with self.engine.connect() as connection:
            return [bytes.fromhex(row[0]) for row in connection.execute(query)]

    def head(self, upto: int | None = None) -> Checkpoint:
        """The ledger as it stands, or as it stood after `upto` events."""
        with self.engine.connect() as connection:
            size = tree.size(connection)
            size = size if upto is None else min(size, upto)
            last = connection.execute(sa.select(leaves.c.recorded_at).where(leaves.c.seq == size - 1)).scalar()
            return Checkpoint(size, tree.root(connection, size).hex(), parse_time(last) if last else None)

    def inclusion_proof(self, seq: int, size: int) -> list[bytes]:
        """That entry `seq` is in the ledger of `size` entries (see `merkle.verify_inclusion`); raises IndexError."""
        with self.engine.connect() as connection:
            return tree.inclusion_proof(connection, seq, size)

    def consistency_proof(self, first: int, second: int) -> list[bytes]:
        """That the ledger of `first` entries begins the one of `second` (`merkle.verify_consistency`); raises IndexError."""
        with self.engine.connect() as connection:
            return tree.consistency_proof(connection, first, second)

    def checkpoint_signed(self, key: Ed25519PrivateKey) -> dict[str, Any]:
        """The head, signed and kept: from now on the ledger cannot be rewritten below it unnoticed."""
        signed = sign_checkpoint(self.head(), key)
        with writing(self.engine) as connection:
            kept = sa.select(checkpoints.c.size).where(checkpoints.c.size == signed["size"])
            if connection.execute(kept).first() is None:
                connection.execute(checkpoints.insert().values({k: v for k, v in signed.items() if k != "schema"}))
        return signed

    def verify(self, workers: int | None = None) -> None:
        """Re-read everything with suspicion (see `audit`); raises LedgerBroken with all that is wrong.

        `workers` processes share the work, by default one for each core; 1 does it in this process.
        """
        from training.consent.ledger.audit import audit

        if problems := list(audit(self, workers)):
            raise LedgerBroken(problems)


def _require_file(url: str) -> None:
    parsed = sa.engine.make_url(url)
    if parsed.get_backend_name() == "sqlite" and not (parsed.database and Path(parsed.database).is_file()):
        raise LedgerMissing(f"no consent ledger at {parsed.database}")
