"""A ledger's head, signed by the platform: what a stranger keeps so that the past cannot be rewritten unnoticed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from training.consent.canonical import canonical
from training.consent.keys import key_id_of, public_bytes, sign_bytes, signature_holds
from training.consent.times import time_text

SCHEMA = "rushes.checkpoint/1"
DOMAIN = b"rushes/checkpoint/1"


@dataclass(frozen=True)
class Checkpoint:
    """The ledger after `size` events; `recorded_at` is the last one's, None for an empty ledger."""

    size: int
    root: str
    recorded_at: datetime | None


def sign_checkpoint(head: Checkpoint, key: Ed25519PrivateKey) -> dict[str, Any]:
    """Plain JSON: schema, size, root, recorded_at, key_id, public_key, sig."""
    body = {
        "schema": SCHEMA,
        "size": head.size,
        "root": head.root,
        "recorded_at": time_text(head.recorded_at) if head.recorded_at else None,
    }
    public_key = public_bytes(key)
    signature = sign_bytes(DOMAIN, canonical(body), key)
    return {**body, "key_id": key_id_of(public_key), "public_key": public_key.hex(), "sig": signature}


def checkpoint_holds(signed: dict[str, Any], public_key: bytes) -> bool:
    """Whether a signed checkpoint is by this key; all that a stranger needs."""
    body = {"schema": SCHEMA, **{field: signed[field] for field in ("size", "root", "recorded_at")}}
    return signature_holds(DOMAIN, canonical(body), signed["sig"], public_key)
