"""A person's receipt, `rushes.receipt/1`: what they signed, that the ledger holds it, where it was used, what was paid.

It carries everything that its checks need: the entries of the consent and those that bind each key to its owner, with
their salts and paths, so that the rules by which the ledger admitted them can be run again by whoever holds the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assets.consent.admission import Register, judge
from assets.consent.proofs.membership import ClipTree, check_inclusion
from assets.consent.proofs.models import check_model
from assets.consent.proofs.records import consent_record
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
from training.consent.tables import commitment_leaf
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


def receipt_body(
    consent_id: str,
    entries: Sequence[Entry],
    notices: Mapping[str, Mapping[str, Any]],
    checkpoint: Mapping[str, Any],
    *,
    used: Sequence[Mapping[str, Any]],
    paid: Mapping[str, Any],
    withdrawals: Iterable[Mapping[str, Any]],
) -> Body:
    """What is signed for a person. `entries` in ledger order, with leaf and path: those of the consent, and the identity
    events of all who signed; `notices` by digest; `used` as `used_set` makes it; `withdrawals` as {withdrawal, completed}.
    """
    body = {
        "schema": RECEIPT,
        "consent_id": consent_id,
        "record": consent_record(_of_consent(entries, consent_id), notices),
        "notices": dict(notices),
        "entries": [dict(entry) for entry in entries],
        "checkpoint": dict(checkpoint),
        "used": [dict(each) for each in used],
        "paid": dict(paid),
        "withdrawals": [dict(each) for each in withdrawals],
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
    signature = bytes.fromhex(envelope["sig"])
    leaf = commitment_leaf(digest(entry["salt"]), entry["recorded_at"], canonical(envelope["body"]), signature)
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
        done = "is told in its own completion receipt" if withdrawal["completed"] else "is not completed yet"
        shown.append(f"What was done after the withdrawal {withdrawal['withdrawal']} {done}.")
    return shown
