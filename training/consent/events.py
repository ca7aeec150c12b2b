"""What a consent event is: its fields, their rules, and its signature. One module a new colleague reads first.

A body says who (party) agrees to what (scopes, territories, recipients) for which footage (assets), shown which notice,
until when, and who signs (actor). An envelope is a signed body: `{"body", "key_id", "sig"}`; a second key of an actor
also carries `"endorsement": {"key_id", "sig"}` by one of the actor's earlier keys. Whether an event is admitted is
decided in `admission`, what it means over time in `state`.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from training.consent.canonical import canonical, sha256_hex
from training.consent.keys import key_id_of, public_bytes, sign_bytes, signature_holds
from training.consent.times import parse_time, time_text

SCHEMA = "rushes.consent/1"
DOMAIN = b"rushes/consent/1"
ENDORSEMENT_DOMAIN = b"rushes/key-endorsement/1"
MAX_ENVELOPE_BYTES = 64 * 1024

SCOPES = (
    "review",
    "train",
    "train_minor",
    "eval",
    "finetune_client",
    "synthetic_derivation",
    "likeness_generation",
    "publish_sample",
    "redistribute",
)
ROLES = ("contributor", "depicted", "guardian", "property_owner")
CONSENT_TYPES = ("grant", "amend", "revoke")
KEY_TYPES = ("register_key", "revoke_key")

Body = dict[str, Any]
Envelope = dict[str, Any]

_HEX64 = re.compile(r"[0-9a-f]{64}")
_TERRITORY = re.compile(r"\*|[A-Z]{2}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True)
class Event:
    """An admitted event: its place in the ledger, when the ledger recorded it, and what was signed."""

    seq: int
    recorded_at: datetime
    body: Body
    key_id: str
    leaf_hash: str

    @property
    def type(self) -> str:
        return self.body["type"]


def _identifier(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= 128
        and value == value.strip()
        and not any(unicodedata.category(char).startswith("C") for char in value)
    )


def _time(value: Any) -> bool:
    try:
        parse_time(value)
    except ValueError:
        return False
    return True


def _hex64(value: Any) -> bool:
    return isinstance(value, str) and bool(_HEX64.fullmatch(value))


def _signature(value: Any) -> bool:
    return isinstance(value, str) and bool(_SIGNATURE.fullmatch(value))


def _list_of(check: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and least <= len(value) <= 1000 and all(map(check, value))


def _optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and bool(pattern.fullmatch(value))


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1000


# field -> (check, what it must be). `type` and the scopes' vocabulary are checked apart, to be named apart.
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "schema": (lambda value: value == SCHEMA, f'"{SCHEMA}"'),
    "type": (lambda value: value in CONSENT_TYPES + KEY_TYPES, "one of " + ", ".join(CONSENT_TYPES + KEY_TYPES)),
    "event_id": (_identifier, "an identifier of 1 to 128 characters"),
    "consent_id": (_identifier, "an identifier of 1 to 128 characters"),
    "party_id": (_identifier, "an identifier of 1 to 128 characters"),
    "actor": (_identifier, "an identifier of 1 to 128 characters"),
    "role": (lambda value: value in ROLES, "one of " + ", ".join(ROLES)),
    "issued_at": (_time, "an RFC 3339 time in UTC"),
    "effective_at": (_time, "an RFC 3339 time in UTC"),
    "expires_at": (_optional(_time), "null or an RFC 3339 time in UTC"),
    "scopes": (_list_of(lambda value: isinstance(value, str)), "a list of scopes"),
    "territories": (_list_of(_matches(_TERRITORY)), "a list of ISO 3166-1 alpha-2 codes or *"),
    "recipients": (_list_of(_identifier), "a list of recipients or *"),
    "assets": (_list_of(_hex64), "a list of SHA-256 digests in lower-case hexadecimal"),
    "notice_sha256": (_hex64, "a SHA-256 digest in lower-case hexadecimal"),
    "notice_lang": (_matches(_LANGUAGE), "a language tag such as en or nl-BE"),
    "terms_sha256": (_hex64, "a SHA-256 digest in lower-case hexadecimal"),
    "withdrawal_method": (_text, "a text that says how to withdraw"),
    "prev": (_optional(_identifier), "null or the event that this one amends"),
    "public_key": (_hex64, "an Ed25519 public key in lower-case hexadecimal"),
    "key_id": (_identifier, "the key to be revoked"),
}
_COMMON = {"schema", "type", "event_id", "party_id", "actor", "issued_at", "effective_at"}
_TERMS = {
    *("expires_at", "scopes", "territories", "recipients", "assets"),
    *("notice_sha256", "notice_lang", "terms_sha256", "withdrawal_method"),
}
_REQUIRED = {
    "grant": _COMMON | _TERMS | {"consent_id", "role", "prev"},
    "amend": _COMMON | _TERMS | {"consent_id", "role", "prev"},
    "revoke": _COMMON | {"consent_id", "role"},  # nobody has to give terms or reasons to withdraw
    "register_key": _COMMON | {"public_key"},
    "revoke_key": _COMMON | {"key_id"},
}


def schema_problem(envelope: Any) -> str | None:
    """What is wrong with the shape of an envelope, in a sentence; None when nothing is."""
    if not isinstance(envelope, dict) or not {"body", "key_id", "sig"} <= set(envelope):
        return "an envelope is an object with body, key_id and sig"
    if extra := set(envelope) - {"body", "key_id", "sig", "endorsement"}:
        return f"an envelope has no field {sorted(extra)}"
    body, endorsement = envelope["body"], envelope.get("endorsement")
    if not isinstance(envelope["key_id"], str) or not _signature(envelope["sig"]):
        return "key_id must be text and sig 128 lower-case hexadecimal digits"
    if endorsement is not None and not (
        isinstance(endorsement, dict)
        and set(endorsement) == {"key_id", "sig"}
        and isinstance(endorsement["key_id"], str)
        and _signature(endorsement["sig"])
    ):
        return "an endorsement is an object with key_id and sig"
    return body_problem(body)


def body_problem(body: Any) -> str | None:
    """What is wrong with the shape of a body, in a sentence; None when nothing is."""
    if not isinstance(body, dict):
        return "body must be an object"
    if body.get("type") not in _REQUIRED:
        return f"type must be {_FIELDS['type'][1]}"
    if missing := _REQUIRED[body["type"]] - set(body):
        return f"{body['type']} lacks {', '.join(sorted(missing))}"
    if unknown := set(body) - set(_FIELDS):
        return f"no such field: {', '.join(sorted(map(repr, unknown)))}"
    for field, value in body.items():
        check, expected = _FIELDS[field]
        if not check(value):
            return f"{field} must be {expected}"
    return None


def new_id(prefix: str) -> str:
    """A fresh identifier; nothing about the party can be guessed from it."""
    return f"{prefix}-{uuid.uuid4().hex}"


def grant(
    party_id: str,
    role: str,
    assets: Iterable[str],
    scopes: Iterable[str],
    issued_at: datetime,
    *,
    notice_sha256: str,
    terms_sha256: str,
    actor: str | None = None,
    consent_id: str | None = None,
    event_id: str | None = None,
    effective_at: datetime | None = None,
    expires_at: datetime | None = None,
    territories: Iterable[str] = ("*",),
    recipients: Iterable[str] = ("*",),
    notice_lang: str = "en",
    withdrawal_method: str = "rushes consent revoke",
) -> Body:
    """The body of a grant. The actor is the party unless a guardian signs for a minor."""
    return {
        **_common("grant", party_id, actor, issued_at, effective_at, event_id),
        "consent_id": consent_id or new_id("consent"),
        "role": role,
        "expires_at": time_text(expires_at) if expires_at else None,
        "scopes": sorted(set(scopes)),
        "territories": sorted(set(territories)),
        "recipients": sorted(set(recipients)),
        "assets": sorted(set(assets)),
        "notice_sha256": notice_sha256,
        "notice_lang": notice_lang,
        "terms_sha256": terms_sha256,
        "withdrawal_method": withdrawal_method,
        "prev": None,
    }


def amend(previous: Mapping[str, Any], issued_at: datetime, *, event_id: str | None = None, **changes: Any) -> Body:
    """The body of an amendment of the grant or amendment `previous`: its terms with `changes` (as JSON values)."""
    common = _common("amend", previous["party_id"], previous["actor"], issued_at, None, event_id)
    return {**previous, **common, "prev": previous["event_id"], **changes}


def revoke(
    consent_id: str,
    party_id: str,
    role: str,
    issued_at: datetime,
    *,
    actor: str | None = None,
    event_id: str | None = None,
    effective_at: datetime | None = None,
) -> Body:
    """The body of a revocation; it needs no terms, no reason and not even the grant."""
    common = _common("revoke", party_id, actor, issued_at, effective_at, event_id)
    return {**common, "consent_id": consent_id, "role": role}


def register_key(actor: str, key: Ed25519PrivateKey, issued_at: datetime, *, event_id: str | None = None) -> Body:
    """The body that binds a key to an actor; sign it with that same key."""
    return {
        **_common("register_key", actor, None, issued_at, None, event_id),
        "public_key": public_bytes(key).hex(),
    }


def revoke_key(actor: str, key_id: str, issued_at: datetime, *, event_id: str | None = None) -> Body:
    """The body that ends a key; sign it with any live key of the actor."""
    return {**_common("revoke_key", actor, None, issued_at, None, event_id), "key_id": key_id}


def _common(
    type_: str,
    party_id: str,
    actor: str | None,
    issued_at: datetime,
    effective_at: datetime | None,
    event_id: str | None,
) -> Body:
    return {
        "schema": SCHEMA,
        "type": type_,
        "event_id": event_id or new_id("event"),
        "party_id": party_id,
        "actor": actor or party_id,
        "issued_at": time_text(issued_at),
        "effective_at": time_text(effective_at or issued_at),
    }


def sign(body: Mapping[str, Any], private_key: Ed25519PrivateKey) -> Envelope:
    """The envelope of a body, signed over its canonical bytes under the consent domain."""
    signature = sign_bytes(DOMAIN, canonical(dict(body)), private_key)
    return {"body": dict(body), "key_id": key_id_of(public_bytes(private_key)), "sig": signature}


def endorse(envelope: Envelope, earlier_key: Ed25519PrivateKey) -> Envelope:
    """A key registration that an earlier key of the same actor vouches for: how keys are rotated."""
    signature = sign_bytes(ENDORSEMENT_DOMAIN, canonical(envelope["body"]), earlier_key)
    return {**envelope, "endorsement": {"key_id": key_id_of(public_bytes(earlier_key)), "sig": signature}}


def verify(envelope: Envelope, public_key: bytes) -> bool:
    """Whether the envelope's signature is by `public_key` over exactly this body."""
    return signature_holds(DOMAIN, canonical(envelope["body"]), envelope["sig"], public_key)


def verify_endorsement(envelope: Envelope, public_key: bytes) -> bool:
    signature = envelope["endorsement"]["sig"]
    return signature_holds(ENDORSEMENT_DOMAIN, canonical(envelope["body"]), signature, public_key)


def envelope_sha256(envelope: Envelope) -> str:
    """An envelope's identity: the same signed event, however it was spelled."""
    return sha256_hex(canonical(envelope))
