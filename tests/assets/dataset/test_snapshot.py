"""What is sealed, what stays out and why; and that the ledger, not the mart, has the last word."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from assets.consent.sealed_members import manifest_key
from assets.dataset import sealed
from assets.dataset.sealed import SnapshotError, consent_violation, current, defects
from assets.dataset.snapshot import Exclusion, build, read_mart
from assets.home import Home

NOW = datetime.now(UTC)


def exclusion_of(excluded: tuple[Exclusion, ...], clip_id: str) -> Exclusion:
    return next(exclusion for exclusion in excluded if exclusion.clip_id == clip_id)


def test_every_consented_and_reviewed_clip_is_sealed_with_its_caption_and_consents(small_world: Any) -> None:
    built = build(small_world.home, NOW)
    assert set(built.sealed.clip_ids) == set(small_world.grants)
    assert built.excluded == ()
    for member in built.sealed.members:
        assert member["consent_ids"] == [small_world.grants[member["clip_id"]][0]]
        assert member["captions"][0] == member["caption"]
        assert member["caption_short"] in member["captions"]
    assert {member["split"] for member in built.sealed.members} == {"train", "heldout"}
    assert defects(small_world.home, built.sealed) == []
    assert consent_violation(small_world.home, built.sealed) == {}


def test_the_same_inputs_give_the_same_root_and_the_same_bytes(small_world: Any) -> None:
    home: Home = small_world.home
    first = build(home, NOW)
    manifest, table = (
        home.store.get(manifest_key(first.sealed.root)),
        home.store.get("lake/snapshot_members/part.parquet"),
    )
    second = build(home, NOW)
    assert second.sealed.root == first.sealed.root
    assert home.store.get(manifest_key(first.sealed.root)) == manifest
    assert home.store.get("lake/snapshot_members/part.parquet") == table
    assert (first.new, second.new) == (True, False)


def test_a_clip_that_an_edited_mart_calls_eligible_stays_out_with_the_ledgers_reasons(world: Any) -> None:
    for name in ("c-1", "c-2", "c-3"):
        world.deliver(name)
    (unconsented,) = world.deliver("c-4", clips=1, consent=False)
    world.settle(forced=[unconsented])
    assert {row["clip_id"] for row in read_mart(world.home) if row["eligible"]} >= {unconsented}
    built = build(world.home, NOW)
    assert unconsented not in built.sealed.clip_ids
    exclusion = exclusion_of(built.excluded, unconsented)
    assert (exclusion.by, exclusion.reasons) == ("ledger", ("consent.none",))


def test_a_revoked_clip_never_enters_a_snapshot_although_the_mart_is_older_than_the_revocation(
    small_world: Any,
) -> None:
    before = build(small_world.home, NOW).sealed
    gone = before.clip_ids[0]
    small_world.revoke(gone)
    after = build(small_world.home, datetime.now(UTC))
    assert gone not in after.sealed.clip_ids
    assert after.sealed.root != before.root
    assert "consent.revoked" in exclusion_of(after.excluded, gone).reasons


def test_a_clip_that_the_mart_refuses_stays_out_although_the_ledger_would_allow_it(small_world: Any) -> None:
    import duckdb

    refused = sorted(small_world.grants)[0]
    with duckdb.connect(str(small_world.home.warehouse_path)) as connection:
        connection.execute(
            "update mart_training_eligibility set eligible = false, reasons = ['policy.hold'] where clip_id = ?",
            [refused],
        )
    built = build(small_world.home, NOW)
    assert refused not in built.sealed.clip_ids
    assert exclusion_of(built.excluded, refused).reasons == ("policy.hold",)


def test_a_clip_that_the_lake_does_not_know_is_not_invented(small_world: Any) -> None:
    import duckdb

    with duckdb.connect(str(small_world.home.warehouse_path)) as connection:
        connection.execute("insert into mart_training_eligibility values ('f00d', 'i-x', 0, true, [])")
    built = build(small_world.home, NOW)
    assert exclusion_of(built.excluded, "f00d").by == "ledger"


def test_a_clip_without_a_caption_stays_out_and_says_so(world: Any) -> None:
    for name in ("c-1", "c-2", "c-3"):
        world.deliver(name)
    silent = sorted(world.grants)[0]
    world.tables["captions"] = [row for row in world.tables["captions"] if row["clip_id"] != silent]
    world.settle()
    assert exclusion_of(build(world.home, NOW).excluded, silent).reasons == ("caption.missing",)


def test_every_phrasing_that_is_not_refused_is_sealed_the_structured_ones_first(world: Any) -> None:
    for name in ("c-1", "c-2", "c-3"):
        world.deliver(name)
    clip = sorted(world.grants)[0]
    own = next(row for row in world.tables["captions"] if row["clip_id"] == clip and row["kind"] == "long")
    world.tables["captions"] += [
        own | {"captioner": "blip/1", "text": "what a model saw"},
        own | {"captioner": "blip/1", "variant": 1, "text": "what it must not say", "refused": ["caption.empty"]},
        own | {"variant": 1, "text": "said in other words"},
    ]
    world.settle()
    member = next(one for one in build(world.home, NOW).sealed.members if one["clip_id"] == clip)
    assert member["captions"] == [own["text"], "said in other words", "what a model saw", member["caption_short"]]


def test_nothing_eligible_is_an_error_that_counts_the_reasons(world: Any) -> None:
    world.deliver("c-1", consent=False)
    world.settle()
    with pytest.raises(SnapshotError, match=r"nothing is eligible: 2 clips.*consent\.none \(2\)"):
        build(world.home, NOW)


def test_without_a_warehouse_the_error_says_what_to_materialise(home: Home) -> None:
    with pytest.raises(SnapshotError, match="warehouse"):
        build(home, NOW)


def test_before_the_first_snapshot_there_is_no_current_one(home: Home) -> None:
    with pytest.raises(SnapshotError, match="training_snapshot"):
        current(home)


def test_an_edited_manifest_is_found_by_its_root_and_by_the_guard(small_world: Any) -> None:
    home: Home = small_world.home
    root = build(home, NOW).sealed.root
    manifest = json.loads(home.store.get(manifest_key(root)))
    manifest["members"][0]["caption"] = "something else"
    home.store.put(manifest_key(root), json.dumps(manifest).encode())
    assert any("root" in defect for defect in defects(home, current(home)))
    assert consent_violation(home, current(home)) == {"*": ["snapshot.root"]}


def test_a_manifest_that_is_no_json_any_more_is_an_error_that_names_the_file(small_world: Any) -> None:
    root = build(small_world.home, NOW).sealed.root
    small_world.home.store.put(manifest_key(root), b"{")
    with pytest.raises(SnapshotError, match="manifest"):
        current(small_world.home)


def test_a_table_that_disagrees_with_the_manifest_is_a_defect(small_world: Any) -> None:
    home: Home = small_world.home
    built = build(home, NOW)
    home.lake.write("snapshot_members", sealed.table_rows(built.sealed.manifest)[1:])
    assert defects(home, current(home)) == ["the table snapshot_members is not what the manifest says"]
