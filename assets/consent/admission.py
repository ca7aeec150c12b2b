"""Which events the ledger admits: the rules of admission, each with a name, judged on what was admitted before.

Pure: a judgement depends on the envelope, the moment and the `Register` (whose key is whose, who guards whom, where every
consent and dispute stands), and on no database. The register is a fold of admitted events; `needs` names the part of the
ledger that judging given envelopes may depend on. What an admitted event means for a clip is decided in
`training.consent.state` and `eligibility`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from assets.consent.event_schema import schema_problem
from training.consent.canonical import CanonicalError
from training.consent.events import PLATFORM, SCOPES, Body, Envelope, verify, verify_endorsement
from training.consent.keys import key_id_of
from training.consent.times import EARLIEST, MOST_AHEAD, SKEW, parse_time, shifted, time_text


class Rule(StrEnum):
    """Names of the rules that an event can break."""

    MALFORMED = "malformed"  # not canonical JSON
    SIZE = "size"  # larger than an envelope may be
    SCHEMA = "schema"  # fields missing, unknown or of the wrong form
    SCOPES = "scopes"  # a scope outside the closed list, or none at all
    FUTURE = "future"  # issued later than the clocks' allowance explains
    TOO_FAR_AHEAD = "too_far_ahead"  # a time that nobody plans for, such as the year 9999
    TOO_LONG_AGO = "too_long_ago"  # a time before 1970
    NOT_FOUNDED = "not_founded"  # a ledger begins with the platform's key
    UNKNOWN_KEY = "unknown_key"
    KEY_OWNER = "key_owner"  # the key belongs to somebody else
    KEY_REVOKED = "key_revoked"
    KEY_REUSED = "key_reused"  # the key is registered already
    KEY_NAME = "key_name"  # key_id is not the name of the public key
    KEY_NOT_ENROLLED = "key_not_enrolled"  # nobody verified that the key is held by this party
    SIGNATURE = "signature"
    EVENT_ID_REUSED = "event_id_reused"  # another event has this identity
    ACTING_FOR = "acting_for"  # who signs may not speak for this party
    FOREIGN_CONSENT = "foreign_consent"  # the consent is another party's or another role's
    GRANT_EXISTS = "grant_exists"  # a consent is granted once and then amended
    PREV = "prev"  # an amendment names the consent's latest event, and a grant names none
    CONSENT_REVOKED = "consent_revoked"  # revocation is absorbing: a new grant needs a new consent_id
    ERASED = "erased"  # what was erased does not come back
    DISPUTE_EXISTS = "dispute_exists"
    DISPUTE_UNKNOWN = "dispute_unknown"
    DISPUTE_DECIDED = "dispute_decided"  # a decision is final
    OWN_DISPUTE = "own_dispute"  # nobody decides a dispute that they opened


@dataclass(frozen=True)
class Refusal:
    rule: Rule
    detail: str


# -- what was admitted before ------------------------------------------------------------------------------------------


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
class Dispute:
    """`outcome` is None while nobody has decided it."""

    opener: str
    outcome: str | None = None


@dataclass
class Register:
    """The fold. Heads are kept by (consent_id, party_id), so that a stranger's revocation of a consent means nothing."""

    keys: dict[str, Key] = field(default_factory=dict)
    attested: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # party -> keys verified as theirs
    guardians: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # minor -> who may sign now
    consents: dict[tuple[str, str], ConsentHead] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)  # consent_id -> the party that granted it
    disputes: dict[str, Dispute] = field(default_factory=dict)
    event_ids: set[str] = field(default_factory=set)

    def has_key(self, actor: str) -> bool:
        return any(key.actor == actor for key in self.keys.values())

    def record(self, envelope: Envelope) -> None:
        """Take an admitted event into account."""
        body = envelope["body"]
        self.event_ids.add(body["event_id"])
        match body["type"]:
            case "register_key":
                self.keys[envelope["key_id"]] = Key(body["actor"], bytes.fromhex(body["public_key"]))
            case "revoke_key":
                self.keys[body["key_id"]].revoked = True
            case "enrol":
                self.attested[body["party_id"]].add(body["key_id"])
            case "guardian":
                self.guardians[body["party_id"]].add(body["guardian_id"])
            case "end_guardian":
                self.guardians[body["party_id"]].discard(body["guardian_id"])
            case "dispute":
                self.disputes[body["dispute_id"]] = Dispute(body["party_id"])
            case "adjudicate":
                self.disputes[body["dispute_id"]].outcome = body["outcome"]
            case _:
                self._record_consent(body)

    def _record_consent(self, body: dict[str, Any]) -> None:
        head = self.consents.setdefault((body["consent_id"], body["party_id"]), ConsentHead())
        if body["type"] == "revoke":
            head.revoked = True
        else:
            head.role, head.last_event_id = body["role"], body["event_id"]
            self.owners[body["consent_id"]] = body["party_id"]


