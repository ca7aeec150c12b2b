"""The release bundle: marked once, described whole, and found out when a file in it is not what it should be."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.dataset.snapshot import build
from assets.evaluation.report import shown
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


@pytest.fixture
def manifest(small_world: Any) -> dict[str, Any]:
    small_world.home.lake.write("consent_events", [])
    return dict(build(small_world.home, datetime.now(UTC)).sealed.manifest)


def test_the_summary_adds_up_to_the_snapshot(small_world: Any, manifest: dict[str, Any]):
    summary = bundle.summarise(small_world.home, manifest)
    assert summary["general"]["clips"] == len(manifest["members"]) == 8
    assert summary["general"]["contributors"] == 4
    assert summary["general"]["hours"] == pytest.approx(8 * 2.0 / 3600, abs=1e-4)
    assert sum(source["clips"] for source in summary["sources"]) == 8
    assert summary["consent"]["standing_consents"] == 8


def test_nobody_is_named_in_the_summary(small_world: Any, manifest: dict[str, Any]):
    summary = bundle.summarise(small_world.home, manifest)
    text = json.dumps(summary) + bundle.summary_page(summary)
    assert not [m["contributor_id"] for m in manifest["members"] if m["contributor_id"] in text]


def test_the_summary_of_the_same_snapshot_is_the_same(small_world: Any, manifest: dict[str, Any]):
    assert bundle.summarise(small_world.home, manifest) == bundle.summarise(small_world.home, manifest)


@pytest.mark.parametrize(
    ("parent", "origin", "expected"),
    [
        (None, "m-1", "parent model: none: trained from random weights"),
        ("m-0", "m-0", "parent model: m-0\n"),
        (
            "base-0123456789ab",
            "base-0123456789ab",
            "trained from base base-0123456789ab, which saw rendered scenes only",
        ),
        ("m-0", "base-0123456789ab", "m-0, which descends from base base-0123456789ab"),
    ],
)
def test_the_card_names_the_base_that_a_model_descends_from(
    small_world: Any, manifest: dict[str, Any], parent: str | None, origin: str, expected: str
):
    tags = {"model_key": "m-1"} | ({"parent_model": parent} if parent else {})
    summary = bundle.summarise(small_world.home, manifest)
    assert expected in bundle.model_card(bundle.Facts("1", [], tags, {"origin": origin}, summary, []))


def test_the_card_shows_intervals_and_says_what_was_not_measured(small_world: Any, manifest: dict[str, Any]):
    common = {"slice": "all", "n": 8, "unit": "1", "better": "lower", "method": "m/1"}
    rows = [
        {"metric": "flow", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "state": "measured", "why": None, **common},
        {"metric": "fvd", "value": None, "ci_low": None, "ci_high": None, "state": "not_measured", "why": "no weights",
         **common},
    ]  # fmt: skip
    text = bundle.model_card(
        bundle.Facts(
            version="3",
            aliases=["candidate"],
            tags={"model_key": "m-1", "snapshot_root": manifest["root"], "taint": "none"},
            record={"codec": {"result": {"start": {"heldout/psnr_db": 9.0}, "end": {"heldout/psnr_db": 25.0}}}},
            summary=bundle.summarise(small_world.home, manifest),
            scores=shown(rows),
        )
    )
    assert "0.5 [0.4, 0.6]" in text
    assert "not measured: no weights" in text
    assert manifest["root"] in text
    assert "heldout/psnr_db 9 → 25" in text
