"""Packing: every clip once an epoch, never over the budget unless alone, and always the same for the same seed."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.conftest import TrainingWorld
from training.data.clips import read_members
from training.data.packing import Cursor, Item, PackingError, plan, report
from training.data.repeats import EVEN, RepetitionError, occurrences, read, stated
from training.fit import fit
from training.trainer.metrics import RunLogger

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


ROOT = "a" * 64


def normalised(parts: list[int]) -> list[int]:
    """Weights in these proportions that sum to EVEN for each clip, all at least 1."""
    weights = [1 + part * (len(parts) * EVEN - len(parts)) // sum(parts) for part in parts]
    weights[0] += len(parts) * EVEN - sum(weights)
    return weights


weighted = (
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 90)), min_size=1, max_size=40)
    .map(lambda rows: zip(normalised([part for part, _ in rows]), (tokens for _, tokens in rows), strict=True))
    .map(lambda rows: [Item(f"clip-{i:02}", tokens, (), weight) for i, (weight, tokens) in enumerate(rows)])
)


@given(st.integers(1, 8 * EVEN), st.integers(0, 99), st.integers(0, 60), st.integers(0, 60))
def test_a_clip_is_seen_as_often_as_its_weight_says_to_within_one_time(
    weight: int, seed: int, first: int, epochs: int
) -> None:
    seen = sum(occurrences("clip", weight, seed, epoch, epoch + 1) for epoch in range(first, first + epochs))
    assert seen == occurrences("clip", weight, seed, first, first + epochs)
    assert abs(seen - epochs * weight / EVEN) < 1


@given(st.integers(EVEN // 64, EVEN), st.integers(0, 99))
def test_a_rare_clip_is_met_before_its_wait_is_over(weight: int, seed: int) -> None:
    assert occurrences("clip", weight, seed, 0, -(-EVEN // weight)) >= 1


@settings(deadline=None)
@given(weighted, st.integers(1, 200), st.integers(0, 5), st.booleans())
def test_an_epoch_holds_each_clip_as_often_as_its_turn_says_and_never_twice_in_a_step(
    items: list[Item], budget: int, epoch: int, by_shape: bool
) -> None:
    planned = plan(items, budget, 3, epoch, by_shape=by_shape)
    counts = Counter(clip_id for pack in planned.packs for clip_id in pack)
    assert {item.clip_id: counts[item.clip_id] for item in items} == {
        item.clip_id: occurrences(item.clip_id, item.weight, 3, epoch, epoch + 1) for item in items
    }
    assert set(planned.resting) == {item.clip_id for item in items} - set(counts)
    assert all(len(set(pack)) == len(pack) for pack in planned.packs)
    assert planned == plan(list(reversed(items)), budget, 3, epoch, by_shape=by_shape)


@settings(deadline=None)
@given(weighted, st.integers(1, 200), st.integers(0, 40))
def test_a_run_that_resumes_meets_the_same_packs_and_counts_the_same(items: list[Item], budget: int, at: int) -> None:
    whole = list(islice(Cursor().packs(items, budget, 1), at + 9))
    cursor = Cursor()
    walk = cursor.packs(items, budget, 1)
    head = [next(walk) for _ in range(at)]
    after = Cursor(cursor.epoch, cursor.pack + 1) if at else Cursor()
    assert after.seen(items, budget, 1) == {i.clip_id: sum(i.clip_id in pack for pack in head) for i in items}
    assert head + list(islice(after.packs(items, budget, 1), 9)) == whole


def test_even_weights_give_the_very_packs_that_no_weights_give() -> None:
    sizes = [7 + i * 13 % 50 for i in range(30)]
    bare = [Item(f"clip-{i:02}", size) for i, size in enumerate(sizes)]
    digests = [
        hashlib.sha256(repr(plan(bare, 120, seed, epoch).packs).encode()).hexdigest()[:12]
        for seed, epoch in ((0, 0), (0, 7), (5, 2))
    ]
    assert digests == ["4d9aa27b98e6", "ab97fa2ee959", "3bbd9e1d544a"], (
        "the order of training has changed for runs without weights"
    )


@pytest.mark.parametrize("weights", [[0, 2 * EVEN], [EVEN, EVEN - 1]])
def test_weights_that_lose_a_clip_or_empty_an_epoch_are_refused(weights: list[int]) -> None:
    with pytest.raises(PackingError):
        plan([Item(f"clip-{i}", 1, (), weight) for i, weight in enumerate(weights)], 10, 0, 0)


def sealed(folder: Path, weights: dict[str, int], root: str = ROOT) -> tuple[Path, str]:
    data = stated(root, {"rule": "a test's"}, weights)
    path = folder / "repetition.json"
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def test_a_file_of_weights_is_read_back_as_it_was_stated(tmp_path: Path) -> None:
    weights = {"a": EVEN // 2, "b": EVEN + EVEN // 2}
    path, digest = sealed(tmp_path, weights)
    assert read(path, digest, ROOT, ["b", "a"]) == weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "0" * 64}, "not the one that was asked for"),
        ({"root": "b" * 64}, "are those of snapshot"),
        ({"clip_ids": ["a"]}, "1 clips have a weight or train, not both"),
        ({"clip_ids": ["a", "b", "c"]}, "not both, such as c"),
    ],
)
def test_weights_of_other_bytes_another_snapshot_or_other_clips_are_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    path, digest = sealed(tmp_path, {"a": EVEN, "b": EVEN})
    asked = {"digest": digest, "root": ROOT, "clip_ids": ["a", "b"]} | change
    with pytest.raises(RepetitionError, match=message):
        read(path, asked["digest"], asked["root"], asked["clip_ids"])


@pytest.mark.parametrize("weights", [{"a": 0, "b": 2 * EVEN}, {"a": EVEN}, {"a": 1.5}])
def test_weights_that_do_not_add_up_are_never_stated(weights: dict) -> None:
    weights = weights if len(weights) > 1 else {**weights, "b": EVEN + 1}
    with pytest.raises(RepetitionError):
        stated(ROOT, {}, weights)


def run(config) -> tuple[int, dict]:
    code = fit(config, RunLogger(Path(config.run_dir)))
    return code, json.loads((Path(config.run_dir) / "result.json").read_text())


def test_a_run_sees_its_clips_as_often_as_the_file_says_and_states_it(world: TrainingWorld) -> None:
    train = [member["clip_id"] for member in read_members(world.manifest, "train")]
    rare = dict.fromkeys(train, EVEN + EVEN // (2 * len(train) - 2)) | {train[0]: EVEN // 2}
    rare[train[1]] += len(train) * EVEN - sum(rare.values())
    path, digest = sealed(world.root, rare, world.snapshot_root)
    weighted = {"repetition": str(path), "repetition_sha256": digest}
    code, result = run(world.config(steps=24, checkpoint_every=24, **weighted))
    assert code == 0, result
    seen = result["clips_seen"]
    assert (seen["repetition_sha256"], seen["never"]) == (digest, 0)
    assert seen["fewest"] * 2 <= seen["epochs"] + 2 <= seen["most"] + 2
    code, result = run(world.config(name="another", **weighted | {"repetition_sha256": "0" * 64}))
    assert (code, "asked for" in result["stopped"]) == (1, True)
