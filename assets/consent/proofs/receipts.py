"""A person's receipt, `rushes.receipt/1`: what they signed, that the ledger holds it, where it was used, what was paid.

It carries everything that its checks need: the entries of the consent and those that bind each key to its owner, with
their salts and paths, so that the rules by which the ledger admitted them can be run again by whoever holds the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from assets.consent.admission import Register, judge
from assets.consent.proofs.membership import ClipTree, check_inclusion
from assets.consent.proofs.models import check_model
from assets.consent.proofs.statements import (
    check_checkpoint,
    digest,
    nodes,
    require,
    require_fields,
    statement_holds,
    whole_number,
)
from training.consent import merkle
from training.consent.canonical import canonical, sha256_hex
from training.consent.events import CONSENT_TYPES
from training.consent.tables import leaf_of
from training.consent.times import parse_time

RECEIPT = "rushes.receipt/1"
_FIELDS = {
    *("schema", "receipt_id", "consent_id", "record", "notices", "entries", "checkpoint", "used", "paid"),
    *("withdrawals", "signature"),
}
_ENTRY = {"seq", "recorded_at", "salt", "leaf", "envelope", "path"}
_USED = {"snapshot_root", "ids_root", "n", "clips", "models"}
_MODEL = {"model_key", "version", "aliases", "taint", "released", "commitment"}
_PAID = {"state", "entries"}
CREDITED, NOT_YET, NOT_OWED, NOT_KNOWN = PAID_STATES = ("credited", "not paid yet", "not owed", "not known")

Body = dict[str, Any]
Entry = Mapping[str, Any]


class Aftermath(TypedDict):
    """What became of the consent, as the platform says."""

    used: list[Body]  # each as `used_set` makes it
    paid: Body  # {state, entries}
    withdrawals: list[Body]  # {withdrawal, completed}


def receipt_body(
    consent_id: str,
    entries: Sequence[Entry],
    notices: Mapping[str, Mapping[str, Any]],
    checkpoint: Mapping[str, Any],
    **after: Unpack[Aftermath],
) -> Body:
    """What is signed for a person. `entries` in ledger order, with leaf and path: those of the consent, and the identity
    events of all who signed; `notices` by digest.
    """
    body = {
        "schema": RECEIPT,
        "consent_id": consent_id,
        "record": consent_record(_of_consent(entries, consent_id), notices),
        "notices": dict(notices),
        "entries": [dict(entry) for entry in entries],
        "checkpoint": dict(checkpoint),
        **after,
    }
    return {**body, "receipt_id": f"receipt-{sha256_hex(body)[:32]}"}


def used_set(
    committed: Mapping[str, Any], tree: ClipTree, clips: Iterable[str], models: Iterable[Mapping[str, Any]]
) -> Body:
    """A sealed set in which clips of the consent are, each with its path, and the models that saw the set."""
    placed = [{"clip_id": clip_id, **tree.inclusion(clip_id)} for clip_id in sorted(clips)]
    return {**committed, "clips": placed, "models": [dict(model) for model in models]}


def _of_consent(entries: Iterable[Entry], consent_id: str) -> list[Entry]:
    return [entry for entry in entries if entry["envelope"]["body"].get("consent_id") == consent_id]


def check_receipt(statement: Any, public_key: bytes) -> list[str]:
    """What a receipt shows, in sentences. Raises ProofError."""
    require_fields(statement, _FIELDS, "a receipt")
    require(statement["schema"] == RECEIPT, f"not a {RECEIPT} statement")
    require(statement_holds(statement, public_key), "the receipt's signature does not hold")
    body = {name: value for name, value in statement.items() if name not in ("signature", "receipt_id")}
    require(
        statement["receipt_id"] == f"receipt-{sha256_hex(body)[:32]}", "the receipt's id is not that of its content"
    )
    check_checkpoint(statement["checkpoint"], public_key)
    shown = _check_entries(statement)
    _check_record(statement)
    shown += [sentence for used_set in statement["used"] for sentence in _check_used(used_set, public_key)]
    if not statement["used"]:
        shown.append("The platform says that no sealed training set rests on it.")
    return [*shown, _paid(statement["paid"]), *_withdrawals(statement["withdrawals"])]


def _check_entries(statement: Body) -> list[str]:
    """Every entry is in the ledger, and the ledger's rules admit each after those before it."""
    checkpoint, consent_id, register = statement["checkpoint"], statement["consent_id"], Register()
    require(bool(_of_consent(statement["entries"], consent_id)), f"no entry is of consent {consent_id}")
    shown, last, recorded = [], -1, ""
    for entry in statement["entries"]:
        check_entry(entry, checkpoint)
        in_order = entry["seq"] > last and entry["recorded_at"] >= recorded
        require(in_order, f"entry {entry['seq']} is not behind the entry before it")
        last, recorded = entry["seq"], entry["recorded_at"]
        envelope = entry["envelope"]
        refusal = judge(register, envelope, parse_time(recorded))
        if refusal is not None:
            require(False, f"no ledger would admit entry {last}: {refusal.rule.value}: {refusal.detail}")
        register.record(envelope)
        if envelope["body"]["type"] in CONSENT_TYPES:
            require(envelope["body"]["consent_id"] == consent_id, f"entry {last} is of another consent")
            shown.append(_event(entry))
    return [
        *shown,
        f"The ledger of {checkpoint['size']} events, root {checkpoint['root']}, contains each of these entries.",
    ]


