"""The training process's own refusal: it recomputes the snapshot's root and asks the ledger again, trusting nobody.

Called before the first step and at every checkpoint. It needs the manifest, the root it was told to train on and the
ledger's database, and no other part of the platform.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from training.consent import merkle
from training.consent.canonical import CanonicalError, parse_strictly
from training.consent.eligibility import ClipFacts, ConsentState, eligible
from training.consent.ledger import Ledger, LedgerMissing
from training.consent.snapshot import SnapshotError, verify_manifest
from training.consent.times import instant, now_utc

WHOLE = "*"  # key of reasons that concern the whole snapshot, not one clip


class ConsentViolation(Exception):
    """Training must not start or go on. `reasons` holds codes by clip; `"*"` stands for the whole snapshot."""

    def __init__(self, reasons: dict[str, tuple[str, ...]], detail: str = "") -> None:
        shown = "; ".join(f"{clip}: {', '.join(codes)}" for clip, codes in sorted(reasons.items())[:5])
        more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        super().__init__(f"consent does not hold for {shown}{more}" + (f" ({detail})" if detail else ""))
        self.reasons = reasons


class ConsentGuard:
    """Holds one snapshot to the consent it rests on.

    The manifest is read and verified once, here; raises ConsentViolation when it is not the expected snapshot.
    """

    def __init__(
        self, manifest_path: Path | str, expected_root: str, database_url: str, purpose: str = "train"
    ) -> None:
        self.manifest = _read(Path(manifest_path), expected_root)
        if self.manifest["purpose"] != purpose:
            raise ConsentViolation({WHOLE: ("consent.scope",)}, f"sealed for {self.manifest['purpose']}, not {purpose}")
        self.purpose, self.database_url = purpose, database_url
        self.facts = [ClipFacts.from_dict(member["facts"]) for member in self.manifest["members"]]

    def check(self, now: datetime | None = None) -> None:
        """Re-evaluate every member at the ledger's head; raises ConsentViolation with every reason by clip.

        Consent must have held without a gap since the snapshot was sealed and must hold until its horizon, so a
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
            raise ConsentViolation({WHOLE: ("ledger.unreadable",)}, str(error)) from error
        now = max(now, head.recorded_at or now)  # a clock that lags behind the ledger's is wrong
        start, end = min(instant(self.manifest["at"]), now), max(instant(self.manifest["until"]), now)
        reasons = {}
        for facts in self.facts:
            decision = eligible(facts, self.purpose, start, end, state, self.manifest["territory"])
            if not decision.eligible:
                reasons[facts.clip_id] = decision.reasons
        if reasons:
            raise ConsentViolation(reasons)

    def _require_same_history(self, ledger: Ledger) -> None:
        """The ledger the snapshot was sealed on must be a prefix of the ledger as it stands."""
        sealed, leaves = self.manifest["ledger"], ledger.leaves()
        if len(leaves) < sealed["size"] or merkle.root(leaves[: sealed["size"]]).hex() != sealed["root"]:
            raise ConsentViolation({WHOLE: ("ledger.rewritten",)}, "the ledger no longer contains what was sealed")


def _read(path: Path, expected_root: str) -> dict[str, Any]:
    try:
        manifest = parse_strictly(path.read_text("utf-8"))
        if not expected_root:
            raise SnapshotError("snapshot.root", "no root to train on was given")
        verify_manifest(manifest, expected_root)
    except SnapshotError as error:
        raise ConsentViolation({WHOLE: (error.code,)}, str(error)) from error
    except (OSError, UnicodeError, CanonicalError, json.JSONDecodeError) as error:
        raise ConsentViolation({WHOLE: ("snapshot.unreadable",)}, str(error)) from error
    return manifest
