"""What a model is committed to: one signed statement of everything that its weights saw, made before its version exists.

A commitment is made at registration and kept for good: in the transactional database, where no row is changed, and beside
the weights as `models/<model_key>/commitment.json`. What the statement says and how it is checked is in
`assets.consent.proofs.models`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from assets.consent.platform import checkpoint_key, platform_ledger
from assets.consent.proofs.models import committed_set, model_body
from assets.consent.proofs.statements import Statement, file_bytes, sign_statement
from assets.consent.sealed_members import manifest_key
from assets.database import append_only, engine_with, writing
from assets.home import Home
from assets.model import published
from assets.model.published import CurrentModel
from training.consent.canonical import CanonicalError, file_sha256, parse_strictly
from training.consent.keys import sign_checkpoint
from training.consent.snapshot import SnapshotError, verify_manifest
from training.model.exposure import HEADER

TAG_LENGTH = 5000  # what MLflow takes; longer lists of snapshots are in the commitment alone

_metadata = sa.MetaData()
_commitments = sa.Table(
    "model_commitment",
    _metadata,
    sa.Column("model_key", sa.String(64), primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("statement", sa.Text, nullable=False),  # the file, byte for byte
)
append_only(_commitments)


class CommitmentError(RuntimeError):
    """A model that cannot be committed to, or is committed to something else already; the message says why."""


@dataclass(frozen=True)
class Commitment:
    """A kept statement and the digest of its file."""

    statement: Statement
    sha256: str

    @property
    def tags(self) -> dict[str, str]:
        """What the registered version shows of it."""
        exposure, end = self.statement["exposure"], self.statement["ledger"]["end"]
        roots = ",".join(snapshot["snapshot_root"] for snapshot in exposure)
        return {
            "ids_root": self.statement["ids_root"],
            "commitment_sha256": self.sha256,
            "commitment_checkpoint": f"{end['size']}:{end['root']}",
            "exposure_size": str(len(exposure)),
            **({"exposure": roots} if len(roots) <= TAG_LENGTH else {}),
        }


def key(model_key: str) -> str:
    """Where the statement lies in the store."""
    return f"{published.folder(model_key)}/commitment.json"


def commit(home: Home, model: CurrentModel) -> Commitment:
    """The model's commitment: the existing one, or a new one. Raises CommitmentError.

    For the same weights and snapshots it stays the first one, whatever the ledger holds by then. Other weights or snapshots
    under the same key are refused: a model says once what it saw.
    """
    facts, kept = _facts(home, model), find(home, model.model_key)
    if kept is None:
        body = model_body(**facts, ledger=_checkpoints(home, model))
        kept = _keep(home, model.model_key, file_bytes(sign_statement(body, checkpoint_key(home))))
    now, then = model_body(**facts, ledger=kept.statement["ledger"]), kept.statement
    if odd := sorted(name for name in now if now[name] != then[name]):
        raise CommitmentError(f"model {model.model_key} was committed to other {', '.join(odd)} before; train it anew")
    _put_beside(home, model.model_key, kept)
    return kept


def find(home: Home, model_key: str) -> Commitment | None:
    """The commitment of a model, None if it has none."""
    return next(_read(home, _commitments.c.model_key == model_key), None)


def exposed_to(home: Home, snapshot_root: str) -> list[Commitment]:
    """Every commitment whose model saw this snapshot, by model key."""
    return [
        commitment
        for commitment in _read(home, sa.true())
        if snapshot_root in (seen["snapshot_root"] for seen in commitment.statement["exposure"])
    ]


def _read(home: Home, where: sa.ColumnElement[bool]) -> Iterator[Commitment]:
    query = sa.select(_commitments).where(where).order_by(_commitments.c.model_key)
    with engine_with(home.database_url, _metadata).connect() as connection:
        rows = connection.execute(query).all()
    for row in rows:
        yield Commitment(parse_strictly(row.statement), row.sha256)


def _keep(home: Home, model_key: str, content: bytes) -> Commitment:
    """Keep it unless somebody else kept one in the meantime; returns the one that stands."""
    row = {
        "model_key": model_key,
        "sha256": hashlib.sha256(content).hexdigest(),
        "statement": content.decode(),
    }
    with writing(engine_with(home.database_url, _metadata)) as connection:
        existing = sa.select(_commitments.c.model_key).where(_commitments.c.model_key == model_key)
        if connection.execute(existing).first() is None:
            connection.execute(sa.insert(_commitments).values(row))
    kept = find(home, model_key)
    assert kept is not None
    return kept


def _put_beside(home: Home, model_key: str, kept: Commitment) -> None:
    """Put the file beside the weights, unless it is there already. Raises CommitmentError if another one is."""
    content = file_bytes(kept.statement)
    if not home.store.exists(key(model_key)):
        home.store.put(key(model_key), content)
    elif home.store.get(key(model_key)) != content:
        raise CommitmentError(f"{home.store.uri(key(model_key))} is not the commitment that was made for the model")


def _facts(home: Home, model: CurrentModel) -> dict[str, Any]:
    """All that the statement says except the ledger's state: digests of the weights, and what they saw."""
    weights = sorted(model.folder(home).glob("*.safetensors"))
    seen = sorted(
        {*ancestry_exposure(home, model.model_key), *(root for path in weights for root in _header_roots(path))}
    )
    return {
        "model_key": model.model_key,
        "weights_sha256": {path.name: file_sha256(path) for path in weights},
        "own": _committed(home, model.sealed.root),
        "exposure": [_committed(home, root) for root in seen if root != model.sealed.root],
        "base": model.pretrained,
    }


