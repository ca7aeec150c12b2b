"""The shape of an event: its fields, what each must be, and which type needs which. No signature is looked at here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from training.consent.events import OUTCOMES, ROLES, SCHEMA, TYPES
from training.consent.times import parse_time

MAX_ENVELOPE_BYTES = 64 * 1024

Check = Callable[[Any], bool]


def _matches(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and bool(compiled.fullmatch(value))


def _identifier(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= 128
        and value == value.strip()
        and (value.isprintable() or not any(unicodedata.category(char).startswith("C") for char in value))
    )


def _time(value: Any) -> bool:
    try:
        parse_time(value)
    except ValueError:
        return False
    return True


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= 1000 and all(map(check, value))


def _optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1000


_hex64, _signature = _matches(r"[0-9a-f]{64}"), _matches(r"[0-9a-f]{128}")
_IDENTIFIER = (_identifier, "an identifier of 1 to 128 characters")
_DIGEST = (_hex64, "a SHA-256 digest in lower-case hexadecimal")
_MOMENT = (_time, "an RFC 3339 time in UTC")

# field -> (check, what it must be). `type` and the scopes' vocabulary are checked apart, to be named apart.
_FIELDS: dict[str, tuple[Check, str]] = {
    "schema": (lambda value: value == SCHEMA, f'"{SCHEMA}"'),
    "type": (lambda value: value in TYPES, "one of " + ", ".join(TYPES)),
    "event_id": _IDENTIFIER,
    "consent_id": _IDENTIFIER,
    "party_id": _IDENTIFIER,
    "actor": _IDENTIFIER,
    "role": (lambda value: value in ROLES, "one of " + ", ".join(ROLES)),
    "issued_at": _MOMENT,
    "effective_at": _MOMENT,
    "expires_at": (_optional(_time), "null or an RFC 3339 time in UTC"),
    "scopes": (_list_of(lambda value: isinstance(value, str)), "a list of scopes"),
    "territories": (_list_of(_matches(r"\*|[A-Z]{2}")), "a list of ISO 3166-1 alpha-2 codes or *"),
    "recipients": (_list_of(_identifier), "a list of recipients or *"),
    "assets": (_list_of(_hex64), "a list of SHA-256 digests in lower-case hexadecimal"),
    "notice_sha256": _DIGEST,
    "notice_lang": (_matches(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*"), "a language tag such as en or nl-BE"),
    "terms_sha256": _DIGEST,
    "withdrawal_method": (_text, "a text that says how to withdraw"),
    "prev": (_optional(_identifier), "null or the event that this one amends"),
    "public_key": (_hex64, "an Ed25519 public key in lower-case hexadecimal"),
    "key_id": (_identifier, "the name of a key"),
    "guardian_id": _IDENTIFIER,
    "evidence_sha256": _DIGEST,
    "officer": _IDENTIFIER,
    "dispute_id": _IDENTIFIER,
    "reason": (_matches(r"[a-z]+\.[a-z_]+"), "a reason code such as legal.privacy"),
    "outcome": (lambda value: value in OUTCOMES, "one of " + ", ".join(OUTCOMES)),
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
    "enrol": _COMMON | {"key_id", "evidence_sha256", "officer"},
    "guardian": _COMMON | {"guardian_id", "evidence_sha256", "officer"},
    "end_guardian": _COMMON | {"guardian_id", "evidence_sha256", "officer"},
    "dispute": _COMMON | {"dispute_id", "assets", "reason"},
    "adjudicate": _COMMON | {"dispute_id", "outcome", "officer"},
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
    if not isinstance(body.get("type"), str) or body["type"] not in _REQUIRED:
        return f"type must be {_FIELDS['type'][1]}"
    if missing := _REQUIRED[body["type"]] - set(body):
        return f"{body['type']} lacks {', '.join(sorted(missing))}"
    if unknown := set(body) - _REQUIRED[body["type"]]:
        return f"{body['type']} has no field {', '.join(sorted(map(repr, unknown)))}"
    for field, value in body.items():
        check, expected = _FIELDS[field]
        if not check(value):
            return f"{field} must be {expected}"
    return None
