"""The release bundle: marked once, described whole, and found out when a file in it is not what it should be."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from assets.home import Home
from assets.release import bundle
from training.data.video import read_frames, write_mp4

CLAIMS = {"model_id": "model-1", "snapshot_root": "ab" * 32, "ledger_checkpoint": "7:" + "cd" * 32}


@pytest.fixture
def samples(home: Home, raw: Path) -> list[dict[str, Any]]:
    home.store.put("samples/model-1/s-1.mp4", raw)
    home.store.put("samples/model-1/s-2.mp4", raw)
    return [
        {"sample_id": name, "media_key": f"samples/model-1/{name}.mp4", "prompt": f"prompt {name}", "seed": 1}
        for name in ("s-2", "s-1")
    ]


def test_a_bundle_holds_marked_videos_checksums_and_a_manifest(home: Home, samples: list[dict[str, Any]]):
    built = bundle.build(home, CLAIMS, samples)
    assert (len(built.files), built.marked_now) == (2, 2)
    assert bundle.unmarked(home, "model-1") == {}
    for line in home.store.get("release/model-1/SHA256SUMS").decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(home.store.get(f"release/model-1/{name}")).hexdigest() == digest
    manifest = json.loads(home.store.get("release/model-1/manifest.json"))
    assert manifest["snapshot_root"] == CLAIMS["snapshot_root"]
    assert [entry["name"] for entry in manifest["files"]] == ["s-1.mp4", "s-2.mp4"]


def test_building_again_marks_nothing_and_changes_no_byte(home: Home, samples: list[dict[str, Any]]):
    bundle.build(home, CLAIMS, samples)
    before = {key: home.store.get(key) for key in home.store.list("release")}
    assert bundle.build(home, CLAIMS, samples).marked_now == 0
    assert {key: home.store.get(key) for key in home.store.list("release")} == before


def test_a_new_sample_is_marked_and_a_dropped_one_leaves_the_bundle(
    home: Home, samples: list[dict[str, Any]], tmp_path
):
    bundle.build(home, CLAIMS, samples)
    frames, fps = read_frames(home.store.fetch("samples/model-1/s-1.mp4"))
    home.store.put("samples/model-1/s-1.mp4", write_mp4(tmp_path / "other.mp4", 255 - frames, fps))
    assert bundle.build(home, CLAIMS, [row for row in samples if row["sample_id"] == "s-1"]).marked_now == 1
    assert [key for key in home.store.list("release") if key.endswith(".mp4")] == ["release/model-1/s-1.mp4"]


def test_a_file_that_was_replaced_by_an_unmarked_one_is_found(home: Home, samples: list[dict[str, Any]]):
    bundle.build(home, CLAIMS, samples)
    home.store.put("release/model-1/s-1.mp4", home.store.fetch("samples/model-1/s-1.mp4"))
    (problems,) = bundle.unmarked(home, "model-1").values()
    assert any("manifest absent" in problem for problem in problems)
    assert any("watermark" in problem for problem in problems)
    assert "not the bytes in the manifest" in problems


def test_a_video_that_no_manifest_names_is_found(home: Home, samples: list[dict[str, Any]], raw: Path):
    bundle.build(home, CLAIMS, samples)
    home.store.put("release/model-1/extra.mp4", raw)
    assert bundle.unmarked(home, "model-1") == {"extra.mp4": ["not in the manifest"]}


def test_a_missing_file_is_found_and_made_again(home: Home, samples: list[dict[str, Any]]):
    bundle.build(home, CLAIMS, samples)
    home.store.delete("release/model-1/s-1.mp4")
    assert bundle.unmarked(home, "model-1") == {"s-1.mp4": ["missing"]}
    assert bundle.build(home, CLAIMS, samples).marked_now == 1
    assert bundle.unmarked(home, "model-1") == {}
