"""A sealed training set: members in clip order under one Merkle root, and the ground on which each was let in.

`root` commits to the members alone, so the same members give the same root whenever they are sealed. `ids_root` commits
to their clip ids alone: whoever holds it can be shown that a clip is or is *not* among them, without being shown what
else is known of anybody (see `exclusion`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import Any

from training.consent import merkle
from training.consent.canonical import CanonicalError, canonical
from training.consent.eligibility import POLICY_VERSION, ClipFacts, decision_digest
from training.consent.keys import Checkpoint
from training.consent.state import EVERYBODY, Audience
from training.consent.times import instant, time_text

SCHEMA = "rushes.snapshot/2"
_HEADER = {
    *("schema", "root", "ids_root", "purpose", "territory", "recipient", "at", "until", "policy_version", "ledger"),
    *("n", "members"),
}
_MEMBER = {
    *("clip_id", "item_id", "shot_index", "bytes_sha256", "media_key", "start_frame", "end_frame", "contributor_id"),
    *("dup_group", "split", "caption", "caption_short", "facts", "consent_ids", "decision_digest"),
}
_OPTIONAL = {"captions"}  # every phrasing that training may draw; one caption a clip was sealed before there were more
_CLIP_ID = re.compile(r"[0-9a-f]{64}")


class SnapshotError(ValueError):
    """A manifest that is not what it claims to be; `code` names what broke."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def member_leaf(member: dict[str, Any]) -> bytes:
    return merkle.leaf_hash(canonical(member))


def _ordered(members: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    ordered = sorted(members, key=lambda member: member["clip_id"])
    for member, other in pairwise(ordered):
        if member["clip_id"] == other["clip_id"]:
            raise SnapshotError("snapshot.repeated", f"clip {member['clip_id']} is in the snapshot twice")
    return ordered


def members_root(members: Iterable[dict[str, Any]]) -> str:
    """Hexadecimal RFC 9162 root over the canonical members in clip order; raises SnapshotError for a repeated clip."""
    return merkle.root([member_leaf(member) for member in _ordered(members)]).hex()


def id_leaf(clip_id: str) -> bytes:
    """The leaf of a clip in the tree of clip ids: SHA-256(0x00 || the 32 bytes of the id)."""
    return merkle.leaf_hash(bytes.fromhex(clip_id))


def ids_root(clip_ids: Iterable[str]) -> str:
    """Hexadecimal RFC 9162 root over clip ids in ascending order."""
    return merkle.root([id_leaf(clip_id) for clip_id in sorted(clip_ids)]).hex()


def seal(
    members: Iterable[dict[str, Any]],
    *,
    purpose: str,
    at: datetime,
    until: datetime,
    ledger: Checkpoint,
    audience: Audience = EVERYBODY,
) -> dict[str, Any]:
    """The manifest of these members. `decision_digest` may be left out of a member; it is filled in here."""
    full = [
        {"decision_digest": decision_digest(_facts(m), purpose, m["consent_ids"], audience), **m}
        for m in _ordered(members)
    ]
    manifest = {
        "schema": SCHEMA,
        "root": members_root(full),
        "ids_root": ids_root(member["clip_id"] for member in full),
        "purpose": purpose,
        **audience._asdict(),
        "at": time_text(at),
        "until": time_text(until),
        "policy_version": POLICY_VERSION,
        "ledger": {"size": ledger.size, "root": ledger.root},
        "n": len(full),
        "members": full,
    }
    verify_manifest(manifest)
    return manifest


def verify_manifest(manifest: Any, expected_root: str | None = None) -> None:
    """Raise SnapshotError unless the manifest is whole, agrees with itself and has `expected_root`."""
    if not isinstance(manifest, dict) or set(manifest) != _HEADER or manifest["schema"] != SCHEMA:
        raise SnapshotError("snapshot.schema", f"not a {SCHEMA} manifest with the fields {sorted(_HEADER)}")
    if manifest["policy_version"] != POLICY_VERSION:
        raise SnapshotError("snapshot.policy", f"sealed under {manifest['policy_version']}, not {POLICY_VERSION}")
    try:
        members, window = manifest["members"], (instant(manifest["at"]), instant(manifest["until"]))
        for member in members:
            _verify_member(member, manifest)
        root, ids = members_root(members), ids_root(member["clip_id"] for member in members)
    except SnapshotError:
        raise
    except (CanonicalError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SnapshotError("snapshot.schema", f"the manifest cannot be read: {error}") from error
    if window[1] < window[0] or manifest["n"] != len(members):
        raise SnapshotError("snapshot.schema", "the manifest's window or count is wrong")
    if [member["clip_id"] for member in members] != sorted(member["clip_id"] for member in members):
        raise SnapshotError("snapshot.order", "members are not in clip order")
    if root != manifest["root"] or root != (expected_root or root):
        claimed = expected_root or manifest["root"]
        raise SnapshotError("snapshot.root", f"the members' root is {root}, not {claimed}: the manifest was edited")
    if ids != manifest["ids_root"]:
        raise SnapshotError("snapshot.root", f"the clip ids' root is {ids}, not {manifest['ids_root']}")
    if unphrased := [member["clip_id"] for member in members if not _phrased(member)]:
        raise SnapshotError("snapshot.schema", f"captions of {unphrased[0]} are not different texts, its own first")


def _facts(member: dict[str, Any]) -> ClipFacts:
    return ClipFacts.from_dict(member["facts"])


def _verify_member(member: dict[str, Any], manifest: dict[str, Any]) -> None:
    if set(member) - _OPTIONAL != _MEMBER:
        odd = sorted(set(member) - _OPTIONAL ^ _MEMBER)
        raise SnapshotError("snapshot.schema", f"member {member.get('clip_id')} lacks or adds {odd}")
    if not _CLIP_ID.fullmatch(member["clip_id"]):
        raise SnapshotError("snapshot.schema", f"not a clip id: {member['clip_id']!r}")
    facts = _facts(member)
    for field in ("clip_id", "item_id", "shot_index", "bytes_sha256", "contributor_id", "dup_group"):
        if member[field] != getattr(facts, field):
            raise SnapshotError("snapshot.facts", f"clip {member['clip_id']}: {field} is not what its facts say")
    audience = Audience(manifest["territory"], manifest["recipient"])
    if member["decision_digest"] != decision_digest(facts, manifest["purpose"], member["consent_ids"], audience):
        raise SnapshotError("snapshot.decision", f"clip {member['clip_id']}: the decision rests on other facts")


def _phrased(member: dict[str, Any]) -> bool:
    """Whether the member's phrasings, where it has several, are different texts that begin with its caption."""
    texts = member.get("captions", [member["caption"]])
    return (
        isinstance(texts, list)
        and all(isinstance(text, str) for text in texts)
        and texts[:1] == [member["caption"]]
        and len(set(texts)) == len(texts)
    )
