"""The consent ledger, written: how events enter and leave it, what it refused, and what it proves.

Reading is `training.consent.ledger`'s, which this class extends. How an envelope enters is in `intake`, which may enter in
`admission`, what events mean in `training.consent.state`, how all of it is re-read with suspicion in `audit`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assets.consent import erasure, intake
from assets.consent.audit import audit
from assets.consent.intake import Admitted, Received, Refused
from assets.consent.ledger_tables import checkpoints, refusals
from assets.database import create_tables, grant_writer, writing
from training.consent import tree
from training.consent.database import open_engine
from training.consent.events import PLATFORM, register_key, sign
from training.consent.keys import sign_checkpoint
from training.consent.ledger import LedgerReader
from training.consent.tables import events, leaves, metadata
from training.consent.times import instant, time_text


class LedgerBroken(ValueError):
    """The ledger is not what was appended; `problems` says all that is wrong, in sentences."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems[:5]) + (f" and {len(problems) - 5} more" if len(problems) > 5 else ""))
        self.problems = problems


class Ledger(LedgerReader):
    """The ledger in the database at `url`, made there where it is missing."""

    def _open(self, url: str) -> sa.Engine:
        engine = open_engine(url)
        create_tables(engine, metadata)
        return engine

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

    def refusals(self) -> list[dict[str, Any]]:
        """Refusals in order: event_sha256, rule, detail, refused_at, received, received_bytes and more."""
        return self._rows(sa.select(refusals).order_by(refusals.c.id))

    def standing_refusals(self) -> list[dict[str, Any]]:
        """The latest refusal of each envelope that is still refused, by digest; one admitted since is left out."""
        later = refusals.alias("later")
        overtaken = sa.exists().where(later.c.event_sha256 == refusals.c.event_sha256, later.c.id > refusals.c.id)
        admitted = sa.exists().where(events.c.envelope_sha256 == refusals.c.envelope_sha256)
        query = sa.select(refusals).where(~overtaken, ~admitted).order_by(refusals.c.event_sha256)
        return self._rows(query)

    def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    # -- proving -----------------------------------------------------------------------------------------------------

    def leaves(self, upto: int | None = None) -> list[bytes]:
        """Every leaf; a root or a proof does not need them."""
        query = sa.select(leaves.c.leaf_hash).order_by(leaves.c.seq).limit(upto)
        with self.engine.connect() as connection:
            return [bytes.fromhex(row[0]) for row in connection.execute(query)]

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
        if problems := list(audit(self, workers)):
            raise LedgerBroken(problems)
