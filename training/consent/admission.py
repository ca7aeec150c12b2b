"""Which events the ledger admits: the rules of admission, each with a name, judged on what was admitted before.

Pure: `Register` is a fold over admitted events and knows no database and no clock. What an admitted event means for a
clip is decided in `state` and `eligibility`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from training.consent.canonical import CanonicalError
from training.consent.event_schema import CONSENT_TYPES, SCOPES, schema_problem
from training.consent.events import Body, Envelope, verify, verify_endorsement
from training.consent.keys import key_id_of
from training.consent.times import SKEW, parse_time

IsGuardian = Callable[[str, str, datetime], bool]  # (minor, guardian, at): is the guardianship on the register?


class Rule(StrEnum):
    """Names of the rules that an event can break."""

    MALFORMED = "malformed"  # not canonical JSON
    SIZE = "size"  # larger than an envelope may be
    SCHEMA = "schema"  # fields missing, unknown or of the wrong form
    SCOPES = "scopes"  # a scope outside the closed list, or none at all
    FUTURE = "future"  # issued later than the clocks' allowance explains
    UNKNOWN_KEY = "unknown_key"
    KEY_OWNER = "key_owner"  # the key belongs to somebody else
    KEY_REVOKED = "key_revoked"
    KEY_REUSED = "key_reused"  # the key is registered already
    KEY_NAME = "key_name"  # key_id is not the name of the public key
    KEY_ENDORSEMENT = "key_endorsement"  # a further key that no live key of the actor vouches for
    SIGNATURE = "signature"
    EVENT_ID_REUSED = "event_id_reused"  # another event has this identity
    ACTING_FOR = "acting_for"  # nobody signs for another, except a registered guardian for a minor
    FOREIGN_CONSENT = "foreign_consent"  # the consent is another party's or another role's
    GRANT_EXISTS = "grant_exists"  # a consent is granted once and then amended
    PREV = "prev"  # an amendment names the consent's latest event, and a grant names none
    CONSENT_REVOKED = "consent_revoked"  # revocation is absorbing: a new grant needs a new consent_id


@dataclass(frozen=True)
class Refusal:
    rule: Rule
    detail: str


@dataclass
class Key:
    actor: str
    public_key: bytes
    revoked: bool = False


@dataclass
class ConsentHead:
    """The latest event of a consent; `role` is None while only its revocation is known."""

    role: str | None = None
    last_event_id: str | None = None
    revoked: bool = False


@dataclass
class Register:
    """What the admitted events established: keys, and the head of every consent by (consent_id, party_id)."""

    keys: dict[str, Key] = field(default_factory=dict)
    consents: dict[tuple[str, str], ConsentHead] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)  # consent_id -> the party that granted it
    event_ids: set[str] = field(default_factory=set)

    def judge(self, envelope: Envelope, now: datetime, is_guardian: IsGuardian) -> Refusal | None:
        """The first rule that the envelope breaks at `now`, None when it may enter."""
        try:
            return self._judge(envelope, now, is_guardian)
        except CanonicalError as error:
            return Refusal(Rule.MALFORMED, str(error))

    def _judge(self, envelope: Envelope, now: datetime, is_guardian: IsGuardian) -> Refusal | None:
        if problem := schema_problem(envelope):
            return Refusal(Rule.SCHEMA, problem)
        body = envelope["body"]
        if body["type"] in ("grant", "amend") and (refusal := _scope_problem(body["scopes"])):
            return refusal
        if body["event_id"] in self.event_ids:
            return Refusal(Rule.EVENT_ID_REUSED, f"another event is called {body['event_id']}")
        if parse_time(body["issued_at"]) > now + SKEW:
            return Refusal(Rule.FUTURE, f"issued at {body['issued_at']}, more than {SKEW.seconds} s from now")
        if body["type"] == "register_key":
            return self._judge_registration(envelope)
        return (
            self._judge_signature(envelope)
            or (self._judge_consent(body, now, is_guardian) if body["type"] in CONSENT_TYPES else None)
            or (self._judge_key_revocation(body) if body["type"] == "revoke_key" else None)
        )

    def _judge_registration(self, envelope: Envelope) -> Refusal | None:
        body, public_key = envelope["body"], bytes.fromhex(envelope["body"]["public_key"])
        if body["actor"] != body["party_id"]:
            return Refusal(Rule.ACTING_FOR, "a key is registered by its own actor")
        if envelope["key_id"] != key_id_of(public_key):
            return Refusal(Rule.KEY_NAME, f"this key's name is {key_id_of(public_key)}, not {envelope['key_id']}")
        if envelope["key_id"] in self.keys:
            return Refusal(Rule.KEY_REUSED, f"{envelope['key_id']} is registered already")
        if not verify(envelope, public_key):
            return Refusal(Rule.SIGNATURE, "a registration is signed by the key that it registers")
        if not any(key.actor == body["actor"] for key in self.keys.values()):
            return None  # the first key is taken on enrolment; every further one has to be vouched for
        endorser = self.keys.get((envelope.get("endorsement") or {}).get("key_id", ""))
        if endorser is None or endorser.revoked or endorser.actor != body["actor"]:
            return Refusal(Rule.KEY_ENDORSEMENT, "a further key needs the endorsement of a live key of its actor")
        if not verify_endorsement(envelope, endorser.public_key):
            return Refusal(Rule.KEY_ENDORSEMENT, "the endorsement's signature does not hold")
        return None

    def _judge_signature(self, envelope: Envelope) -> Refusal | None:
        key, actor = self.keys.get(envelope["key_id"]), envelope["body"]["actor"]
        if key is None:
            return Refusal(Rule.UNKNOWN_KEY, f"no key {envelope['key_id']} is registered")
        if key.actor != actor:
            return Refusal(Rule.KEY_OWNER, f"{envelope['key_id']} is not a key of {actor}")
        if key.revoked:
            return Refusal(Rule.KEY_REVOKED, f"{envelope['key_id']} is revoked")
        if not verify(envelope, key.public_key):
            return Refusal(Rule.SIGNATURE, "the signature does not hold over the canonical body")
        return None

    def _judge_key_revocation(self, body: Body) -> Refusal | None:
        key = self.keys.get(body["key_id"])
        if body["actor"] != body["party_id"]:
            return Refusal(Rule.ACTING_FOR, "a key is revoked by its own actor")
        if key is None:
            return Refusal(Rule.UNKNOWN_KEY, f"no key {body['key_id']} is registered")
        if key.actor != body["actor"]:
            return Refusal(Rule.KEY_OWNER, f"{body['key_id']} is not a key of {body['actor']}")
        return None

    def _judge_consent(self, body: Body, now: datetime, is_guardian: IsGuardian) -> Refusal | None:
        consent_id, party, actor = body["consent_id"], body["party_id"], body["actor"]
        guardian = actor != party and is_guardian(party, actor, now)
        if body["type"] == "revoke":
            if actor != party and not guardian:
                return Refusal(Rule.ACTING_FOR, f"{actor} may not revoke for {party}")
        elif (body["role"] == "guardian") != (actor != party) or (actor != party and not guardian):
            return Refusal(Rule.ACTING_FOR, f"{actor} may not sign for {party} as {body['role']}")
        if self.owners.get(consent_id, party) != party:
            return Refusal(Rule.FOREIGN_CONSENT, f"{consent_id} is not a consent of {party}")
        return None if body["type"] == "revoke" else self._judge_succession(body)

    def _judge_succession(self, body: Body) -> Refusal | None:
        head = self.consents.get((body["consent_id"], body["party_id"]), ConsentHead())
        if head.revoked:
            return Refusal(Rule.CONSENT_REVOKED, f"{body['consent_id']} is revoked; grant under a new consent_id")
        if body["type"] == "grant" and head.last_event_id is not None:
            return Refusal(Rule.GRANT_EXISTS, f"{body['consent_id']} is granted already; amend it")
        if body["prev"] != head.last_event_id or (body["type"] == "amend" and body["prev"] is None):
            return Refusal(Rule.PREV, f"prev is {body['prev']}, but the latest event is {head.last_event_id}")
        if head.role not in (None, body["role"]):
            return Refusal(Rule.FOREIGN_CONSENT, f"{body['consent_id']} was granted as {head.role}")
        return None

    def record(self, envelope: Envelope) -> None:
        """Take an admitted event into account."""
        body = envelope["body"]
        self.event_ids.add(body["event_id"])
        if body["type"] == "register_key":
            self.keys[envelope["key_id"]] = Key(body["actor"], bytes.fromhex(body["public_key"]))
        elif body["type"] == "revoke_key":
            self.keys[body["key_id"]].revoked = True
        else:
            head = self.consents.setdefault((body["consent_id"], body["party_id"]), ConsentHead())
            if body["type"] == "revoke":
                head.revoked = True
            else:
                head.role, head.last_event_id = body["role"], body["event_id"]
                self.owners[body["consent_id"]] = body["party_id"]


def _scope_problem(scopes: list[Any]) -> Refusal | None:
    if not scopes:
        return Refusal(Rule.SCOPES, "a grant names at least one scope")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        return Refusal(Rule.SCOPES, f"no such scope: {', '.join(map(repr, unknown))}")
    return None
