"""Answers to the question whether a model ever saw a clip, signed; and what clip a person means.

Belongs here: finding the model's commitment and the clip ids of every set in it. The proofs are made and checked in
`assets.consent.proofs`.
"""

from __future__ import annotations

import re
from pathlib import Path

from assets.consent.platform import checkpoint_key, platform_ledger
from assets.consent.proofs.models import answer_body
from assets.consent.proofs.statements import Statement, sign_statement
from assets.consent.sealed_members import manifest_key
from assets.evaluation.commitments import find
from assets.home import Home
from assets.registry.versions import Registry
from training.consent.canonical import file_sha256, parse_strictly
from training.consent.snapshot import verify_manifest

_CLIP_ID = re.compile(r"[0-9a-f]{64}")
SHORTEST = 4  # characters that may name a clip


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
