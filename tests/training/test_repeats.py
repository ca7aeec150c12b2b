"""How often a clip comes by: as its weight says, to within one time, whenever one looks and wherever a run resumes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.conftest import TrainingWorld
from training.data.clips import read_members
from training.data.packing import Cursor, Item, PackingError, plan
from training.data.repeats import EVEN, RepetitionError, occurrences, read, stated
from training.fit import fit
from training.trainer.logger import RunLogger

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
    found = plan(items, budget, 3, epoch, by_shape=by_shape)
    counts = Counter(clip_id for pack in found.packs for clip_id in pack)
    assert {item.clip_id: counts[item.clip_id] for item in items} == {
        item.clip_id: occurrences(item.clip_id, item.weight, 3, epoch, epoch + 1) for item in items
    }
    assert set(found.resting) == {item.clip_id for item in items} - set(counts)
    assert all(len(set(pack)) == len(pack) for pack in found.packs)
    assert found == plan(list(reversed(items)), budget, 3, epoch, by_shape=by_shape)


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
    ("change", "said"),
    [
        ({"digest": "0" * 64}, "not the one that was asked for"),
        ({"root": "b" * 64}, "are those of snapshot"),
        ({"clip_ids": ["a"]}, "1 clips have a weight or train, not both"),
        ({"clip_ids": ["a", "b", "c"]}, "not both, such as c"),
    ],
)
def test_weights_of_other_bytes_another_snapshot_or_other_clips_are_refused(
    tmp_path: Path, change: dict, said: str
) -> None:
    path, digest = sealed(tmp_path, {"a": EVEN, "b": EVEN})
    asked = {"digest": digest, "root": ROOT, "clip_ids": ["a", "b"]} | change
    with pytest.raises(RepetitionError, match=said):
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
    said = result["clips_seen"]
    assert (said["repetition_sha256"], said["never"]) == (digest, 0)
    assert said["fewest"] * 2 <= said["epochs"] + 2 <= said["most"] + 2
    code, result = run(world.config(name="another", **weighted | {"repetition_sha256": "0" * 64}))
    assert (code, "asked for" in result["stopped"]) == (1, True)