def check_entry(entry: Any, checkpoint: Mapping[str, Any]) -> None:
    """An entry's leaf recomputes from what was signed and is in the ledger of a checkpoint that was checked already."""
    require_fields(entry, _ENTRY, "a ledger entry")
    seq, envelope = whole_number(entry["seq"], "an entry's seq"), entry["envelope"]
    parse_time(entry["recorded_at"])
    leaf = leaf_of(digest(entry["salt"]), entry["recorded_at"], envelope)
    require(leaf == digest(entry["leaf"]), f"entry {seq} is not what its leaf commits to")
    held = merkle.verify_inclusion(leaf, seq, checkpoint["size"], nodes(entry["path"]), digest(checkpoint["root"]))
    require(held, f"entry {seq} is not in the ledger of {checkpoint['size']} events")


def _check_record(statement: Body) -> None:
    """The record says what the entries and the notices say, and nothing else."""
    for name, notice in statement["notices"].items():
        require(sha256_hex(notice) == name, f"the notice {name} is not the one that was shown")
    of_consent = _of_consent(statement["entries"], statement["consent_id"])
    derived = consent_record(of_consent, statement["notices"])
    require(canonical(derived) == canonical(statement["record"]), "the record is not what the entries say")


def _check_used(used: Any, public_key: bytes) -> list[str]:
    require_fields(used, _USED, "a set in which the footage was used")
    committed = {name: used[name] for name in ("snapshot_root", "ids_root", "n")}
    for clip in used["clips"]:
        require_fields(clip, {"clip_id", "index", "path"}, "a clip in a set")
        check_inclusion({"index": clip["index"], "path": clip["path"]}, clip["clip_id"], used["ids_root"], used["n"])
    shown = [
        f"{len(used['clips'])} clips that rest on it are in snapshot {used['snapshot_root']} of {used['n']} clips."
    ]
    for model in used["models"]:
        require_fields(model, _MODEL, "a model that saw the footage")
        if model["commitment"] is not None:
            check_model(model["commitment"], public_key)
            seen = committed in model["commitment"]["exposure"]
            require(seen, f"model {model['model_key']} is not committed to snapshot {used['snapshot_root']}")
            same = model["commitment"]["model_key"] == model["model_key"]
            require(same, f"the commitment is not that of model {model['model_key']}")
        shown.append(_model(model))
    return shown


def _event(entry: Entry) -> str:
    body, did = entry["envelope"]["body"], {"grant": "granted", "amend": "amended", "revoke": "withdrew"}
    by = "" if body["actor"] == body["party_id"] else f", signed by {body['actor']}"
    what = f" for {', '.join(body['scopes'])}" if body["type"] != "revoke" else ""
    return (
        f"{body['party_id']} ({body['role']}) {did[body['type']]} consent {body['consent_id']}{what}{by}; entry "
        f"{entry['seq']}, recorded at {entry['recorded_at']}, signed with key {entry['envelope']['key_id']}."
    )


def _model(model: Mapping[str, Any]) -> str:
    named = f"version {model['version']}" if model["version"] else "not registered"
    aliases = f", {' and '.join(model['aliases'])}" if model["aliases"] else ""
    taint = f"tainted: {model['taint']}" if model["taint"] else "not tainted"
    bound = "its commitment binds it to this snapshot" if model["commitment"] else "the platform alone says so"
    return f"Model {model['model_key']} ({named}{aliases}; {taint}) saw it: {bound}. {len(model['released'])} videos released."


def _paid(paid: Any) -> str:
    require_fields(paid, _PAID, "what was paid")
    require(paid["state"] in PAID_STATES, f"no such state of payment: {paid['state']!r}")
    require((paid["state"] == CREDITED) == bool(paid["entries"]), "the state of payment contradicts its entries")
    listed = "; ".join(
        f"{entry['amount_minor']} {entry['currency']} minor units for {entry['item_id']}" for entry in paid["entries"]
    )
    return f"The platform says of payment: {paid['state']}{f' ({listed})' if listed else ''}."


def _withdrawals(withdrawals: Any) -> list[str]:
    shown = []
    for withdrawal in withdrawals:
        require_fields(withdrawal, {"withdrawal", "completed"}, "a withdrawal")
        done = "is in its own completion receipt" if withdrawal["completed"] else "is not completed yet"
        shown.append(f"What was done after the withdrawal {withdrawal['withdrawal']} {done}.")
    return shown


# -- the record ------------------------------------------------------------------------------------------------------
# Derived from signed events and the notice alone: who holds them can derive it again, so a receipt that carries all three
# cannot contradict itself. A field that nobody kept reads "not known"; it is never made up.

SCHEMA_VERSION = "ISO/IEC TS 27560:2023, rushes.consent-record/1"
NOT_KNOWN = "not known"
_STATES = {"grant": "consent given", "amend": "consent given, on changed terms", "revoke": "consent withdrawn"}
# fields of the record that come from the notice, by the name that they have there
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
        "events": [_recorded(entry) for entry in entries],
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
    """Others who signed for the person: a guardian of a minor, or the platform that ended a consent."""
    others = sorted({body["actor"] for body in bodies} - {bodies[0]["party_id"]})
    return [{"party_id": actor, "party_role": f"signs for {bodies[0]['party_id']}"} for actor in others]


def _controller(controller: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: controller.get(name, NOT_KNOWN) for name in ("name", "address", "contact", "type")}
    return {
        "party_id": controller["party_id"],
        **{f"party_{name}": value for name, value in fields.items()},
        "party_role": "PII controller",
    }


def _recorded(entry: Entry) -> dict[str, Any]:
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
