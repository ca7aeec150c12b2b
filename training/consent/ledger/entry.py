"""One entry of the ledger: what its leaf commits to, the columns by which it is found, and the event that it reads as."""

from __future__ import annotations

import hashlib
from typing import Any

from training.consent import merkle
from training.consent.canonical import parse_strictly
from training.consent.events import Envelope, Event
from training.consent.times import parse_time


def commitment_leaf(salt: bytes, recorded_at: str, body: bytes, signature: bytes) -> bytes:
    """SHA-256(0x00 || SHA-256(salt || recorded_at || body || signature)).

    Salt (32 bytes), time (20) and signature (64) have fixed lengths, so no two entries read the same. The time is
    committed to because the time rules rest on it.
    """
    return merkle.leaf_hash(hashlib.sha256(salt + recorded_at.encode("ascii") + body + signature).digest())


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


def sortable_time(text: str) -> str:
    """A time with exactly six digits of a second, so that text sorts as time."""
    return parse_time(text).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event_of(row: Any) -> Event:
    """The event in a row with seq, recorded_at, leaf_hash and envelope."""
    envelope = parse_strictly(row.envelope)
    return Event(row.seq, parse_time(row.recorded_at), envelope["body"], envelope["key_id"], row.leaf_hash)
