"""How often clips are seen: caps kept where they can be kept, and said where not; nobody lost; the order of no matter."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assets.coverage.classes import UNKNOWN
from assets.coverage.measures import Coded, coded, effective_number
from assets.coverage.sampling_weights import CAP_TOLERANCE, POLICY, Balance, WeightPolicy, balance, caps_of, limits
from training.data.repeats import EVEN

names = st.sampled_from(["a", "b", "c", "d", "e", UNKNOWN])
worlds = st.lists(st.tuples(names, names, names, st.sampled_from("wxyz")), min_size=1, max_size=80)


# the caps of subject and place cannot both be kept here, and that of contributors ends a millionth above
CAPS_IN_CONFLICT = [
    *[("a", "a", "a", "w")] * 2,
    ("a", "b", "a", "x"),
    *[("b", place, "a", "w") for place in "ac"],
    ("c", "a", "a", "x"),
    *[(UNKNOWN, place, "a", contributor) for place, contributor in ("az", "cy")],
]


def coded_world(clips: list[tuple[str, ...]]) -> dict[str, Coded]:
    columns = zip(*clips, strict=True)
    return {
        name: coded(list(column))
        for name, column in zip(("subject", "place", "motion", "contributor"), columns, strict=True)
    }


def seen(codes: Coded, balanced: Balance) -> dict[str, float]:
    """Each class's share of what is seen."""
    return dict(zip(codes.names, codes.sums(balanced.ratios) / len(codes.codes), strict=True))


@settings(deadline=None, max_examples=150)
@given(worlds)
def test_no_clip_is_lost_or_repeated_past_the_bounds_and_an_epoch_stays_as_long(clips: list) -> None:
    balanced = balance(coded_world(clips))
    assert balanced.weights.sum() == len(clips) * EVEN
    assert balanced.ratios.min() >= POLICY.least - 2 / EVEN
    assert balanced.ratios.max() <= POLICY.most + 2 / EVEN


@settings(deadline=None, max_examples=150)
@given(worlds)
@example(CAPS_IN_CONFLICT)
def test_no_known_class_is_above_its_cap_unless_that_is_said(clips: list) -> None:
    world = coded_world(clips)
    balanced = balance(world)
    for name, cap in caps_of(world).items():
        shares = {label: share for label, share in seen(world[name], balanced).items() if label != UNKNOWN}
        over = [label for label, share in shares.items() if share > cap + CAP_TOLERANCE]
        assert bool(over) == (name in balanced.unmet)
        if over:
            worst, share = balanced.unmet[name]
            assert share == shares[worst] == max(shares.values())


@settings(deadline=None, max_examples=60)
@given(worlds, st.randoms(use_true_random=False))
def test_the_order_of_the_clips_is_of_no_matter(clips: list, rng: random.Random) -> None:
    order = list(range(len(clips)))
    rng.shuffle(order)
    first, other = balance(coded_world(clips)), balance(coded_world([clips[i] for i in order]))
    assert np.abs(first.weights[order] - other.weights).max() <= 1  # the last unit goes to the first clips


@settings(deadline=None, max_examples=60)
@given(worlds, st.integers(2, 5))
def test_as_much_again_of_everything_changes_no_weight(clips: list, times: int) -> None:
    once, more = balance(coded_world(clips)), balance(coded_world(clips * times))
    assert np.allclose(np.tile(once.ratios, times), more.ratios, atol=1e-4)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.sampled_from(["subject", "contributor", "motion"]))
def test_a_clip_of_a_larger_class_is_never_seen_more_often(sizes: list[int], dimension: str) -> None:
    codes = coded([f"class {i}" for i, size in enumerate(sizes) for _ in range(size)])
    each = codes.sums(balance({dimension: codes}).ratios) / codes.sums()
    ordered = each[np.argsort(codes.sums(), kind="stable")]
    assert (np.diff(ordered) <= 1e-5).all()


@settings(deadline=None)
@given(worlds)
def test_what_is_unknown_is_not_seen_more_often_for_being_rare(clips: list) -> None:
    codes = coded([clip[0] for clip in clips])
    balanced = balance({"motion": codes})  # tempered, not capped
    share = codes.sums() / len(clips)
    if UNKNOWN in codes.names and len(codes.names) > 1:
        number = codes.names.index(UNKNOWN)
        assert seen(codes, balanced)[UNKNOWN] == pytest.approx(share[number], rel=0.02)


@pytest.mark.parametrize("classes", [[], ["a"], ["a"] * 50, ["a", "b"] * 20, [UNKNOWN] * 7])
def test_where_nothing_is_uneven_every_clip_is_seen_exactly_once_an_epoch(classes: list[str]) -> None:
    balanced = balance({"subject": coded(classes), "contributor": coded(classes)})
    assert balanced.weights.tolist() == [EVEN] * len(classes)
    assert balanced.unmet == {}


def test_a_contributor_with_99_of_100_clips_is_held_as_far_as_the_others_can_bear_and_that_is_said() -> None:
    people = coded(["c-big"] * 990 + ["c-small"] * 10)
    balanced = balance({"contributor": people})
    assert balanced.ratios[-1] == pytest.approx(4.0)
    assert seen(people, balanced)["c-small"] == pytest.approx(0.04)
    assert balanced.unmet == {"contributor": ("c-big", pytest.approx(0.96))}
    free = balance({"contributor": people}, replace(POLICY, most=80.0))
    assert (free.unmet, seen(people, free)["c-big"]) == ({}, pytest.approx(0.5, abs=1e-4))


def test_the_effect_on_a_skewed_world() -> None:
    """900 clips: two thirds of one contributor, mostly cars by day; a few others with other things at other times."""
    clips = [("car", "day", "c-big")] * 500 + [("car", "night", "c-big")] * 100
    clips += [("harbour", "day", "c-ann")] * 120 + [("harbour", "night", "c-ann")] * 30
    clips += [("market", "day", "c-ben")] * 70 + [("forest", "dawn", "c-cem")] * 50 + [("forest", "day", "c-dia")] * 30
    columns = zip(*clips, strict=True)
    world = {n: coded(list(c)) for n, c in zip(("subject", "time_of_day", "contributor"), columns, strict=True)}
    balanced = balance(world)
    assert balanced.unmet == {}
    subjects = seen(world["subject"], balanced)
    assert (world["subject"].sums() / 900).max() == pytest.approx(0.667, abs=1e-3)
    assert subjects["car"] == pytest.approx(0.25, abs=1e-4)
    before = {name: effective_number(codes.sums()) for name, codes in world.items()}
    after = {name: effective_number(codes.sums(balanced.ratios)) for name, codes in world.items()}
    assert before == pytest.approx({"subject": 2.67, "time_of_day": 1.86, "contributor": 2.83}, abs=0.02)
    assert all(after[name] > 1.25 * before[name] for name in world)
    held = limits(balanced, world)
    assert held[0] == ["subject", "time_of_day", "contributor"]
    assert [why for why, ratio in zip(held, balanced.ratios, strict=True) if ratio >= 1] == [[]] * int(
        (balanced.ratios >= 1).sum()
    )


def test_only_what_the_policy_names_is_weighed() -> None:
    codes = coded(["a"] * 30 + ["b"])
    assert balance({"camera_motion": codes}).weights.tolist() == [EVEN] * 31
    bare = WeightPolicy(temper={"camera_motion": 0.5}, caps={})
    assert balance({"camera_motion": codes}, bare).ratios[-1] > 1
