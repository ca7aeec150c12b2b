"""Whether a sealed snapshot still rests on consent: asked in whole once, and from then on only about what has changed.

A snapshot that the training process's own guard passed at one size of the ledger, over one window, can only fail later
through people and footage that events since then were about, or through terms that begin or end after that window. Those
members are few and found by index; the answer is the guard's own, which is tested. What cannot be shown is not allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from assets.consent import reach
from assets.consent.sealed_members import SealedSnapshots, Sealing, manifest_key
from assets.consent.withdrawal_log import WithdrawalLog
from assets.database import engine_with, writing
from assets.home import Home
from training.consent.canonical import CanonicalError, file_sha256
from training.consent.database import BigId
from training.consent.eligibility import PURPOSE, eligible
from training.consent.guard import WHOLE, ConsentGuard, ConsentViolation
from training.consent.keys import Checkpoint
from training.consent.ledger import EvidenceBroken, LedgerMissing, LedgerReader, require_bodies
from training.consent.times import instant, now_utc, time_text

_metadata = sa.MetaData()
_shown = sa.Table(
    "snapshot_standing",
    _metadata,
    sa.Column("root", sa.String(64), primary_key=True),
    sa.Column("manifest_sha256", sa.String(64), primary_key=True),
    sa.Column("ledger_size", BigId, nullable=False),
    sa.Column("ledger_root", sa.String(64), nullable=False),
    sa.Column("until", sa.String(20), nullable=False),
)


@dataclass(frozen=True)
class Shown:
    """That every member was eligible from the first sealing to `until`, on the ledger of this size and root."""

    ledger_size: int
    ledger_root: str
    until: datetime


def violations(home: Home, root: str, now: datetime | None = None) -> dict[str, list[str]]:
    """Reasons by clip (`"*"`: the whole) why the snapshot may not be used as the ledger stands now; empty when it may.

    Raises FileNotFoundError where there is no manifest.
    """
    path, now = home.store.fetch(manifest_key(root)), instant(now or now_utc())
    digest = file_sha256(path)
    try:
        snapshots, shown = SealedSnapshots(home.database_url), _read(home, root, digest)
        sealing = snapshots.sealing(root, digest)
        if sealing is None or shown is None:
            _ask_in_whole(home, snapshots, path, root, digest, now)
        else:
            _ask_what_changed(home, snapshots, sealing, shown, now)
    except ConsentViolation as violation:
        return {clip_id: list(reasons) for clip_id, reasons in violation.reasons.items()}
    except (EvidenceBroken, LookupError):
        return {WHOLE: ["ledger.broken"]}
    except (LedgerMissing, SQLAlchemyError, CanonicalError):
        return {WHOLE: ["ledger.unreadable"]}
    return {}


def standing_violations(home: Home, *roots: str) -> list[str]:
    """Members of these snapshots, each with its reasons, that the ledger's head does not allow; empty when all may stay.

    A snapshot that cannot be found or read counts as a violation: what cannot be shown is not allowed.
    """
    violating: list[str] = []
    for root in roots:
        try:
            by_clip = violations(home, root)
        except (FileNotFoundError, ValueError) as error:
            violating.append(f"snapshot {root[:12] or 'of unknown root'} cannot be read ({error})")
        else:
            violating += [f"{clip_id[:16]} ({', '.join(reasons)})" for clip_id, reasons in sorted(by_clip.items())]
    return violating


def _ask_in_whole(home: Home, snapshots: SealedSnapshots, path: Path, root: str, digest: str, now: datetime) -> None:
    """The guard over everything; what it passed is remembered with the ledger as it stood before."""
    earliest = min((s.at for s in snapshots.sealings() if s.root == root), default=None)
    guard = ConsentGuard(path, root, home.database_url, PURPOSE, {root: time_text(earliest)} if earliest else {})
    before = LedgerReader(home.database_url).head()
    guard.check(now)
    snapshots.record(guard.manifest, digest)
    remember(home, root, digest, before, max(instant(guard.manifest["until"]), now))


def _ask_what_changed(home: Home, snapshots: SealedSnapshots, sealing: Sealing, shown: Shown, now: datetime) -> None:
    """As the guard would answer; raises ConsentViolation."""
    ledger, log = LedgerReader(home.database_url), WithdrawalLog(home.database_url)
    head = ledger.head()
    now = max(now, head.recorded_at or now)
    if head.size < shown.ledger_size or ledger.head(upto=shown.ledger_size).root != shown.ledger_root:
        raise ConsentViolation.of_all("ledger.rewritten", "the ledger no longer contains what was checked before")
    with ledger.engine.connect() as connection:
        require_bodies(connection, shown.ledger_size, head.size)
    if now > shown.until and log.mark().ledger_size < shown.ledger_size:
        due = snapshots.numbers_in(sealing.root)  # which terms come into force later was not read yet
    else:
        touched = reach.touched_since(ledger, log, shown.ledger_size, shown.until, now)
        due = snapshots.holding(snapshots.concerned(touched.parties, touched.digests), sealing.root).get(
            sealing.root, []
        )
    _require(snapshots, ledger, sealing, due, head, now)
    if head.size > shown.ledger_size or now > shown.until:
        remember(home, sealing.root, sealing.manifest_sha256, head, max(shown.until, now))


def _require(
    snapshots: SealedSnapshots,
    ledger: LedgerReader,
    sealing: Sealing,
    numbers: list[int],
    head: Checkpoint,
    now: datetime,
) -> None:
    """These members stand from the first sealing to the horizon, or until now where that is later."""
    members = snapshots.members(numbers)
    state, _ = reach.state_for(ledger, members.values(), head.size)
    start = min(s.at for s in snapshots.sealings() if s.root == sealing.root)
    reasons = {}
    for member in members.values():
        asked = (sealing.purpose, start, max(sealing.until, now), state, sealing.audience)
        if not (decision := eligible(member.facts, *asked)).eligible:
            reasons[member.clip_id] = decision.reasons
    if reasons:
        raise ConsentViolation(reasons)


def remember(home: Home, root: str, manifest_sha256: str, head: Checkpoint, until: datetime) -> None:
    """Keep what was shown; the next question starts there."""
    row = {"ledger_size": head.size, "ledger_root": head.root, "until": time_text(until)}
    same = (_shown.c.root == root) & (_shown.c.manifest_sha256 == manifest_sha256)
    with writing(engine_with(home.database_url, _metadata)) as connection:
        if connection.execute(sa.update(_shown).where(same).values(row)).rowcount == 0:
            connection.execute(sa.insert(_shown).values(root=root, manifest_sha256=manifest_sha256, **row))


def _read(home: Home, root: str, manifest_sha256: str) -> Shown | None:
    same = (_shown.c.root == root) & (_shown.c.manifest_sha256 == manifest_sha256)
    with engine_with(home.database_url, _metadata).connect() as connection:
        row = connection.execute(sa.select(_shown).where(same)).first()
    return Shown(row.ledger_size, row.ledger_root, instant(row.until)) if row else None
