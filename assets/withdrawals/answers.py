"""Signed answers to the people: the receipt of a consent, and whether a model ever saw a clip.

Belongs here: gathering what this home knows. What the files say and how they are checked is in `assets.consent.proofs`. What
is not known is reported as not known; nothing is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from assets.consent import notices
from assets.consent.platform import checkpoint_key, platform_ledger
from assets.consent.proofs.membership import ClipTree
from assets.consent.proofs.models import answer_body, committed_set
from assets.consent.proofs.receipts import CREDITED, NOT_KNOWN, NOT_OWED, NOT_YET, receipt_body, used_set
from assets.consent.proofs.statements import Statement, sign_statement
from assets.consent.sealed_members import manifest_key, sealed_snapshots
from assets.consent.withdrawal_log import WithdrawalLog
from assets.evaluation.commitments import exposed_to, find
from assets.home import Home
from assets.registry import Registry, Version
from assets.release.bundle import read_manifest
from assets.warehouse.opening import WarehouseBusy, opened
from assets.withdrawals import receipt as completion
from training.consent import tree
from training.consent.canonical import file_sha256, parse_strictly
from training.consent.events import CONSENT_TYPES, IDENTITY_TYPES, PLATFORM
from training.consent.ledger import LedgerReader
from training.consent.snapshot import verify_manifest
from training.consent.tables import events, leaves, not_erased

_CLIP_ID = re.compile(r"[0-9a-f]{64}")
SHORTEST = 4  # characters that may name a clip

Entry = dict[str, Any]


def receipt(home: Home, identity: str) -> Statement:
    """The receipt of a consent, named by itself or by one of its events. Raises LookupError."""
    ledger, signing = platform_ledger(home), checkpoint_key(home)
    event = ledger.find(identity)
    consent_id = event.body.get("consent_id") if event else identity
    if consent_id is None:
        raise LookupError(f"{identity!r} is an event of kind {event.type if event else ''}, not of a consent")
    checkpoint = ledger.checkpoint_signed(signing)
    entries = consent_entries(ledger, consent_id, checkpoint["size"])
    if not entries:
        raise LookupError(
            f"the ledger has no consent {consent_id!r}, or it was erased; `rushes consent show` lists them"
        )
    own = [entry for entry in entries if entry["envelope"]["body"]["type"] in CONSENT_TYPES]
    body = receipt_body(
        consent_id,
        entries,
        _notices(home, own),
        checkpoint,
        used=_used(home, consent_id, own),
        paid=_paid(home, own),
        withdrawals=_withdrawals(home, own),
    )
    return sign_statement(body, signing)


def _notices(home: Home, own: Iterable[Entry]) -> dict[str, dict[str, Any]]:
    """The notices that were shown, by digest; one that this home never had is left out."""
    shown = {entry["envelope"]["body"].get("notice_sha256") for entry in own} - {None}
    kept = {digest: notices.find(home, digest) for digest in sorted(shown)}
    return {digest: notice for digest, notice in kept.items() if notice is not None}


# -- where it was used -------------------------------------------------------------------------------------------------


def _used(home: Home, consent_id: str, own: Sequence[Entry]) -> list[dict[str, Any]]:
    """Every sealed set in which clips rest on the consent, and every model that saw the set."""
    snapshots = sealed_snapshots(home)
    concerned = snapshots.members(snapshots.concerned({own[0]["envelope"]["body"]["party_id"]}, ()))
    resting = {number: member for number, member in concerned.items() if consent_id in member.consent_ids}
    versions = {version.model_key: version for version in Registry(home).versions()} if resting else {}
    used = []
    for root, numbers in snapshots.holding(resting).items():
        manifest = parse_strictly(home.store.get(manifest_key(root)).decode("utf-8"))
        tree = ClipTree(member["clip_id"] for member in manifest["members"])
        clips = {resting[number].clip_id for number in numbers}
        used.append(used_set(committed_set(manifest), tree, clips, _models(home, root, versions)))
    return used


def _models(home: Home, root: str, versions: Mapping[str, Version]) -> list[dict[str, Any]]:
    """Models that saw a snapshot: those committed to it, and versions from before there were commitments."""
    committed = {commitment.statement["model_key"]: commitment.statement for commitment in exposed_to(home, root)}
    tagged = {key for key, version in versions.items() if version.snapshot_root == root}
    return [_model(home, key, versions.get(key), committed.get(key)) for key in sorted(tagged | set(committed))]


def _model(home: Home, model_key: str, version: Version | None, commitment: Statement | None) -> dict[str, Any]:
    return {
        "model_key": model_key,
        "version": version.number if version else None,
        "aliases": list(version.aliases) if version else [],
        "taint": version.taint if version else None,
        "released": [entry["name"] for entry in read_manifest(home, model_key).get("files", [])],
        "commitment": commitment,
    }


# -- what was paid, what was withdrawn ---------------------------------------------------------------------------------


def _paid(home: Home, own: Sequence[Entry]) -> dict[str, Any]:
    """What the payout book credits the contributor with for the consent's footage. An unknown sum is never a zero."""
    import duckdb

    first = own[0]["envelope"]["body"]
    if first["role"] != "contributor":
        return {"state": NOT_OWED, "entries": []}  # the platform pays who delivers
    items = _items(home, {digest for entry in own for digest in entry["envelope"]["body"].get("assets", [])})
    try:
        with opened(home) as connection:
            rows = connection.execute(
                "select transaction_id, request_id, item_id, -amount_minor, currency from fct_payouts "
                "where account = ? and list_contains(?, item_id) order by entry_id",
                [f"contributor:{first['party_id']}", sorted(items)],
            ).fetchall()
    except (FileNotFoundError, WarehouseBusy, duckdb.CatalogException):
        return {"state": NOT_KNOWN, "entries": []}
    names = ("transaction_id", "request_id", "item_id", "amount_minor", "currency")
    entries = [dict(zip(names, row, strict=True)) for row in rows]
    return {"state": CREDITED if entries else NOT_YET, "entries": entries}


