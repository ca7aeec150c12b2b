"""The training process's own refusal: it recomputes the snapshot's root and asks the ledger again, trusting nobody.

Called before the first step and at every checkpoint. It needs the manifest, the root it was told to train on and the
ledger's database, and no other part of the platform.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from training.consent import merkle
from training.consent.canonical import CanonicalError, parse_strictly, sha256_hex
from training.consent.eligibility import ClipFacts, ConsentState, eligible
from training.consent.ledger import Ledger, LedgerMissing
from training.consent.snapshot import SnapshotError, verify_manifest
from training.consent.times import instant, now_utc, time_text
from training.consent.violation import WHOLE, ConsentViolation

__all__ = ["WHOLE", "ConsentGuard", "ConsentViolation"]


@dataclass(frozen=True)
class Held:
    """A snapshot that is held to the ledger: its verified manifest, and since when its clips must be consented to."""

    manifest: dict[str, Any]
    sha256: str  # of the manifest's file
    since: str
    facts: list[ClipFacts]


class ConsentGuard:
    """Holds the snapshots that weights ever saw to the consent they rest on.

    `seen` are the roots that earlier training saw, each with the time of its first use, and `ancestors` the manifests by
    root. All are read and verified once, here; raises ConsentViolation when one is missing or not what its root says.
    """

    def __init__(
        self,
        manifest_path: Path | str,
        expected_root: str,
        database_url: str,
        purpose: str = "train",
        seen: Mapping[str, str] = MappingProxyType({}),
        ancestors: Mapping[str, Path | str] = MappingProxyType({}),
    ) -> None:
        self.database_url = database_url
        own = _read(Path(manifest_path), expected_root, seen.get(expected_root))
        if own.manifest["purpose"] != purpose:
            raise ConsentViolation.of_all("consent.scope", f"sealed for {own.manifest['purpose']}, not {purpose}")
        if absent := sorted(set(seen) - {expected_root} - set(ancestors)):
            raise ConsentViolation.of_all("exposure.unproven", f"no manifest of snapshot {absent[0]}, which was seen")
        older = [_read(Path(ancestors[root]), root, seen[root]) for root in sorted(seen) if root != expected_root]
        self.held, self.manifest, self.manifest_sha256 = [own, *older], own.manifest, own.sha256

    @property
    def exposure(self) -> dict[str, str]:
        """Roots of all snapshots that are held to the ledger, each with the time of its first use."""
        return {one.manifest["root"]: one.since for one in sorted(self.held, key=lambda held: held.manifest["root"])}

    def check(self, now: datetime | None = None) -> None:
        """Re-evaluate every member at the ledger's head; raises ConsentViolation with every reason by clip.

        Consent must have held without a gap since the snapshot was first used and must hold until its horizon, so a
        revocation followed by a new grant still needs a new snapshot. No ledger means no consent.
        """
        now = instant(now or now_utc())
        try:
            ledger = Ledger(self.database_url, create=False)
            try:
                self._require_same_history(ledger)
                head, state = ledger.head(), ConsentState.fold(ledger.events())
            finally:
                ledger.engine.dispose()
        except (LedgerMissing, SQLAlchemyError, CanonicalError) as error:
            raise ConsentViolation.of_all("ledger.unreadable", str(error)) from error
        now = max(now, head.recorded_at or now)  # a clock that lags behind the ledger's is wrong
        reasons: dict[str, set[str]] = {}
        for held in self.held:
            manifest = held.manifest
            start, end = min(instant(held.since), now), max(instant(manifest["until"]), now)
            for facts in held.facts:
                decision = eligible(facts, manifest["purpose"], start, end, state, manifest["territory"])
                if not decision.eligible:
                    reasons.setdefault(facts.clip_id, set()).update(decision.reasons)
        if reasons:
            raise ConsentViolation({clip_id: tuple(sorted(codes)) for clip_id, codes in reasons.items()})

    def _require_same_history(self, ledger: Ledger) -> None:
        """The ledger that each snapshot was sealed on must be a prefix of the ledger as it stands."""
        leaves = ledger.leaves()
        for sealed in (held.manifest["ledger"] for held in self.held):
            if len(leaves) < sealed["size"] or merkle.root(leaves[: sealed["size"]]).hex() != sealed["root"]:
                raise ConsentViolation.of_all("ledger.rewritten", "the ledger no longer contains what was sealed")


def _read(path: Path, expected_root: str, since: str | None) -> Held:
    """The manifest in a file, verified; `since` is when it was first used, where that was before it was sealed anew."""
    try:
        content = path.read_bytes()
        manifest = parse_strictly(content.decode("utf-8"))
        if not expected_root:
            raise SnapshotError("snapshot.root", "no root to train on was given")
        verify_manifest(manifest, expected_root)
    except SnapshotError as error:
        raise ConsentViolation.of_all(error.code, str(error)) from error
    except (OSError, UnicodeError, CanonicalError, json.JSONDecodeError) as error:
        raise ConsentViolation.of_all("snapshot.unreadable", str(error)) from error
    first = min(manifest["at"], since or manifest["at"], key=instant)
    facts = [ClipFacts.from_dict(member["facts"]) for member in manifest["members"]]
    return Held(manifest, sha256_hex(content), time_text(instant(first)), facts)
