"""What is sealed, what stays out and why; and that the ledger, not the mart, has the last word."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.consent.sealed_members import manifest_key
from assets.curation.dedup.groups import HashedClip, find_duplicates
from assets.dataset import sealed
from assets.dataset.sealed import SnapshotError, consent_violation, current, defects
from assets.dataset.snapshot import Exclusion, build, read_mart
from assets.dataset.split import Group, SplitClip, SplitError, groups, split
from assets.home import Home
from assets.signals.phash import HASH_BYTES

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
    member = next(m for m in build(world.home, NOW).sealed.members if m["clip_id"] == clip)
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


@st.composite
def clip_sets(draw: st.DrawFn) -> list[SplitClip]:
    size = draw(st.integers(1, 40))
    people, shows = draw(st.integers(1, 12)), draw(st.integers(1, 50))
    return [
        SplitClip(
            clip_id=f"clip-{index:03d}",
            contributor_id=(person := f"c-{draw(st.integers(1, people))}"),
            dup_group=f"g-{draw(st.integers(1, shows))}",
            simulated=person in ("c-1", "c-2"),
        )
        for index in range(size)
    ]


def clips_of(sizes: dict[str, int], simulated: set[str] = frozenset()) -> list[SplitClip]:
    return [
        SplitClip(f"{person}-{index}", person, f"{person}-{index}", person in simulated)
        for person, size in sizes.items()
        for index in range(size)
    ]


@given(clip_sets())
def test_no_contributor_and_no_duplicate_group_is_on_both_sides(clips: list[SplitClip]) -> None:
    try:
        sides = split(clips)
    except SplitError:
        assert len(groups(clips)) == 1
        return
    assert set(sides) == {clip.clip_id for clip in clips}
    for attribute in ("contributor_id", "dup_group"):
        seen: dict[str, str] = {}
        for clip in clips:
            assert seen.setdefault(getattr(clip, attribute), sides[clip.clip_id]) == sides[clip.clip_id]


@st.composite
def deliveries(draw: st.DrawFn) -> list[HashedClip]:
    """Clips of a few people, some of which show what others show."""
    footage = [random.Random(seed).randbytes(6 * HASH_BYTES) for seed in range(4)]
    return [
        HashedClip(
            clip_id=f"clip-{index}",
            item_id=f"item-{index}",
            shot_index=0,
            contributor_id=f"c-{draw(st.integers(1, 6))}",
            order=(f"2026-11-{draw(st.integers(1, 9)):02d}", "", f"d-{index}", 0),
            hashes=draw(st.sampled_from(footage))[: HASH_BYTES * draw(st.integers(3, 6))],
        )
        for index in range(draw(st.integers(2, 7)))
    ]


@settings(max_examples=25, deadline=None)
@given(deliveries())
def test_clips_that_are_near_each_other_are_on_one_side_whoever_delivered_them(clips: list[HashedClip]) -> None:
    pairs = find_duplicates(clips)
    group = {row["clip_id"]: row["dup_group"] for row in pairs.rows}
    owner = {clip.clip_id: clip.contributor_id or "" for clip in clips}
    try:
        sides = split([SplitClip(name, owner[name], group[name], False) for name in group])
    except SplitError:
        return
    assert all(sides[pair["clip_id"]] == sides[pair["other_clip_id"]] for pair in pairs.pairs)


@given(clip_sets())
def test_both_sides_have_clips_and_training_keeps_at_least_half(clips: list[SplitClip]) -> None:
    if len(groups(clips)) > 1:
        held = sum(side == "heldout" for side in split(clips).values())
        assert 1 <= held <= len(clips) / 2


@given(clip_sets(), st.randoms())
def test_the_split_does_not_depend_on_the_order_of_clips(clips: list[SplitClip], chance: random.Random) -> None:
    if len(groups(clips)) > 1:
        shuffled = chance.sample(clips, len(clips))
        assert split(shuffled) == split(clips)


def test_many_small_contributors_leave_a_sixth_held_out() -> None:
    sides = split(clips_of({f"c-{index}": 2 for index in range(50)}))
    assert 0.15 <= sum(side == "heldout" for side in sides.values()) / len(sides) <= 0.20


def test_real_and_simulated_footage_are_both_held_out_where_each_has_contributors_to_spare() -> None:
    clips = clips_of({"c-1": 6, "c-2": 6, "c-3": 5, "s-1": 5, "s-2": 4, "c-4": 6}, simulated={"s-1", "s-2"})
    sides = split(clips)
    held = {clip.simulated for clip in clips if sides[clip.clip_id] == "heldout"}
    assert held == {True, False}


def test_the_only_simulated_contributor_stays_in_training() -> None:
    clips = clips_of({"c-1": 5, "c-2": 5, "c-3": 5, "s-1": 2}, simulated={"s-1"})
    sides = split(clips)
    assert {sides[clip.clip_id] for clip in clips if clip.simulated} == {"train"}


def test_a_duplicate_between_two_contributors_joins_them() -> None:
    clips = [SplitClip("a", "c-1", "g", False), SplitClip("b", "c-2", "g", False), SplitClip("c", "c-3", "h", False)]
    sides = split(clips)
    assert sides["a"] == sides["b"] != sides["c"]


def test_footage_of_one_contributor_alone_cannot_be_split_and_the_error_says_what_is_missing() -> None:
    with pytest.raises(SplitError, match="second contributor"):
        split(clips_of({"c-1": 9}))


def test_few_contributors_of_very_different_size_still_leave_about_a_sixth_held_out() -> None:
    sizes = {"ming": 7, "anouk": 2, "sigrun": 10, "ruth": 4, "david": 2, "ada": 24, "bo": 10, "cy": 10}
    sides = split(clips_of(sizes, simulated={"ada", "bo", "cy"}))
    assert 0.15 <= sum(side == "heldout" for side in sides.values()) / len(sides) <= 0.20


def test_thirty_thousand_contributors_are_split_without_comparing_each_with_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(group: Group, other: object) -> bool:
        raise AssertionError("two groups were compared clip by clip")

    monkeypatch.setattr(Group, "__eq__", never)
    clips = [SplitClip(f"{n:064x}", f"c-{n}", f"g-{n}", False) for n in range(30_000)]
    assert list(split(clips).values()).count("heldout") == pytest.approx(0.15 * len(clips), abs=2)
