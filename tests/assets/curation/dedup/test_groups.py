"""Which clips are taken for the same, which for different, and who owns the original."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.curation.dedup.groups import Compared, HashedClip, compared_from, find_duplicates
from assets.curation.dedup.ownership import Standing
from assets.curation.dedup.similarity import NEAR_CHROMA, NEAR_SIMILARITY, ClipHashes, compare
from assets.signals.image_quality import bars
from assets.signals.phash import frame_hash, pack
from tests.assets.samples import texture

Frames = Sequence[np.ndarray]


def hashes_of(frames: Frames) -> bytes:
    made = []
    for frame in frames:
        scale = 256 / max(frame.shape[:2])
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        made.append(frame_hash(small, gray, bars(gray)))
    return pack(hash_ for hash_ in made if hash_)


def moving(seed: int, frames: int = 12) -> list[np.ndarray]:
    wide = texture(seed, width=400)
    return [wide[:, 8 * index : 8 * index + 256] for index in range(frames)]


def scene(seed: int) -> bytes:
    """Hashes of a simulated scene, four a second."""
    from training.simulate import random_scene, render

    return hashes_of(render(random_scene(seed), 256, 144, 10, 4.0))


def clip(
    name: str, hashes: bytes | None = b"", owner: str = "c-1", day: int = 1, clip_id: str | None = None
) -> HashedClip:
    order = (f"2026-11-{day:02}", f"2026-11-{day:02}T08:00:00Z", f"d-{name}", 0)
    return HashedClip(clip_id or f"clip-{name}", f"item-{name}", 0, owner, order, hashes)


def by_item(rows: list[dict]) -> dict[str, dict]:
    return {row["item_id"].removeprefix("item-"): row for row in rows}


def resolved(*clips: HashedClip) -> dict[str, dict]:
    return by_item(find_duplicates(clips).rows)


def with_logo(frame: np.ndarray) -> np.ndarray:
    marked = frame.copy()
    marked[8:26, 8:48] = (255, 255, 255)
    return marked


EDITS = {
    "half size": lambda f: cv2.resize(f, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "noise": lambda f: np.clip(f + np.random.default_rng(0).normal(0, 5, f.shape), 0, 255).astype(np.uint8),
    "brighter": lambda f: np.clip(f * 1.06 + 4, 0, 255).astype(np.uint8),
    "blurred": lambda f: cv2.GaussianBlur(f, (0, 0), 1.2),
    "left to right": lambda f: np.ascontiguousarray(f[:, ::-1]),
    "upside down": lambda f: np.ascontiguousarray(f[::-1]),
    "turned half round, at half size": lambda f: cv2.resize(f[::-1, ::-1], None, fx=0.5, fy=0.5),
    "cropped by a tenth at a corner": lambda f: f[14:, :-25],
    "cropped by a tenth at one side": lambda f: f[:, 25:],
    "with a logo": with_logo,
    "letterboxed": lambda f: np.pad(f, ((20, 20), (0, 0), (0, 0))),
    "pillarboxed": lambda f: np.pad(f, ((0, 0), (32, 32), (0, 0))),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_of_another_owner_fails_as_near(edit: str) -> None:
    original = moving(1)
    copy = [EDITS[edit](frame) for frame in original]
    rows = resolved(
        clip("a", hashes_of(original)), clip("b", hashes_of(copy), "c-2", 2), clip("c", hashes_of(moving(2)))
    )
    assert rows["a"]["kind"] == "original"
    assert (rows["b"]["kind"], rows["b"]["verdict"], rows["b"]["reason"]) == ("near", "fail", "dup.near")
    assert rows["b"]["dup_group"] == "clip-a"
    assert 0 <= rows["b"]["distance"] <= 1 - NEAR_SIMILARITY
    assert rows["c"]["kind"] == "unique"


@pytest.mark.parametrize(("start", "end", "step"), [(4, 10, 1), (0, 12, 2), (0, 12, 3)])
def test_a_part_of_a_clip_is_found_at_its_place_and_at_another_speed(start: int, end: int, step: int) -> None:
    frames = moving(3)
    rows = resolved(clip("a", hashes_of(frames)), clip("b", hashes_of(frames[start:end:step]), "c-2", 2))
    assert rows["b"]["kind"] == "near"


def test_a_near_copy_of_ones_own_clip_says_so() -> None:
    hashes = hashes_of(moving(3))
    assert resolved(clip("a", hashes), clip("b", hashes, day=2))["b"]["reason"] == "dup.own_similar"


def test_equal_frames_are_exact_whatever_the_hashes() -> None:
    rows = resolved(clip("a", clip_id="x"), clip("b", owner="c-2", day=2, clip_id="x"))
    assert (rows["b"]["kind"], rows["b"]["reason"], rows["b"]["distance"]) == ("exact", "dup.exact", 0.0)


def test_blank_clips_are_not_taken_for_each_other() -> None:
    grey = [np.full((144, 256, 3), 90, np.uint8)] * 8
    assert hashes_of(grey) == b""
    assert {row["kind"] for row in find_duplicates([clip("a"), clip("b")]).rows} == {"unique"}


def test_a_clip_without_hashes_of_this_version_is_unresolved_and_does_not_pass() -> None:
    row = resolved(clip("a", None))["a"]
    assert (row["kind"], row["verdict"], row["reason"]) == ("unmeasured", "not_measured", "dup.unresolved")


def test_different_simulated_scenes_are_never_merged() -> None:
    rows = find_duplicates([clip(str(seed), scene(seed)) for seed in range(40)]).rows
    assert [row for row in rows if row["kind"] != "unique"] == []


def test_flat_pictures_of_other_colours_differ_although_their_structure_agrees() -> None:
    red, blue = (np.full((144, 256, 3), 40, np.uint8) for _ in range(2))
    red[30:90, 60:200, 0] = blue[30:90, 60:200, 2] = 220
    apart = compare(ClipHashes([hashes_of([red] * 6), hashes_of([blue] * 6)]), np.array([0]), np.array([1]))
    assert apart.structure[0] > NEAR_SIMILARITY
    assert apart.chroma[0] > NEAR_CHROMA


# -- whose it is ---------------------------------------------------------------------------------------------------------


def test_an_earlier_doubted_claim_does_not_take_footage_from_a_verified_one() -> None:
    hashes = hashes_of(moving(1))
    early = replace(clip("early", hashes, "c-1", 1), standing=Standing.DOUBTED)
    late = replace(clip("late", hashes, "c-2", 2), standing=Standing.VERIFIED)
    rows = resolved(early, late, clip("between", hashes, "c-3", 1))
    assert {row["original_item_id"] for row in rows.values()} == {"item-late"}
    assert rows["early"]["reason"] == "dup.near"


def test_among_equal_claims_the_first_arrival_owns() -> None:
    hashes = hashes_of(moving(1))
    for standing in Standing:
        both = (replace(clip(name, hashes, day=day), standing=standing) for name, day in (("b", 2), ("a", 1)))
        assert resolved(*both)["b"]["original_item_id"] == "item-a"


def test_a_third_clip_that_shows_parts_of_two_does_not_join_them() -> None:
    first, second = moving(1, 8), moving(2, 8)
    rows = resolved(
        clip("a", hashes_of(first), day=1), clip("b", hashes_of(second), day=2), clip("c", hashes_of([*first, *second]), day=3)
    )  # fmt: skip
    assert rows["c"]["dup_group"] == "clip-a"
    assert (rows["b"]["kind"], rows["b"]["dup_group"]) == ("unique", "clip-b")


def test_a_pan_is_no_chain_every_member_is_near_its_own_original() -> None:
    wide = texture(9, width=1600)
    parts = [hashes_of([wide[:, x + 4 * i : x + 4 * i + 256] for i in range(6)]) for x in range(0, 1300, 24)]
    clips = [clip(f"n{index:02}", part, f"c-{index}") for index, part in enumerate(parts)]
    result = find_duplicates(clips)
    groups = {row["dup_group"] for row in result.rows}
    assert 5 < len(groups) < len(clips)  # neighbours are near each other, the two ends are not
    assert all(row["distance"] <= 1 - NEAR_SIMILARITY for row in result.rows if row["kind"] == "near")


# -- properties ----------------------------------------------------------------------------------------------------------


@st.composite
def crowds(draw: st.DrawFn) -> list[HashedClip]:
    """Clips that share pictures and identities at random; every order of arrival is distinct."""
    count = draw(st.integers(2, 8))
    footage = [moving(seed, 5) for seed in range(3)]
    shown = [hashes_of(frames) for frames in [*footage, [EDITS["with a logo"](frame) for frame in footage[0]]]]
    days = draw(st.permutations(range(1, count + 1)))
    return [
        replace(
            clip(
                f"n{index}",
                draw(st.sampled_from(shown)),
                owner=draw(st.sampled_from(["c-1", "c-2"])),
                day=days[index],
                clip_id=draw(st.sampled_from([None, "same-frames"])),
            ),
            standing=draw(st.sampled_from(Standing)),
        )
        for index in range(count)
    ]


@settings(max_examples=40, deadline=None)
@given(crowds(), st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_the_order_of_the_input(clips: list[HashedClip], rng: random.Random) -> None:
    shuffled = list(clips)
    rng.shuffle(shuffled)
    assert by_item(find_duplicates(clips).rows) == by_item(find_duplicates(shuffled).rows)


@settings(max_examples=40, deadline=None)
@given(crowds(), st.integers(0, 8))
def test_comparing_day_by_day_finds_what_comparing_at_once_finds(clips: list[HashedClip], split: int) -> None:
    clips = [
        hashed for hashed in clips if hashed.clip_id != "same-frames"
    ]  # whose hashes differ here, as they never do
    first = find_duplicates(clips[:split])
    then = find_duplicates(clips, compared_from(first.rows, first.pairs))
    at_once = find_duplicates(clips)
    assert by_item(then.rows) == by_item(at_once.rows)
    assert {(p["clip_id"], p["other_clip_id"]) for p in then.pairs} == {
        (p["clip_id"], p["other_clip_id"]) for p in at_once.pairs
    }


def test_what_is_known_is_not_compared_again() -> None:
    clips = [clip("a", hashes_of(moving(1))), clip("b", hashes_of(moving(1)), "c-2", 2)]
    first = find_duplicates(clips)
    assert first.compared == 1
    again = find_duplicates(clips, compared_from(first.rows, first.pairs))
    assert (again.compared, by_item(again.rows)) == (0, by_item(first.rows))
    other_version = [row | {"duplicates_version": "older"} for row in first.rows]
    assert compared_from(other_version, []) == Compared()


@settings(max_examples=40, deadline=None)
@given(crowds())
def test_every_group_has_one_passing_clip_and_it_is_the_earliest_of_the_best_claims(clips: list[HashedClip]) -> None:
    rows = find_duplicates(clips).rows
    arrival = {hashed.item_id: hashed.rank for hashed in clips}
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["original_item_id"], []).append(row)
    for original, members in groups.items():
        assert [row["item_id"] for row in members if row["verdict"] == "pass"] == [original]
        assert min(members, key=lambda row: arrival[row["item_id"]])["item_id"] == original


@settings(max_examples=20, deadline=None)
@given(crowds())
def test_no_two_clips_that_pass_are_near_each_other(clips: list[HashedClip]) -> None:
    passing = [row["clip_id"] for row in find_duplicates(clips).rows if row["verdict"] == "pass"]
    hashes = {hashed.clip_id: hashed.hashes or b"" for hashed in reversed(clips)}
    film = ClipHashes([hashes[name] for name in passing if name != "same-frames"])  # whose hashes differ here
    assert not compare(film, *np.triu_indices(len(film), 1)).near.any()


def test_many_copies_in_one_crowd_are_still_one_group() -> None:
    frames = moving(5, 6)
    rng = np.random.default_rng(1)
    noisy = [
        hashes_of([np.clip(f + rng.normal(0, 4, f.shape), 0, 255).astype(np.uint8) for f in frames]) for _ in range(120)
    ]
    result = find_duplicates([clip(f"n{index:03}", hashes, f"c-{index}", 1) for index, hashes in enumerate(noisy)])
    assert {row["dup_group"] for row in result.rows} == {"clip-n000"}
    assert result.unfinished == 0
