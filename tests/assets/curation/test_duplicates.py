"""Which clips are taken for the same, which for different, and who owns the original."""

from __future__ import annotations

import random
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.curation.duplicates import NEAR_COLOUR_BITS, NEAR_STRUCTURE_BITS, Clip, find_duplicates
from assets.curation.phash import distance, frame_hash, unpack
from tests.assets.curation.pictures import texture


def hashes_of(frames: Sequence[np.ndarray]) -> tuple[str, ...]:
    made = []
    for frame in frames:
        scale = 256 / max(frame.shape[:2])
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        made.append(frame_hash(small, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)))
    return tuple(hash_ for hash_ in made if hash_)


def moving(seed: int, frames: int = 12) -> list[np.ndarray]:
    wide = texture(seed, width=400)
    return [wide[:, 8 * index : 8 * index + 256] for index in range(frames)]


def scene(seed: int) -> tuple[str, ...]:
    """Hashes of a simulated scene, four a second."""
    from training.simulate import random_scene, render

    return hashes_of(render(random_scene(seed), 256, 144, 10, 4.0))


def clip(name: str, hashes: tuple[str, ...] = (), owner: str = "c-1", day: int = 1, clip_id: str | None = None) -> Clip:
    order = (f"2026-11-{day:02}", f"2026-11-{day:02}T08:00:00Z", f"d-{name}", 0)
    return Clip(clip_id or f"clip-{name}", f"item-{name}", 0, owner, order, hashes)


def by_item(rows: list[dict]) -> dict[str, dict]:
    return {row["item_id"].removeprefix("item-"): row for row in rows}


EDITS = {
    "half size": lambda f: cv2.resize(f, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "noise": lambda f: np.clip(f + np.random.default_rng(0).normal(0, 5, f.shape), 0, 255).astype(np.uint8),
    "brighter": lambda f: np.clip(f * 1.06 + 4, 0, 255).astype(np.uint8),
    "mirrored": lambda f: np.ascontiguousarray(f[:, ::-1]),
    "mirrored at half size": lambda f: cv2.resize(f[:, ::-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "blurred": lambda f: cv2.GaussianBlur(f, (0, 0), 1.2),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_of_another_owner_fails_as_near(edit: str) -> None:
    original = moving(1)
    copy = [EDITS[edit](frame) for frame in original]
    rows = by_item(
        find_duplicates(
            [clip("a", hashes_of(original)), clip("b", hashes_of(copy), "c-2", 2), clip("c", hashes_of(moving(2)))]
        )
    )
    assert rows["a"]["kind"] == "original"
    assert (rows["b"]["kind"], rows["b"]["verdict"], rows["b"]["reason"]) == ("near", "fail", "dup.near")
    assert rows["b"]["dup_group"] == "clip-a"
    assert rows["b"]["distance"] <= NEAR_STRUCTURE_BITS
    assert rows["c"]["kind"] == "unique"


def test_a_trimmed_copy_is_found_at_its_offset() -> None:
    original = hashes_of(moving(3))
    rows = by_item(find_duplicates([clip("a", original), clip("b", original[4:10], "c-2", 2)]))
    assert rows["b"]["kind"] == "near"


def test_a_near_copy_of_ones_own_clip_says_so() -> None:
    hashes = hashes_of(moving(3))
    assert by_item(find_duplicates([clip("a", hashes), clip("b", hashes, day=2)]))["b"]["reason"] == "dup.own_similar"


def test_equal_frames_are_exact_whatever_the_hashes() -> None:
    rows = by_item(find_duplicates([clip("a", clip_id="x"), clip("b", owner="c-2", day=2, clip_id="x")]))
    assert (rows["b"]["kind"], rows["b"]["reason"], rows["b"]["distance"]) == ("exact", "dup.exact", 0.0)


def test_blank_clips_are_not_taken_for_each_other() -> None:
    grey = [np.full((144, 256, 3), 90, np.uint8)] * 8
    assert hashes_of(grey) == ()
    assert {row["kind"] for row in find_duplicates([clip("a"), clip("b")])} == {"unique"}


def test_different_simulated_scenes_are_never_merged() -> None:
    rows = find_duplicates([clip(str(seed), scene(seed)) for seed in range(40)])
    assert [row for row in rows if row["kind"] != "unique"] == []


def test_flat_pictures_of_other_colours_differ_although_their_structure_agrees() -> None:
    red, blue = (np.full((144, 256, 3), 40, np.uint8) for _ in range(2))
    red[30:90, 60:200, 0] = blue[30:90, 60:200, 2] = 220
    apart = distance(unpack(hashes_of([red] * 6)), unpack(hashes_of([blue] * 6)))
    assert apart is not None
    assert apart[1] > NEAR_COLOUR_BITS


@st.composite
def crowds(draw: st.DrawFn) -> list[Clip]:
    """Clips that share pictures and identities at random; every order of arrival is distinct."""
    count = draw(st.integers(2, 8))
    footage = [hashes_of(moving(seed, 5)) for seed in range(3)]
    days = draw(st.permutations(range(1, count + 1)))
    return [
        clip(
            f"n{index}",
            draw(st.sampled_from(footage)),
            owner=draw(st.sampled_from(["c-1", "c-2"])),
            day=days[index],
            clip_id=draw(st.sampled_from([None, "same-frames"])),
        )
        for index in range(count)
    ]


@settings(max_examples=40, deadline=None)
@given(crowds(), st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_the_order_of_the_input(clips: list[Clip], rng: random.Random) -> None:
    shuffled = list(clips)
    rng.shuffle(shuffled)
    assert by_item(find_duplicates(clips)) == by_item(find_duplicates(shuffled))


@settings(max_examples=40, deadline=None)
@given(crowds())
def test_every_group_has_one_passing_clip_and_it_is_the_earliest(clips: list[Clip]) -> None:
    rows = find_duplicates(clips)
    arrival = {one.item_id: one.rank for one in clips}
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["original_item_id"], []).append(row)
    for original, members in groups.items():
        assert [row["item_id"] for row in members if row["verdict"] == "pass"] == [original]
        assert min(members, key=lambda row: arrival[row["item_id"]])["item_id"] == original


def test_many_copies_in_one_crowd_are_still_one_group() -> None:
    hashes = hashes_of(moving(5, 6))
    rows = find_duplicates([clip(f"n{index:03}", hashes, f"c-{index}", 1) for index in range(120)])
    assert {row["dup_group"] for row in rows} == {"clip-n000"}
