"""A home that an older version of this code made opens with the present one: `tests/fixtures` says how it came about.

Everything that was signed, hashed or stored under a key then must be the same now. What a new version decides to measure
anew is not part of that promise.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from assets.consent.eligibility import decide, eligible_digest
from assets.consent.intake import Admitted
from assets.consent.ledger import Ledger
from assets.consent.platform import checkpoint_key
from assets.consent.proofs.statements import file_bytes
from assets.consent.proofs.verification import verify_file
from assets.consent.sealed_members import manifest_key
from assets.consent.withdrawal_log import WithdrawalLog
from assets.dataset import sealed as snapshots
from assets.evaluation import commitments
from assets.home import Home
from assets.ingestion import progress
from assets.ingestion.inbox import unregistered
from assets.model import published
from assets.registry import CHAMPION, Registry
from assets.withdrawals import receipt as completion
from assets.withdrawals.answers import answer, receipt
from assets.withdrawals.plan import act_on_ledger
from tests.worlds import revocation_of
from training.consent.canonical import parse_strictly
from training.consent.keys import public_bytes
from training.consent.snapshot import verify_manifest

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "home-2026-11-30.tar.xz"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The old home, unpacked where the fixture `rushes` looks for one."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return Home.local(tmp_path / "home")


@pytest.fixture
def expected(home: Home, tmp_path: Path) -> dict[str, Any]:
    """What the old code said of it."""
    return json.loads((tmp_path / "expected.json").read_text())


@pytest.fixture
def papers(home: Home, tmp_path: Path) -> dict[str, bytes]:
    """The signed files that the old code handed out, by name."""
    return {path.stem: path.read_bytes() for path in (tmp_path / "papers").iterdir()}


def test_the_ledger_audits_to_the_same_root_events_and_signed_checkpoint(
    home: Home, expected: dict[str, Any], papers: dict[str, bytes]
) -> None:
    ledger, then = Ledger(home.database_url), expected["ledger"]
    ledger.verify()
    assert (ledger.size(), ledger.head().root) == (then["size"], then["root"])
    assert [leaf.hex() for leaf in ledger.leaves()] == then["leaves"]
    assert [event.body["event_id"] for event in ledger.events()] == then["events"]
    assert len(ledger.refusals()) == then["refusals"] > 0
    assert public_bytes(checkpoint_key(home)).hex() == expected["public_key"]
    assert file_bytes(ledger.checkpoint_signed(checkpoint_key(home))) == papers["checkpoint"]


def test_the_sealed_snapshots_have_the_same_roots(home: Home, expected: dict[str, Any]) -> None:
    for root in expected["snapshots"]:
        verify_manifest(parse_strictly(home.store.get(manifest_key(root)).decode()), root)
    newest = snapshots.current(home)
    assert newest.root == expected["snapshot"]
    assert list(newest.clip_ids) == expected["members"]


def test_old_proofs_and_receipts_hold_and_are_made_again_byte_for_byte(
    home: Home, expected: dict[str, Any], papers: dict[str, bytes]
) -> None:
    public_key = bytes.fromhex(expected["public_key"])
    for name, content in papers.items():
        assert verify_file(content, public_key).shown, name
    for identity, _ in expected["withdrawals"]:
        assert verify_file(home.store.get(completion.key(identity)), public_key).schema == "rushes.completion/1"
    again = {
        "excluded": answer(home, expected["absent"], CHAMPION),
        "included": answer(home, expected["present"], CHAMPION),
        "granted": receipt(home, "consent-d-one"),
        "withdrawn": receipt(home, "consent-d-two"),
    }
    assert {name: file_bytes(statement) for name, statement in again.items()} == {
        name: content for name, content in papers.items() if name in again
    }


def test_the_tables_of_the_lake_open_with_the_same_rows(home: Home, expected: dict[str, Any]) -> None:
    assert {"eligibility", "media", "reviews", "scorecard", "snapshot_members"} <= expected["tables"].keys()
    for name, (count, digest) in expected["tables"].items():
        parts = [key for key in home.store.list(f"lake/{name}") if key.endswith("/part.parquet")]
        written = pq.read_schema(home.store.fetch(parts[0])).names  # a column that came later is no change to these
        rows = [{column: row[column] for column in written} for row in home.lake.rows(name)]
        assert len(rows) == count
        assert hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest() == digest, name


def test_eligibility_decided_again_is_what_was_stored(home: Home, expected: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    decided = {
        (facts.clip_id, facts.item_id, facts.shot_index): (decision.eligible, sorted(decision.reasons))
        for facts, decision in decide(home, "train", now)
    }
    stored = {
        (row["clip_id"], row["item_id"], row["shot_index"]): (row["eligible"], sorted(row["reasons"]))
        for row in home.lake.rows("eligibility")
    }
    assert decided == stored
    assert {eligible for eligible, _ in stored.values()} == {True, False}
    assert eligible_digest(home, now) == expected["eligible_digest"]


def test_things_are_looked_for_under_the_keys_that_they_have(home: Home, expected: dict[str, Any]) -> None:
    stored = {key: hashlib.sha256(home.store.get(key)).hexdigest()[:16] for key in expected["store"]}
    assert stored == expected["store"]
    assert commitments.key(expected["model_key"]) in stored
    assert published.latest(home) == expected["model_key"]
    pair = published.pair(home, expected["model_key"])
    assert pair is not None
    assert pair["exposure"] == [expected["snapshot"]]
    assert {path.name for path in published.local_folder(home, expected["model_key"]).iterdir()} == {
        *("codec.safetensors", "codec.json", "transformer.safetensors", "transformer.json"),
    }
    for row in home.lake.rows("shots"):
        assert home.store.exists(row["media_key"]) == (row["media_key"] in stored)


def test_nothing_that_was_taken_in_is_taken_in_again(
    home: Home, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def owned_by_root(path: Path) -> os.stat_result:  # a file's owner is part of what the intake remembers of it
        status = os.lstat(path)
        times = {name: getattr(status, name) for name in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")}
        return os.stat_result((*status[:4], 0, 0, *status[6:]), times)

    monkeypatch.setattr(Path, "lstat", owned_by_root)
    assert set(home.store.folders("inbox")) == set(expected["days"])
    assert list(unregistered(home)) == []
    assert progress.waiting(home) == []


def test_the_old_model_opens_and_generates(home: Home, expected: dict[str, Any]) -> None:
    from training.model.codec import load_codec
    from training.model.transformer import load_transformer

    folder = published.local_folder(home, expected["model_key"])
    assert load_codec(folder) is not None
    assert load_transformer(folder) is not None


def test_a_withdrawal_is_carried_out_to_its_receipt(home: Home, expected: dict[str, Any]) -> None:
    registry, ledger, now = Registry(home), Ledger(home.database_url), datetime.now(UTC)
    assert registry.alias(CHAMPION) == expected["champion"]
    past = [[each.id, each.kind] for each in WithdrawalLog(home.database_url).withdrawals()]
    assert past == expected["withdrawals"]
    before = ledger.size()
    assert isinstance(ledger.append(revocation_of("c-one", "consent-d-one", now), now), Admitted)
    actions = act_on_ledger(home, before)
    assert actions.tainted_versions == (expected["champion"],)
    assert (actions.unfinished, actions.failing) == ((), ())
    assert registry.alias(CHAMPION) is None
    (identity,) = actions.withdrawals
    left = [key for folder in ("frames", "latents") for key in home.store.list(folder)]
    assert [key for key in left for clip in actions.affected_clips if clip in key] == []
    verify_file(home.store.get(completion.key(identity)), bytes.fromhex(expected["public_key"]))
    ledger.verify()


def test_the_command_line_tells_how_it_stands(home: Home, expected: dict[str, Any], rushes: Callable[..., str]) -> None:
    status = rushes("status")
    assert f"{expected['ledger']['size']} events, root {expected['ledger']['root'][:12]}" in status
    assert "r-shapes" in status
    traced = rushes("trace", expected["present"][:16])
    assert expected["snapshot"] in traced
    assert expected["model_key"] in traced