@dataclass(frozen=True)
class Needs:
    """What a judgement may look up. An event matters if it matches any of these.

    `parties`: identity events of these parties; `consents`, `disputes`, `event_ids`: events with these identities;
    `keys`: registrations, attestations and revocations of these keys.
    """

    parties: frozenset[str]
    consents: frozenset[str]
    disputes: frozenset[str]
    event_ids: frozenset[str]
    keys: frozenset[str]


def needs(envelopes: Iterable[Any]) -> Needs:
    """All that judging these envelopes may depend on; what has no shape is refused without looking anything up."""
    wanted: dict[str, set[str]] = {name: set() for name in ("parties", "consents", "disputes", "event_ids", "keys")}
    wanted["parties"].add(PLATFORM)
    for envelope in envelopes:
        if not isinstance(envelope, dict) or not isinstance(envelope.get("body"), dict):
            continue
        body, endorsement = envelope["body"], envelope.get("endorsement")
        _add(wanted["parties"], body, "party_id", "actor")
        _add(wanted["consents"], body, "consent_id")
        _add(wanted["disputes"], body, "dispute_id")
        _add(wanted["event_ids"], body, "event_id")
        _add(wanted["keys"], body, "key_id")
        _add(wanted["keys"], envelope, "key_id")
        if isinstance(endorsement, dict):
            _add(wanted["keys"], endorsement, "key_id")
    return Needs(**{name: frozenset(values) for name, values in wanted.items()})


def _add(names: set[str], source: dict[str, Any], *fields: str) -> None:
    names.update(value for value in map(source.get, fields) if isinstance(value, str))


# -- the judgement ----------------------------------------------------------------------------------------------------


def judge(register: Register, envelope: Envelope, now: datetime, *, signatures: bool = True) -> Refusal | None:
    """The first rule that the envelope breaks at `now`, None when it may enter.

    `signatures=False` leaves out the arithmetic of signatures, for a caller that has checked them by itself; whose key
    may sign what is judged all the same.
    """
    try:
        return _judge_any(register, envelope, now, signatures)
    except CanonicalError as error:
        return Refusal(Rule.MALFORMED, str(error))


def _judge_any(register: Register, envelope: Envelope, now: datetime, signatures: bool) -> Refusal | None:
    if problem := schema_problem(envelope):
        return Refusal(Rule.SCHEMA, problem)
    body = envelope["body"]
    if body["type"] in ("grant", "amend") and (refusal := _judge_scopes(body["scopes"])):
        return refusal
    if body["event_id"] in register.event_ids:
        return Refusal(Rule.EVENT_ID_REUSED, f"another event is called {body['event_id']}")
    if parse_time(body["issued_at"]) > shifted(now, SKEW):
        return Refusal(Rule.FUTURE, f"issued at {body['issued_at']}, more than {SKEW.seconds} s from now")
    if body["type"] == "register_key":
        return _judge_registration(register, envelope, signatures)
    if not register.has_key(PLATFORM):
        return Refusal(Rule.NOT_FOUNDED, "a ledger begins with the platform's key; found it first")
    return _judge_signature(register, envelope, signatures) or _judge_body(register, body)


