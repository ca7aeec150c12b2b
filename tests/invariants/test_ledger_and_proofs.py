"""Invariants of the record: I11 that roots recompute and the ledger only grows, I12 that erasing what is personal changes no
root, I16 that no face is kept as numbers by which it could be found again."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.consent.ledger import Ledger
from assets.dataset.sealed import current, table_rows
from assets.dataset.snapshot import build
from assets.tables import TABLES
from tests.training.consent.people import People, key_of
from training.consent import merkle
from training.consent.events import sign
from training.consent.keys import checkpoint_holds, public_bytes
from training.consent.snapshot import members_root
from training.consent.tables import leaves
from training.consent.times import now_utc

# -- I11: members_root recomputes from rows, checkpoint N is a prefix of N + 1 -------------------------------------------


def test_i11_a_snapshots_root_recomputes_from_the_rows_of_the_lake(small_world: Any) -> None:
    sealed = build(small_world.home, now_utc()).sealed
    rows = small_world.home.lake.rows("snapshot_members")
    assert rows == table_rows(current(small_world.home).manifest)
    assert merkle.root([bytes.fromhex(row["leaf_hash"]) for row in rows]).hex() == sealed.root
    assert members_root(reversed(sealed.members)) == sealed.root
    for place in range(len(rows)):
        assert members_root(sealed.members[:place] + sealed.members[place + 1 :]) != sealed.root


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> People:
    """A ledger past its first full tile of stored hashes."""
    people = People(f"sqlite:///{tmp_path_factory.mktemp('i11') / 'rushes.db'}", "c-ann")
    for _ in range(270):
        people.grant("c-ann")
    return people


@given(cuts=st.tuples(st.integers(1, 274), st.integers(1, 274)).map(sorted))
def test_i11_every_earlier_checkpoint_is_shown_to_be_a_prefix_of_every_later_one(
    grown: People, cuts: list[int]
) -> None:
    first, second = (grown.ledger.head(upto=cut) for cut in cuts)
    proof = grown.ledger.consistency_proof(first.size, second.size)
    roots = bytes.fromhex(first.root), bytes.fromhex(second.root)
    assert merkle.verify_consistency(first.size, second.size, *roots, proof)
    if first.size < second.size:
        forged = bytes(32)
        assert not merkle.verify_consistency(first.size, second.size, forged, roots[1], proof)
        assert not merkle.verify_consistency(first.size, second.size, roots[0], forged, proof)


def test_i11_the_ledger_itself_refuses_to_be_shortened_or_changed(grown: People) -> None:
    raw = sqlite3.connect(grown.url.removeprefix("sqlite:///"), isolation_level=None)
    for statement in (
        "DELETE FROM consent_leaf WHERE seq = 5",
        "UPDATE consent_leaf SET leaf_hash = 'a' WHERE seq = 5",
        "INSERT OR REPLACE INTO consent_leaf VALUES (5, 'a', '2026-11-02T08:00:00Z')",
        "DELETE FROM consent_event WHERE seq = 5",
        "UPDATE consent_event SET envelope = '{}' WHERE seq = 5",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            raw.execute(statement)
    raw.close()


# -- I12: rows that stay hold commitments only ---------------------------------------------------------------------------

NAME = "p-zuleika-quartermaine"  # found in a file if it is there


def test_i12_erasing_a_consent_changes_no_root_and_leaves_nothing_that_was_said(tmp_path: Path) -> None:
    people = People(f"sqlite:///{tmp_path / 'rushes.db'}", "c-ann", "p-bob")
    people.grant("c-ann")
    asset = "5ca1ab1e" * 8
    body = people.grant("p-bob", "depicted", assets=[asset], recipients=[NAME])
    people.revoke(body)
    people.grant("c-ann")
    ledger, before = people.ledger, people.ledger.leaves()
    roots = [ledger.head(upto=size).root for size in range(ledger.size() + 1)]
    signed = ledger.checkpoint_signed(key_of("platform"))
    entry = ledger.find(body["event_id"])
    assert entry is not None
    proof = ledger.inclusion_proof(entry.seq, signed["size"])

    assert len(ledger.erase(body["consent_id"], "asked for", people.now)) == 2

    reopened = Ledger(people.url)
    assert reopened.leaves() == before
    assert [reopened.head(upto=size).root for size in range(reopened.size() + 1)] == roots
    assert checkpoint_holds(signed, public_bytes(key_of("platform")))
    root = bytes.fromhex(signed["root"])
    assert merkle.verify_inclusion(bytes.fromhex(entry.leaf_hash), entry.seq, signed["size"], proof, root)
    assert reopened.find(body["event_id"]) is None
    reopened.verify(workers=1)
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for personal in (NAME, asset, body["consent_id"], body["event_id"]):
        assert personal.encode() not in everything


def test_i12_a_leaf_row_is_a_hash_a_place_and_a_time(tmp_path: Path) -> None:
    assert {column.name for column in leaves.columns} == {"seq", "leaf_hash", "recorded_at"}
    people = People(f"sqlite:///{tmp_path / 'rushes.db'}", "c-ann")
    body = people.grant("c-ann")
    again = People(f"sqlite:///{tmp_path / 'again.db'}", "c-ann")
    again.ledger.append(sign(body, key_of("c-ann")), again.now)
    # salted: the same event in another ledger has another leaf, so a leaf cannot be guessed from what it commits to
    assert people.ledger.leaves()[-1] != again.ledger.leaves()[-1]


# -- I16: no face embedding is ever kept ---------------------------------------------------------------------------------


def test_i16_no_table_of_the_lake_keeps_more_of_a_face_than_counts_and_boxes() -> None:
    vectors, faces = set(), {}
    for table in TABLES.values():
        for column in table.columns:
            if pa.types.is_nested(column.type) and pa.types.is_floating(column.type.value_type):
                vectors.add((table.name, column.name))
            if "face" in column.name:
                faces[table.name, column.name] = column.type
    assert vectors == {("embeddings", "vector")}  # of a clip's caption, which has no face
    assert faces == {("signals", "faces_max"): pa.int64(), ("signals", "faces_json"): pa.string()}


def test_i16_embeddings_are_made_of_captions_alone() -> None:
    from assets.curation.assets import embeddings

    assert {key.to_user_string() for key in embeddings.dependency_keys} == {"captions"}


def test_i16_what_the_detector_finds_is_kept_as_a_box_and_a_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """YuNet also returns landmarks; a stand-in returns all fifteen numbers, of which five may be kept."""
    import cv2

    from assets.signals.detectors import FaceFinder

    class Detector:
        def setInputSize(self, size: tuple[int, int]) -> None:
            assert len(size) == 2

        def detect(self, picture: Any) -> tuple[int, np.ndarray]:
            return 1, np.array([[10, 20, 30, 40, *range(100, 110), 0.9]], np.float32)

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: Detector())
    (box,) = FaceFinder(Path("yunet.onnx")).boxes(np.zeros((100, 100, 3), np.uint8))
    assert len(box) == 5
    assert max(box) <= 1
    assert len(json.dumps([{"frame": 0, "boxes": [box]}])) < 80


def test_i16_no_database_table_has_a_place_for_a_face(small_world: Any) -> None:
    raw = sqlite3.connect(small_world.home.database_url.removeprefix("sqlite:///"))
    tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = {(table, row[1].lower()) for table in tables for row in raw.execute(f"PRAGMA table_info({table})")}
    raw.close()
    assert ("consent_event", "envelope") in columns
    words = ("face", "vector", "embedding", "biometric", "template")
    assert [column for column in columns if any(word in column[1] for word in words)] == []
