"""A sealed snapshot, read back: where it is, which one is current, and whether it still holds.

Everything that later stages ask of a snapshot, and the local folders through which their processes read the store;
`snapshot` makes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from assets.consent.sealed_members import manifest_key
from assets.home import Home
from training.consent.canonical import CanonicalError, parse_strictly, sha256_hex
from training.consent.eligibility import PURPOSE
from training.consent.guard import ConsentGuard, ConsentViolation
from training.consent.snapshot import SnapshotError as SealBroken
from training.consent.snapshot import member_leaf, verify_manifest
from training.model.exposure import of_weights

_KEPT = ("clip_id", "item_id", "shot_index", "bytes_sha256", "contributor_id", "dup_group", "split", "caption")


class SnapshotError(RuntimeError):
    """There is no usable snapshot; the message says what is missing."""


@dataclass(frozen=True)
class Sealed:
    """A sealed manifest, the local file that holds it, and the root under which the lake knows it."""

    root: str
    manifest: Mapping[str, Any]
    path: Path

    @property
    def members(self) -> list[dict[str, Any]]:
        return self.manifest["members"]

    @property
    def clip_ids(self) -> list[str]:
        return [member["clip_id"] for member in self.members]


def table_rows(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `snapshot_members`, in clip order."""
    return [
        {
            "snapshot_root": manifest["root"],
            **{name: member[name] for name in _KEPT},
            "consent_ids": member["consent_ids"],
            "decision_digest": member["decision_digest"],
            "leaf_hash": member_leaf(member).hex(),
        }
        for member in manifest["members"]
    ]


def current(home: Home) -> Sealed:
    """The snapshot that was sealed last. Raises SnapshotError before the first, or if its manifest is unreadable."""
    roots = home.lake.read("snapshot_members").column("snapshot_root").unique().to_pylist()
    if len(roots) != 1:
        raise SnapshotError("no snapshot was sealed yet: materialise training_snapshot first")
    path = home.store.fetch(manifest_key(roots[0]))
    try:
        return Sealed(roots[0], parse_strictly(path.read_text("utf-8")), path)
    except (CanonicalError, UnicodeError) as error:
        raise SnapshotError(f"{path} is not a manifest any more: {error}") from error


def manifests(home: Home, roots: Iterable[str]) -> dict[str, str]:
    """Local files of the manifests sealed under these roots, as far as the store has them."""
    keys = {root: manifest_key(root) for root in sorted(roots)}
    return {root: str(home.store.fetch(key)) for root, key in keys.items() if home.store.exists(key)}


def ancestors(home: Home, *weights: Path) -> list[dict[str, str]]:
    """The manifests of all that these weights say they saw, as a training process takes them.

    Weights that do not say, and manifests that are gone, are left out here: the process refuses by itself.
    """
    roots: set[str] = set()
    for path in weights:
        with suppress(ConsentViolation):
            roots |= of_weights(path).keys()
    return [{"root": root, "manifest": path} for root, path in manifests(home, roots).items()]


def consent_violation(
    home: Home, sealed: Sealed, seen: Mapping[str, str] = MappingProxyType({})
) -> dict[str, list[str]]:
    """Reasons by clip why the snapshot may not be used as the ledger stands now; empty when it may.

    `seen` is what weights saw besides, roots with the time of first use: the ledger is asked about all of it.
    """
    try:
        older = manifests(home, seen)
        ConsentGuard(sealed.path, sealed.root, home.database_url, PURPOSE, seen=seen, ancestors=older).check()
    except ConsentViolation as violation:
        return {clip_id: list(reasons) for clip_id, reasons in violation.reasons.items()}
    return {}


def defects(home: Home, sealed: Sealed) -> list[str]:
    """What is wrong with the manifest and the table beside it: seal, root, rows. Empty when both hold."""
    try:
        verify_manifest(dict(sealed.manifest), sealed.root)
    except SealBroken as error:
        return [str(error)]
    whole = home.lake.rows("snapshot_members") == table_rows(sealed.manifest)
    return [] if whole else ["the table snapshot_members is not what the manifest says"]


def local_view(home: Home, keys: Iterable[str]) -> Path:
    """A folder with a link for each key, under its last name: all that a process on this machine may read of the store.

    The links lead to the store's own files, or to fetched copies. Raises FileNotFoundError for what is not in the store.
    """
    keys = sorted(keys)
    folder = home.scratch("views") / sha256_hex("\n".join(keys).encode())[:24]
    folder.mkdir(exist_ok=True)
    for key in keys:
        link, target = folder / Path(key).name, home.store.fetch(key)
        if not (link.is_symlink() and link.readlink() == target):
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    return folder