def judge_times(body: Body, now: datetime) -> Refusal | None:
    """Whether an event that is offered at `now` claims a time before there were computers, or further ahead than anybody
    plans.

    Apart from `judge`, which also reads what was admitted before there were these bounds.
    """
    latest = shifted(now, MOST_AHEAD)
    for name in ("issued_at", "effective_at", "expires_at"):
        if not (text := body.get(name)):
            continue
        if parse_time(text) < EARLIEST:
            return Refusal(Rule.TOO_LONG_AGO, f"{name} {text} is before {time_text(EARLIEST)}; check the year")
        if parse_time(text) > latest:
            advice = "leave it out for a consent without an end" if name == "expires_at" else "check the year"
            return Refusal(Rule.TOO_FAR_AHEAD, f"{name} {text} is after {time_text(latest)}; {advice}")
    return None


def _judge_scopes(scopes: list[str]) -> Refusal | None:
    if not scopes:
        return Refusal(Rule.SCOPES, "a grant names at least one scope")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        return Refusal(Rule.SCOPES, f"no such scope: {', '.join(map(repr, unknown))}")
    return None


# -- keys and signatures ---------------------------------------------------------------------------------------------


def _judge_registration(register: Register, envelope: Envelope, signatures: bool) -> Refusal | None:
    """A registration is signed by its own key, which shows who holds it, not who they are: that is attested apart."""
    body, public_key = envelope["body"], bytes.fromhex(envelope["body"]["public_key"])
    actor, key_id = body["actor"], envelope["key_id"]
    if not register.has_key(PLATFORM) and actor != PLATFORM:
        return Refusal(Rule.NOT_FOUNDED, "a ledger begins with the platform's key; found it first")
    if actor != body["party_id"]:
        return Refusal(Rule.ACTING_FOR, "a key is registered by its own actor")
    if key_id != key_id_of(public_key):
        return Refusal(Rule.KEY_NAME, f"this key's name is {key_id_of(public_key)}, not {key_id}")
    if key_id in register.keys:
        return Refusal(Rule.KEY_REUSED, f"{key_id} is registered already")
    if signatures and not verify(envelope, public_key):
        return Refusal(Rule.SIGNATURE, "a registration is signed by the key that it registers")
    if not register.has_key(PLATFORM) or key_id in register.attested[actor]:
        return None
    return _judge_endorsement(register, envelope, signatures)


def _judge_endorsement(register: Register, envelope: Envelope, signatures: bool) -> Refusal | None:
    """A key that nobody attested to is let in on the word of a live key of the same actor: that is rotation."""
    actor = envelope["body"]["actor"]
    endorser = register.keys.get((envelope.get("endorsement") or {}).get("key_id", ""))
    if endorser is None or endorser.revoked or endorser.actor != actor:
        advice = f"an officer has to enrol {envelope['key_id']} for {actor}, or a live key of {actor} to endorse it"
        return Refusal(Rule.KEY_NOT_ENROLLED, advice)
    if signatures and not verify_endorsement(envelope, endorser.public_key):
        return Refusal(Rule.SIGNATURE, "the endorsement's signature does not hold")
    return None


def _judge_signature(register: Register, envelope: Envelope, signatures: bool) -> Refusal | None:
    key, actor = register.keys.get(envelope["key_id"]), envelope["body"]["actor"]
    if key is None:
        return Refusal(Rule.UNKNOWN_KEY, f"no key {envelope['key_id']} is registered")
    if key.actor != actor:
        return Refusal(Rule.KEY_OWNER, f"{envelope['key_id']} is not a key of {actor}")
    if key.revoked:
        return Refusal(Rule.KEY_REVOKED, f"{envelope['key_id']} is revoked")
    if signatures and not verify(envelope, key.public_key):
        return Refusal(Rule.SIGNATURE, "the signature does not hold over the canonical body")
    return None


# -- who may say what ------------------------------------------------------------------------------------------------


def _judge_body(register: Register, body: Body) -> Refusal | None:
    match body["type"]:
        case "revoke_key":
            return _judge_key_revocation(register, body)
        case "enrol" | "guardian" | "end_guardian":
            return _judge_attestation(register, body)
        case "dispute" | "adjudicate":
            return _judge_dispute(register, body)
        case _:
            return _judge_consent(register, body)


