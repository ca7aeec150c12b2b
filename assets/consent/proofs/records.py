"""One consent as a record in the shape of ISO/IEC TS 27560:2023, derived from signed events and the notice alone.

Who holds the events and the notice can derive the record again, so a receipt that carries all three cannot contradict
itself. A field that the notice would tell, but that nobody kept, reads "not known"; it is never made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA_VERSION = "ISO/IEC TS 27560:2023, rushes.consent-record/1"
NOT_KNOWN = "not known"
_STATES = {"grant": "consent given", "amend": "consent given, on changed terms", "revoke": "consent withdrawn"}
# fields of the record that the notice tells, by the notice's own name for them
_TOLD = {
    "pii_information": "pii_types",
    "storage_locations": "storage_locations",
    "retention_period": "retention_period",
    "jurisdiction": "jurisdiction",
    "lawful_basis": "lawful_basis",
    "collection_method": "collection_method",
    "processing_method": "processing_method",
    "privacy_rights": "privacy_rights",
}

Entry = Mapping[str, Any]  # a ledger entry: seq, recorded_at, envelope
Notice = Mapping[str, Any]


def consent_record(entries: Sequence[Entry], notices: Mapping[str, Notice]) -> dict[str, Any]:
    """The record of a consent from its ledger entries in order, and the notices shown, by their digest."""
    bodies = [entry["envelope"]["body"] for entry in entries]
    first = bodies[0]
    terms = next((body for body in reversed(bodies) if body["type"] != "revoke"), None)
    notice = notices.get(terms["notice_sha256"]) if terms else None
    controller = notice["controller"] if notice else {"party_id": NOT_KNOWN}
    return {
        "schema_version": SCHEMA_VERSION,
        "record_id": first["consent_id"],
        "pii_principal_id": first["party_id"],
        **_processing(terms, notice),
        **{name: notice[field] if notice else NOT_KNOWN for name, field in _TOLD.items()},
        "pii_controllers": [controller["party_id"]],
        "party_identification": [_principal(first), *_signers(bodies), _controller(controller)],
        "events": [_event(entry) for entry in entries],
    }


def _processing(terms: Mapping[str, Any] | None, notice: Notice | None) -> dict[str, Any]:
    """What was agreed to, as last signed; nothing where only a withdrawal is known."""
    if terms is None:
        nothing = dict.fromkeys(("privacy_notice", "language", "withdrawal_method"), NOT_KNOWN)
        return {**nothing, "purposes": [], "recipients": [], "geographic_restrictions": [], "footage": []}
    described = notice["purposes"] if notice else {}
    return {
        "privacy_notice": {
            "sha256": terms["notice_sha256"],
            "version": notice["version"] if notice else NOT_KNOWN,
            "text": notice["text"] if notice else NOT_KNOWN,
        },
        "language": terms["notice_lang"],
        "purposes": [
            {"purpose": scope, "description": described.get(scope, NOT_KNOWN)} for scope in sorted(terms["scopes"])
        ],
        "recipients": terms["recipients"],
        "geographic_restrictions": terms["territories"],
        "withdrawal_method": terms["withdrawal_method"],
        "footage": terms["assets"],
    }


def _principal(first: Mapping[str, Any]) -> dict[str, Any]:
    """The person. The ledger knows a pseudonym; who is behind it is kept apart and can be erased."""
    return {
        "party_id": first["party_id"],
        "party_name": "known to the controller under this pseudonym",
        "party_address": "kept apart by the controller",
        "party_contact": "kept apart by the controller",
        "party_role": f"PII principal ({first['role']})",
        "party_type": "natural person",
    }


def _signers(bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Whoever signed for the person: a guardian for a minor, or the platform that ended a consent."""
    others = sorted({body["actor"] for body in bodies} - {bodies[0]["party_id"]})
    return [{"party_id": actor, "party_role": f"signs for {bodies[0]['party_id']}"} for actor in others]


def _controller(controller: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: controller.get(name, NOT_KNOWN) for name in ("name", "address", "contact", "type")}
    return {
        "party_id": controller["party_id"],
        **{f"party_{name}": value for name, value in fields.items()},
        "party_role": "PII controller",
    }


def _event(entry: Entry) -> dict[str, Any]:
    body = entry["envelope"]["body"]
    ends = f"until {body['expires_at']}" if body.get("expires_at") else "until withdrawn"
    return {
        "event_id": body["event_id"],
        "event_type": body["type"],
        "event_state": _STATES[body["type"]],
        "event_time": body["issued_at"],
        "recorded_at": entry["recorded_at"],
        "entity_id": body["actor"],
        "validity_duration": "withdrawn for good" if body["type"] == "revoke" else ends,
    }