def _items(home: Home, assets: set[str]) -> set[str]:
    """Delivered files that the consent's digests name, as files or by their clips."""
    shots = home.lake.rows("shots")
    return {row["item_id"] for row in shots if {row["clip_id"], row["bytes_sha256"]} & assets}


def _withdrawals(home: Home, own: Iterable[Entry]) -> list[dict[str, Any]]:
    """Withdrawals that events of this consent caused, and whether each is completed."""
    leaves = {entry["leaf"] for entry in own}
    caused = {
        withdrawal.id
        for withdrawal in WithdrawalLog(home.database_url).withdrawals()
        if leaves & {cause.identity for cause in withdrawal.causes}
    }
    return [{"withdrawal": name, "completed": home.store.exists(completion.key(name))} for name in sorted(caused)]


# -- what the ledger holds ---------------------------------------------------------------------------------------------


def consent_entries(ledger: LedgerReader, consent_id: str, size: int) -> list[Entry]:
    """Entries of one consent among the first `size`, and of the identity of all who signed, in order, with paths into the
    ledger of that size. None where the ledger has no such consent, or it was erased.

    An event of a stranger that names the consent is no event of it: the consent is that of the party that granted it.
    """
    with ledger.engine.connect() as connection:
        named = _rows(connection, size, events.c.consent_id == consent_id, events.c.type.in_(CONSENT_TYPES))
        owner = next((e["envelope"]["body"]["party_id"] for e in named if _type(e) == "grant"), None)
        own = [entry for entry in named if owner in (None, entry["envelope"]["body"]["party_id"])]
        if not own:
            return []
        signers = {PLATFORM, *(entry["envelope"]["body"][who] for entry in own for who in ("party_id", "actor"))}
        identity = _rows(connection, size, events.c.party_id.in_(signers), events.c.type.in_(IDENTITY_TYPES))
        entries = sorted([*own, *identity], key=lambda entry: entry["seq"])
        return [
            {**entry, "path": [node.hex() for node in tree.inclusion_proof(connection, entry["seq"], size)]}
            for entry in entries
        ]


