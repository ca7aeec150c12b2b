"""What the admitted events established: whose key is whose, who guards whom, where every consent and dispute stands.

A fold, and nothing else: it knows no database, no clock and no rule. The rules that read it are in `admission`. It can be
folded from a part of the ledger: `needs` names the part that the judgement of given envelopes may depend on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from training.consent.event_schema import PLATFORM

Envelope = dict[str, Any]


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
    found: dict[str, set[str]] = defaultdict(set)
    found["parties"].add(PLATFORM)
    for envelope in envelopes:
        if not isinstance(envelope, dict) or not isinstance(envelope.get("body"), dict):
            continue
        body, endorsement = envelope["body"], envelope.get("endorsement")
        _add(found["parties"], body, "party_id", "actor")
        _add(found["consents"], body, "consent_id")
        _add(found["disputes"], body, "dispute_id")
        _add(found["event_ids"], body, "event_id")
        _add(found["keys"], body, "key_id")
        _add(found["keys"], envelope, "key_id")
        if isinstance(endorsement, dict):
            _add(found["keys"], endorsement, "key_id")
    names = ("parties", "consents", "disputes", "event_ids", "keys")
    return Needs(*(frozenset(found[name]) for name in names))


def _add(names: set[str], source: dict[str, Any], *fields: str) -> None:
    names.update(value for value in map(source.get, fields) if isinstance(value, str))