def _judge_key_revocation(register: Register, body: Body) -> Refusal | None:
    key = register.keys.get(body["key_id"])
    if body["actor"] not in (body["party_id"], PLATFORM):
        return Refusal(Rule.ACTING_FOR, "a key is revoked by its owner, or by the platform for them")
    if key is None:
        return Refusal(Rule.UNKNOWN_KEY, f"no key {body['key_id']} is registered")
    if key.actor != body["party_id"]:
        return Refusal(Rule.KEY_OWNER, f"{body['key_id']} is not a key of {body['party_id']}")
    return None


def _judge_attestation(register: Register, body: Body) -> Refusal | None:
    """Only the platform attests to people, and never to itself."""
    if body["actor"] != PLATFORM or body["party_id"] == PLATFORM:
        return Refusal(Rule.ACTING_FOR, f"{body['actor']} may not attest to {body['party_id']}")
    if body["type"] != "enrol":
        own = body["guardian_id"] in (body["party_id"], PLATFORM)
        return Refusal(Rule.ACTING_FOR, "nobody is their own guardian, nor is the platform") if own else None
    key = register.keys.get(body["key_id"])
    if key is not None and key.actor != body["party_id"]:
        return Refusal(Rule.KEY_OWNER, f"{body['key_id']} is not a key of {body['party_id']}")
    return None


def _judge_dispute(register: Register, body: Body) -> Refusal | None:
    dispute = register.disputes.get(body["dispute_id"])
    if body["type"] == "dispute":
        if body["actor"] not in (body["party_id"], PLATFORM):
            return Refusal(Rule.ACTING_FOR, f"{body['actor']} may not open a dispute for {body['party_id']}")
        if not body["assets"]:
            return Refusal(Rule.SCHEMA, "a dispute names the footage that it is about")
        return Refusal(Rule.DISPUTE_EXISTS, f"{body['dispute_id']} was opened before") if dispute else None
    if body["actor"] != PLATFORM or body["party_id"] != PLATFORM:
        return Refusal(Rule.ACTING_FOR, "disputes are decided by an officer of the platform")
    if dispute is None:
        return Refusal(Rule.DISPUTE_UNKNOWN, f"there is no dispute {body['dispute_id']}")
    if dispute.outcome is not None:
        return Refusal(Rule.DISPUTE_DECIDED, f"{body['dispute_id']} was {dispute.outcome} already")
    return Refusal(Rule.OWN_DISPUTE, f"{dispute.opener} opened it") if body["officer"] == dispute.opener else None


def _judge_consent(register: Register, body: Body) -> Refusal | None:
    """Nobody consents for another, except a standing guardian for a minor. The platform may end a consent, never begin it."""
    consent_id, party, actor = body["consent_id"], body["party_id"], body["actor"]
    guarding = actor in register.guardians[party]
    if body["type"] == "revoke":
        if actor != party and not guarding and actor != PLATFORM:
            return Refusal(Rule.ACTING_FOR, f"{actor} may not revoke for {party}")
    elif (body["role"] == "guardian") != (actor != party) or (actor != party and not guarding):
        return Refusal(Rule.ACTING_FOR, f"{actor} may not sign for {party} as {body['role']}")
    if register.owners.get(consent_id, party) != party:
        return Refusal(Rule.FOREIGN_CONSENT, f"{consent_id} is not a consent of {party}")
    return None if body["type"] == "revoke" else _judge_succession(register, body)


def _judge_succession(register: Register, body: Body) -> Refusal | None:
    head = register.consents.get((body["consent_id"], body["party_id"]), ConsentHead())
    if head.revoked:
        return Refusal(Rule.CONSENT_REVOKED, f"{body['consent_id']} is revoked; grant under a new consent_id")
    if body["type"] == "grant" and head.last_event_id is not None:
        return Refusal(Rule.GRANT_EXISTS, f"{body['consent_id']} is granted already; amend it")
    if body["prev"] != head.last_event_id or (body["type"] == "amend" and body["prev"] is None):
        return Refusal(Rule.PREV, f"prev is {body['prev']}, but the latest event is {head.last_event_id}")
    if head.role not in (None, body["role"]):
        return Refusal(Rule.FOREIGN_CONSENT, f"{body['consent_id']} was granted as {head.role}")
    return None
