"""Ed25519 keys: how a key is named, kept on disk, and used under a domain that no other message shares; and the ledger's head,
signed by the platform: what a stranger keeps so that the past cannot be rewritten unnoticed.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from training.consent.canonical import canonical
from training.consent.times import time_text

# names of the platform's two keys in the folder for signing keys: one attests who people are, one signs checkpoints
PLATFORM_KEY = "platform.key"
CHECKPOINT_KEY = "checkpoint.key"

_SIGNATURE = re.compile(r"[0-9a-f]{128}")


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id_of(public_key: bytes) -> str:
    """A key's name: the first 128 bits of its SHA-256, so that a name cannot be claimed for another key."""
    return "k-" + hashlib.sha256(public_key).hexdigest()[:32]


def sign_bytes(domain: bytes, message: bytes, key: Ed25519PrivateKey) -> str:
    """Hexadecimal signature over `domain || 0x00 || message`."""
    return key.sign(domain + b"\x00" + message).hex()


def signature_holds(domain: bytes, message: bytes, signature_hex: str, public_key: bytes) -> bool:
    """Whether this is the key's signature, spelled in the one accepted way: 128 lower-case hexadecimal digits."""
    if not _SIGNATURE.fullmatch(signature_hex):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(bytes.fromhex(signature_hex), domain + b"\x00" + message)
    except (InvalidSignature, ValueError):
        return False
    return True


def load_or_create(path: Path) -> Ed25519PrivateKey:
    """The private key in `path` (PKCS #8 PEM, mode 0600), made there on first use."""
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(pem)
        try:
            os.link(temporary, path)  # the first writer wins; a key that exists is never replaced
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} does not hold an Ed25519 key")
    return key


# -- checkpoints -----------------------------------------------------------------------------------------------------

CHECKPOINT = "rushes.checkpoint/1"
CHECKPOINT_DOMAIN = b"rushes/checkpoint/1"


@dataclass(frozen=True)
class Checkpoint:
    """The ledger after `size` events; `recorded_at` is the last one's, None for an empty ledger."""

    size: int
    root: str
    recorded_at: datetime | None


def sign_checkpoint(head: Checkpoint, key: Ed25519PrivateKey) -> dict[str, Any]:
    """Plain JSON: schema, size, root, recorded_at, key_id, public_key, sig."""
    body = {
        "schema": CHECKPOINT,
        "size": head.size,
        "root": head.root,
        "recorded_at": time_text(head.recorded_at) if head.recorded_at else None,
    }
    public_key = public_bytes(key)
    signature = sign_bytes(CHECKPOINT_DOMAIN, canonical(body), key)
    return {**body, "key_id": key_id_of(public_key), "public_key": public_key.hex(), "sig": signature}


def checkpoint_holds(signed: dict[str, Any], public_key: bytes) -> bool:
    """Whether a signed checkpoint is by this key; all that a stranger needs."""
    body = {"schema": CHECKPOINT, **{field: signed[field] for field in ("size", "root", "recorded_at")}}
    return signature_holds(CHECKPOINT_DOMAIN, canonical(body), signed["sig"], public_key)