def ancestry_exposure(home: Home, model_key: str) -> list[str]:
    """Roots of every snapshot that the model saw: as its record says, and the records of all that it started from.

    The repository's own base has no record, for it saw no footage. Another base's key shows nothing.
    """
    roots: set[str] = set()
    todo, done = [model_key], set[str]()
    while todo:
        ancestor = todo.pop()
        if published.base_folder(ancestor) is not None:
            continue
        record = published.pair(home, ancestor)
        if record is None:
            raise CommitmentError(
                f"model {model_key} started from {ancestor}, whose record is missing: what it saw is unknown"
            )
        roots |= {record["snapshot_root"], *record.get("exposure", ())}
        done.add(ancestor)
        if (parent := record.get("parent_model")) and parent not in done:
            todo.append(parent)
    return sorted(roots)


def _header_roots(weights: Path) -> set[str]:
    """Roots in the header of the weights themselves: a record that hides one is not believed."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="numpy") as file:
            return set(parse_strictly((file.metadata() or {}).get(HEADER, "{}")))
    except (SafetensorError, CanonicalError) as error:
        raise CommitmentError(f"{weights.name} cannot be read: {error}") from error


def _committed(home: Home, root: str) -> dict[str, Any]:
    """A sealed set with its manifest verified: only what was read is committed to."""
    try:
        manifest = parse_strictly(home.store.get(manifest_key(root)).decode("utf-8"))
        verify_manifest(manifest, root)
    except (FileNotFoundError, UnicodeError, CanonicalError, SnapshotError) as error:
        raise CommitmentError(f"the model saw snapshot {root}, which cannot be committed to: {error}") from error
    return committed_set(manifest)


def _checkpoints(home: Home, model: CurrentModel) -> dict[str, Any]:
    """The ledger on which the snapshot was sealed, the ledger now, and that the second continues the first."""
    ledger, signing, sealed = platform_ledger(home), checkpoint_key(home), model.sealed.manifest["ledger"]
    start = ledger.head(upto=sealed["size"])
    if (start.size, start.root) != (sealed["size"], sealed["root"]):
        raise CommitmentError("the ledger no longer contains what the snapshot was sealed on")
    end = ledger.checkpoint_signed(signing)
    proof = [node.hex() for node in ledger.consistency_proof(start.size, end["size"])]
    return {"start": sign_checkpoint(start, signing), "end": end, "consistency": proof}
