"""Packing: every clip once an epoch, never over the budget unless alone, and always the same for the same seed."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.packing import Cursor, Item, PackingError, plan, report

items = st.lists(st.integers(1, 400), min_size=1, max_size=60).map(
    lambda sizes: [Item(f"clip-{i}", size, (size % 3,)) for i, size in enumerate(sizes)]
)


@settings(deadline=None)
@given(items, st.integers(1, 500), st.integers(0, 9), st.booleans())
def test_every_clip_is_in_exactly_one_pack_and_the_budget_holds(
    clips: list[Item], budget: int, epoch: int, by_shape: bool
) -> None:
    result = plan(clips, budget, seed=0, epoch=epoch, by_shape=by_shape)
    packed = [clip_id for pack in result.packs for clip_id in pack]
    assert sorted(packed) == sorted(item.clip_id for item in clips)
    by_id = {item.clip_id: item for item in clips}
    for pack in result.packs:
        tokens = sum(by_id[clip_id].tokens for clip_id in pack)
        assert tokens <= budget or (len(pack) == 1 and pack[0] in result.over_budget)
        assert not by_shape or len({by_id[clip_id].shape for clip_id in pack}) == 1


@settings(deadline=None)
@given(items, st.integers(1, 500), st.integers(0, 9))
def test_a_plan_depends_on_seed_and_epoch_alone(clips: list[Item], budget: int, epoch: int) -> None:
    assert plan(clips, budget, 3, epoch) == plan(list(reversed(clips)), budget, 3, epoch)


def test_epochs_and_seeds_differ() -> None:
    clips = [Item(f"clip-{i}", 10) for i in range(40)]
    plans = {plan(clips, 100, seed, epoch).packs for seed in range(3) for epoch in range(3)}
    assert len(plans) == 9


def test_equal_clips_fill_their_packs() -> None:
    assert plan([Item(f"clip-{i}", 80) for i in range(64)], 1280, 0, 0).fill == 1.0


def test_the_attention_budget_bounds_the_squares() -> None:
    clips = [Item(f"clip-{i}", 100) for i in range(8)]
    assert {len(pack) for pack in plan(clips, 800, 0, 0, attention_budget=20_000).packs} == {2}
    assert plan([*clips, Item("long", 150)], 800, 0, 0, attention_budget=20_000).over_budget == ("long",)


def mixture(count: int) -> list[Item]:
    """Clips as a platform has them: pictures and up to 33 frames, of five sizes, in tokens of 16 pixels a side."""
    draw = random.Random(0)
    grids = [(4, 4), (3, 6), (6, 3), (6, 6), (8, 8)]
    lengths = [1, 2, 3, 5, 5, 5, 9]
    shapes = [(draw.choice(lengths), *draw.choice(grids)) for _ in range(count)]
    return [Item(f"clip-{i}", t * h * w, (t, h, w)) for i, (t, h, w) in enumerate(shapes)]


@pytest.mark.parametrize("epoch", range(4))
def test_a_mixture_of_sizes_and_lengths_wastes_at_most_a_twentieth_of_the_budget(epoch: int) -> None:
    clips = mixture(400)
    assert len({item.tokens for item in clips}) > 15
    result = plan(clips, 1280, 0, epoch)
    assert 1 - result.fill <= 0.05
    assert result.over_budget == ()


def test_under_both_budgets_steps_cost_alike_and_nothing_is_left_out() -> None:
    clips, squares = mixture(400), 400_000
    tokens = {item.clip_id: item.tokens for item in clips}
    result = plan(clips, 1280, 0, 0, attention_budget=squares)
    assert sorted(clip_id for pack in result.packs for clip_id in pack) == sorted(tokens)
    for pack in result.packs:
        assert sum(tokens[c] for c in pack) <= 1280
        assert sum(tokens[c] ** 2 for c in pack) <= squares
    free = plan(clips, 1280, 0, 0)
    assert max(sum(tokens[c] ** 2 for c in pack) for pack in free.packs) > squares
    assert report(result)["fill"] == pytest.approx(result.fill, abs=1e-4)


def test_a_cursor_goes_on_where_another_stood() -> None:
    clips = [Item(f"clip-{i}", 10 + i) for i in range(20)]
    whole = list(islice(Cursor().packs(clips, 60, 1), 17))
    first = Cursor()
    walk = first.packs(clips, 60, 1)
    head = [next(walk) for _ in range(9)]
    tail = islice(Cursor(first.epoch, first.pack + 1).packs(clips, 60, 1), 8)
    assert head + list(tail) == whole


@pytest.mark.parametrize("clips", [[], [Item("a", 1), Item("a", 2)], [Item("a", 0)]])
def test_what_cannot_be_planned_is_refused(clips: list[Item]) -> None:
    with pytest.raises(PackingError):
        plan(clips, 100, 0, 0)