def _rows(connection: sa.Connection, size: int, *where: sa.ColumnElement[bool]) -> list[Entry]:
    query = (
        sa.select(leaves, events.c.salt, events.c.envelope)
        .join(events, events.c.seq == leaves.c.seq)
        .where(leaves.c.seq < size, not_erased(), *where)
        .order_by(leaves.c.seq)
    )
    return [
        {
            "seq": row.seq,
            "recorded_at": row.recorded_at,
            "salt": row.salt.hex(),
            "leaf": row.leaf_hash,
            "envelope": parse_strictly(row.envelope),
        }
        for row in connection.execute(query)
    ]


def _type(entry: Entry) -> str:
    return entry["envelope"]["body"]["type"]


# -- whether a model saw a clip ----------------------------------------------------------------------------------------


def answer(home: Home, clip_id: str, version: str) -> Statement:
    """A signed statement on a clip and a registered version (number or alias): exclusion, or inclusion where it was seen.

    Raises LookupError for a version that is not there or was never committed, SnapshotError for an unreadable set.
    """
    registry = Registry(home)
    number = version if version.isdigit() else registry.alias(version)
    if number is None:
        raise LookupError(f"no version has the alias {version!r}")
    kept = find(home, registry.version(number).model_key)
    if kept is None:
        raise LookupError(f"version {number} has no commitment: it was registered before models were committed to")
    model, ledger = kept.statement, platform_ledger(home)
    checkpoint = ledger.checkpoint_signed(checkpoint_key(home))
    proof = ledger.consistency_proof(model["ledger"]["end"]["size"], checkpoint["size"])
    sets = {each["snapshot_root"]: _clip_ids(home, each["snapshot_root"]) for each in model["exposure"]}
    body = answer_body(clip_id, model, sets, checkpoint, [node.hex() for node in proof])
    return sign_statement(body, checkpoint_key(home))


def _clip_ids(home: Home, root: str) -> list[str]:
    manifest = parse_strictly(home.store.get(manifest_key(root)).decode("utf-8"))
    verify_manifest(manifest, root)
    return [member["clip_id"] for member in manifest["members"]]


def clips_named(home: Home, named: str) -> list[str]:
    """The clips that a person means: those made from a media file, the one that a prefix names, or any whole clip id.

    Raises LookupError for a file that was never taken in, and for a prefix of no clip or of several.
    """
    if Path(named).is_file():
        return _clips_of_file(home, Path(named))
    if _CLIP_ID.fullmatch(named):
        return [named]  # it need not be known here: that is the question
    if len(named) < SHORTEST:
        raise LookupError(f"{named!r} is too short to name a clip; give at least {SHORTEST} characters")
    clip_ids = {row["clip_id"] for table in ("shots", "snapshot_members") for row in home.lake.rows(table)}
    matches = sorted(clip_id for clip_id in clip_ids if clip_id.startswith(named))
    if len(matches) != 1:
        several = f"could be {', '.join(clip_id[:16] for clip_id in matches[:5])}; give more of it"
        raise LookupError(f"{named!r} {several}" if matches else f"no clip is called {named!r}, and no file")
    return matches


def _clips_of_file(home: Home, path: Path) -> list[str]:
    digest = file_sha256(path)
    clip_ids = sorted({row["clip_id"] for row in home.lake.rows("shots") if row["bytes_sha256"] == digest})
    if not clip_ids:
        raise LookupError(
            f"no clip was ever made from {path} (SHA-256 {digest}) here; a clip cut from other bytes has an id of its own"
        )
    return clip_ids
