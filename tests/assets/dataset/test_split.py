"""The split never separates what belongs together, and holds out enough to measure but not more."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.curation.dedup.groups import HashedClip, find_duplicates
from assets.dataset.split import Group, SplitClip, SplitError, groups, split
from assets.signals.phash import HASH_BYTES


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
    found = find_duplicates(clips)
    group = {row["clip_id"]: row["dup_group"] for row in found.rows}
    owner = {clip.clip_id: clip.contributor_id or "" for clip in clips}
    try:
        sides = split([SplitClip(name, owner[name], group[name], False) for name in group])
    except SplitError:
        return
    assert all(sides[pair["clip_id"]] == sides[pair["other_clip_id"]] for pair in found.pairs)


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
    def never(one: Group, other: object) -> bool:
        raise AssertionError("two groups were compared clip by clip")

    monkeypatch.setattr(Group, "__eq__", never)
    clips = [SplitClip(f"{n:064x}", f"c-{n}", f"g-{n}", False) for n in range(30_000)]
    assert list(split(clips).values()).count("heldout") == pytest.approx(0.15 * len(clips), abs=2)
