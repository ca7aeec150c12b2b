"""What an event is: how one is written, signed and verified. The module a new colleague reads first.

Three families share one ledger. *Consent* (grant, amend, revoke): a party agrees to scopes, territories and recipients for
footage (assets), shown which notice, until when. *Identity* (enrol, register_key, revoke_key, guardian, end_guardian): whose
key is whose, and who signs for a minor; the platform attests to people, people speak for themselves. *Dispute* (dispute,
adjudicate): footage is held until an officer has decided. An envelope is a signed body: `{"body", "key_id", "sig"}`; a
further key of an actor also carries `"endorsement": {"key_id", "sig"}` by one of the actor's earlier keys. Whether an event
is admitted is decided in `assets.consent.admission`, what it means over time in `state`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Required, TypedDict, Unpack

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from training.consent.canonical import canonical, sha256_hex
from training.consent.keys import key_id_of, public_bytes, sign_bytes, signature_holds
from training.consent.times import time_text

SCHEMA = "rushes.consent/1"
DOMAIN = b"rushes/consent/1"
ENDORSEMENT_DOMAIN = b"rushes/key-endorsement/1"

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
OUTCOMES = ("dismissed", "upheld")
PLATFORM = "platform"  # the actor that attests to people; its key founds the ledger

CONSENT_TYPES = ("grant", "amend", "revoke")
GUARDIAN_TYPES = ("guardian", "end_guardian")
IDENTITY_TYPES = ("register_key", "revoke_key", "enrol", *GUARDIAN_TYPES)
DISPUTE_TYPES = ("dispute", "adjudicate")
TYPES = CONSENT_TYPES + IDENTITY_TYPES + DISPUTE_TYPES

Body = dict[str, Any]
Envelope = dict[str, Any]


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


def new_id(prefix: str) -> str:
    """A fresh identifier; nothing about the party can be guessed from it."""
    return f"{prefix}-{uuid.uuid4().hex}"


class Stamp(TypedDict, total=False):
    """What any event may carry besides what it says; without them the party itself signs now, under a fresh identity."""

    actor: str | None  # who signs, where it is not the party: a guardian, or the platform
    event_id: str | None
    effective_at: datetime | None


class Terms(Stamp, total=False):
    """What a grant says beside who agrees to what; all but the digests of notice and terms has a default."""

    notice_sha256: Required[str]
    terms_sha256: Required[str]
    notice_lang: str
    withdrawal_method: str
    expires_at: datetime | None
    territories: Iterable[str]
    recipients: Iterable[str]
    consent_id: str | None


def grant(
    party_id: str,
    role: str,
    assets: Iterable[str],
    scopes: Iterable[str],
    issued_at: datetime,
    **terms: Unpack[Terms],
) -> Body:
    """The body of a grant."""
    expires_at = terms.get("expires_at")
    actor, event_id, effective_at = terms.get("actor"), terms.get("event_id"), terms.get("effective_at")
    return {
        **_common("grant", party_id, issued_at, actor=actor, event_id=event_id, effective_at=effective_at),
        "consent_id": terms.get("consent_id") or new_id("consent"),
        "role": role,
        "expires_at": time_text(expires_at) if expires_at else None,
        "scopes": sorted(set(scopes)),
        "territories": sorted(set(terms.get("territories", ("*",)))),
        "recipients": sorted(set(terms.get("recipients", ("*",)))),
        "assets": sorted(set(assets)),
        "notice_sha256": terms["notice_sha256"],
        "notice_lang": terms.get("notice_lang", "en"),
        "terms_sha256": terms["terms_sha256"],
        "withdrawal_method": terms.get("withdrawal_method", "rushes consent revoke"),
        "prev": None,
    }


def amend(previous: Mapping[str, Any], issued_at: datetime, *, event_id: str | None = None, **changes: Any) -> Body:
    """The body of an amendment of the grant or amendment `previous`: its terms with `changes` (as JSON values)."""
    common = _common("amend", previous["party_id"], issued_at, actor=previous["actor"], event_id=event_id)
    return {**previous, **common, "prev": previous["event_id"], **changes}


def revoke(consent_id: str, party_id: str, role: str, issued_at: datetime, **stamp: Unpack[Stamp]) -> Body:
    """The body of a revocation; it needs no terms, no reason and not even the grant."""
    return {**_common("revoke", party_id, issued_at, **stamp), "consent_id": consent_id, "role": role}


def register_key(actor: str, key: Ed25519PrivateKey, issued_at: datetime, *, event_id: str | None = None) -> Body:
    """The body that binds a key to an actor; sign it with that same key."""
    return {**_common("register_key", actor, issued_at, event_id=event_id), "public_key": public_bytes(key).hex()}


def revoke_key(owner: str, key_id: str, issued_at: datetime, **stamp: Unpack[Stamp]) -> Body:
    """The body that ends a key; signed by any live key of its owner, or by the platform for an owner who lost them."""
    return {**_common("revoke_key", owner, issued_at, **stamp), "key_id": key_id}


class Attested(TypedDict, total=False):
    """What an officer answers for when the platform attests to somebody; the evidence itself stays outside."""

    evidence_sha256: Required[str]
    officer: Required[str]
    event_id: str | None


def enrol(party_id: str, key_id: str, issued_at: datetime, **attested: Unpack[Attested]) -> Body:
    """The body by which the platform attests that an officer verified who holds a key."""
    return _attestation("enrol", party_id, {"key_id": key_id}, issued_at, attested)


def guardian(
    minor_id: str, guardian_id: str, issued_at: datetime, *, ended: bool = False, **attested: Unpack[Attested]
) -> Body:
    """The body by which the platform attests that a guardian may sign for a minor, or (`ended`) no longer may."""
    type_ = "end_guardian" if ended else "guardian"
    return _attestation(type_, minor_id, {"guardian_id": guardian_id}, issued_at, attested)


def _attestation(type_: str, party_id: str, about: Body, issued_at: datetime, attested: Attested) -> Body:
    common = _common(type_, party_id, issued_at, actor=PLATFORM, event_id=attested.get("event_id"))
    return {**common, **about, "evidence_sha256": attested["evidence_sha256"], "officer": attested["officer"]}


def dispute(
    party_id: str,
    assets: Iterable[str],
    reason: str,
    issued_at: datetime,
    dispute_id: str | None = None,
    **stamp: Unpack[Stamp],
) -> Body:
    """The body that holds footage until it is adjudicated; the platform signs for somebody who has no key."""
    fields = {"dispute_id": dispute_id or new_id("dispute"), "assets": sorted(set(assets)), "reason": reason}
    return {**_common("dispute", party_id, issued_at, **stamp), **fields}


def adjudicate(
    dispute_id: str, outcome: str, issued_at: datetime, *, officer: str, event_id: str | None = None
) -> Body:
    """The body by which an officer decides a dispute: `dismissed` ends the hold, `upheld` makes it final."""
    fields = {"dispute_id": dispute_id, "outcome": outcome, "officer": officer}
    return {**_common("adjudicate", PLATFORM, issued_at, event_id=event_id), **fields}


def _common(type_: str, party_id: str, issued_at: datetime, **stamp: Unpack[Stamp]) -> Body:
    return {
        "schema": SCHEMA,
        "type": type_,
        "event_id": stamp.get("event_id") or new_id("event"),
        "party_id": party_id,
        "actor": stamp.get("actor") or party_id,
        "issued_at": time_text(issued_at),
        "effective_at": time_text(stamp.get("effective_at") or issued_at),
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
