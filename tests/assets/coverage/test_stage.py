"""Diversity end to end over a small home: classes of real rows, weights sealed beside the snapshot, and what they show."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest

from assets.coverage.assets import clip_classes
from assets.dataset import sampling_weights
from assets.dataset.assets import training_snapshot
from assets.dataset.sealed import SnapshotError, current
from assets.dataset.snapshot import build
from assets.home import Home
from assets.model.warm import plan
from training.data import repeats


def materialize(home: Home, *assets: Any) -> dict[str, dict[str, Any]]:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([*assets], resources={"home": home}, instance=instance)
    assert result.success
    return {
        name: {key: value.value for key, value in result.asset_materializations_for_node(name)[0].metadata.items()}
        for name in (asset.key.to_user_string() for asset in assets)
    }


@pytest.fixture
def skewed(world: Any) -> Home:
    """One contributor with eleven clips of cars by day, and two with a clip of something else each."""
    for name, clips in (("c-big", 11), ("c-one", 2), ("c-two", 2)):
        world.deliver(name, clips)
    for row in world.tables["delivery_items"]:
        cars = row["contributor_id"] == "c-big"
        row |= {"declared_subject": "cars" if cars else "a forest", "declared_time_of_day": "day" if cars else "dawn"}
        row |= {
            "declared_location": "Ghent, Belgium" if cars else "Lyon, France",
            "device": "phone",
            "source_name": None,
        }
    world.settle()
    return world.home


def test_classes_weights_and_their_effect_are_made_and_shown(skewed: Home) -> None:
    shown = materialize(skewed, clip_classes, training_snapshot)
    classes = {row["contributor"]: row for row in skewed.lake.rows("clip_classes")}
    assert (classes["c-big"]["subject"], classes["c-big"]["country"]) == ("cars", "belgium")
    assert (classes["c-one"]["subject"], classes["c-one"]["time_of_day"]) == ("a forest", "dawn")

    sealed, weights = current(skewed), skewed.lake.rows("clip_weights")
    train = {member["clip_id"] for member in sealed.members if member["split"] == "train"}
    assert {row["clip_id"] for row in weights} == train
    assert sum(row["weight"] for row in weights) == len(train) * repeats.EVEN
    big = [row for row in weights if row["contributor"] == "c-big"]
    assert len({row["contributor"] for row in weights}) == 2, "one of three contributors is held out"
    assert all(row["times_an_epoch"] < 1 and "contributor" in row["limited_by"] for row in big)
    others = [row for row in weights if row["contributor"] != "c-big"]
    assert all(row["times_an_epoch"] > 1 and row["limited_by"] == [] for row in others)

    seen = {(row["dimension"], row["class_name"]): row for row in skewed.lake.rows("diversity")}
    assert seen["contributor", "c-big"]["share"] > 0.8
    assert seen["contributor", "c-big"]["seen_share"] == pytest.approx(0.5, abs=1e-4)
    assert seen["time_of_day", "night"]["clips"] == 0

    snapshot = shown["training_snapshot"]
    assert snapshot["shares_as_they_are_and_as_seen"].startswith("![shares")
    assert len(snapshot["shares_as_they_are_and_as_seen"]) < 200_000
    assert f"{len(big)} clips are seen less than once an epoch" in snapshot["how_often_clips_are_seen"]
    assert "| contributor | 2 |" in snapshot["diversity"]


def test_training_is_told_the_file_and_its_digest_and_reads_the_same_weights(skewed: Home) -> None:
    evenly = plan(skewed, "unsealed")
    materialize(skewed, clip_classes, training_snapshot)
    sealed = current(skewed)
    weights = sampling_weights.current(skewed, sealed.root)
    assert weights is not None
    path, sha256 = weights
    members = [member["clip_id"] for member in sealed.members if member["split"] == "train"]
    read = repeats.read(path, sha256, sealed.root, members)
    assert read == {row["clip_id"]: row["weight"] for row in skewed.lake.rows("clip_weights")}
    assert json.loads(path.read_text())["policy"]["version"] == "weights/1"
    assert evenly.repetition_sha256 == ""
    assert plan(skewed, sealed.root).repetition_sha256 == sha256


def test_sealing_again_over_the_same_clips_gives_the_same_weights(skewed: Home) -> None:
    first = materialize(skewed, clip_classes, training_snapshot)["training_snapshot"]["repetition_sha256"]
    again = materialize(skewed, clip_classes, training_snapshot)["training_snapshot"]
    assert (again["repetition_sha256"], again["outcome"][:11]) == (first, "nothing new")


def test_clips_that_nobody_classed_are_weighed_by_contributor_alone(skewed: Home) -> None:
    materialize(skewed, training_snapshot)
    weights = skewed.lake.rows("clip_weights")
    assert {row["subject"] for row in weights} == {"unknown"}
    assert {tuple(row["limited_by"]) for row in weights if row["contributor"] == "c-big"} == {("contributor",)}


def test_weights_of_another_snapshot_are_never_used(skewed: Home, world: Any) -> None:
    from datetime import UTC, datetime

    materialize(skewed, training_snapshot)
    world.revoke(current(skewed).clip_ids[0])
    world.write_mart()
    smaller = build(skewed, datetime.now(UTC)).sealed
    with pytest.raises(SnapshotError, match="materialise training_snapshot again"):
        plan(skewed, smaller.root)


def test_withdrawn_clips_have_no_class(skewed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = skewed.lake.rows("shots")[0]["clip_id"]
    monkeypatch.setattr("assets.coverage.assets.withheld", lambda home: frozenset({gone}))
    materialize(skewed, clip_classes)
    assert gone not in {row["clip_id"] for row in skewed.lake.rows("clip_classes")}
    assert len(skewed.lake.rows("clip_classes")) == 14


def test_without_the_text_encoder_subjects_are_told_apart_by_their_words(skewed: Home, tmp_path: Any) -> None:
    from dataclasses import replace

    home = replace(skewed, vendor=tmp_path)
    assert materialize(home, clip_classes)["clip_classes"]["subjects_by"] == "words alone"
    assert {row["subject"] for row in home.lake.rows("clip_classes")} == {"cars", "a forest"}


def test_rendered_scenes_of_the_lake_have_no_place(skewed: Home) -> None:
    items = skewed.lake.rows("delivery_items")
    days = {row["received_day"] for row in items}
    for day in days:
        rows = [
            row | {"source_name": "simulated scene (seed 7)"} if row["contributor_id"] == "c-one" else row
            for row in items
            if row["received_day"] == day
        ]
        skewed.lake.write("delivery_items", rows, day)
    materialize(skewed, clip_classes)
    places = {(row["contributor"], row["place"]) for row in skewed.lake.rows("clip_classes")}
    assert places == {("c-big", "ghent"), ("c-one", "unknown"), ("c-two", "lyon")}
