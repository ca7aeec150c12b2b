"""What the ledger refused, and why. A refusal changes nothing else, and is kept once however often it is repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from training.consent.admission import Refusal, Rule
from training.consent.canonical import sha256_hex
from training.consent.event_schema import MAX_ENVELOPE_BYTES
from training.consent.ledger.reading import portions
from training.consent.ledger.tables import events, refusals

_LONGEST_DETAIL = 1000


@dataclass(frozen=True)
class Refused:
    """`event_sha256` is the digest of what was received, byte for byte."""

    rule: Rule
    detail: str
    event_sha256: str


def refusal_row(
    received: bytes, envelope: Any, line: bytes | None, refusal: Refusal, refused_at: str
) -> dict[str, Any]:
    """What is kept of a refused envelope: of a long one the beginning, of one that was erased nothing but digests."""
    return {
        "event_sha256": hashlib.sha256(received).hexdigest(),
        "rule": refusal.rule.value,
        "detail": _text(refusal.detail.encode("utf-8", "replace")[:_LONGEST_DETAIL]),
        "refused_at": refused_at,
        "received": "" if refusal.rule is Rule.ERASED else _text(received[:MAX_ENVELOPE_BYTES]),
        "received_bytes": len(received),
        "envelope_sha256": sha256_hex(line) if line is not None else None,
        "consent_id_sha256": _consent_digest(envelope),
    }


def _text(received: bytes) -> str:
    """As text that every database can hold; what is not becomes U+FFFD."""
    return received.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _consent_digest(envelope: Any) -> str | None:
    body = envelope.get("body") if isinstance(envelope, dict) else None
    consent_id = body.get("consent_id") if isinstance(body, dict) else None
    return sha256_hex(consent_id.encode()) if isinstance(consent_id, str) else None


def keep_refusals(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write those that are not kept yet: one for each envelope and rule."""
    fresh = {(row["event_sha256"], row["rule"]): row for row in reversed(rows)}  # the first of equal ones
    for digests in portions(digest for digest, _ in fresh):
        kept = sa.select(refusals.c.event_sha256, refusals.c.rule).where(refusals.c.event_sha256.in_(digests))
        for row in connection.execute(kept):
            fresh.pop((row.event_sha256, row.rule), None)
    if fresh:
        connection.execute(refusals.insert(), list(reversed(fresh.values())))


def all_refusals(connection: sa.Connection) -> list[dict[str, Any]]:
    """In the order in which they were made; columns as in the table."""
    return [dict(row._mapping) for row in connection.execute(sa.select(refusals).order_by(refusals.c.id))]


def standing_refusals(connection: sa.Connection) -> list[dict[str, Any]]:
    """The latest refusal of each envelope that is still refused, by digest; one admitted since is left out."""
    later = refusals.alias("later")
    overtaken = sa.exists().where(later.c.event_sha256 == refusals.c.event_sha256, later.c.id > refusals.c.id)
    admitted = sa.exists().where(events.c.envelope_sha256 == refusals.c.envelope_sha256)
    query = sa.select(refusals).where(~overtaken, ~admitted).order_by(refusals.c.event_sha256)
    return [dict(row._mapping) for row in connection.execute(query)]
