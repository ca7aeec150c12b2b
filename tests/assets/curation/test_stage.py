"""The whole stage through Dagster, over real encoded files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from assets.curation import assets
from assets.curation.policy.policy import POLICY
from assets.decode.identity import range_digest
from assets.decode.process import ChildFailed, Children
from assets.home import Home
from assets.ingestion.assets import deliveries, media
from assets.reasons import Code
from assets.signals import files as clips
from tests.assets.samples import texture
from training.data.video import write_mp4

DAYS = ("2026-11-02", "2026-11-03")
FPS = 16.0
STAGE = [assets.shots, assets.signals, assets.visual_captions, assets.verdicts, assets.captions]
TABLES = ("shots", "signals", "verdicts", "captions", "duplicates")


def pan(seed: int, frames: int, step: int = 2) -> np.ndarray:
    wide = texture(seed, width=256 + step * frames)
    return np.stack([wide[:, step * index : step * index + 256] for index in range(frames)])


def deliver(home: Home, day: str, contributor: str, files: dict[str, Path], **changes: Any) -> None:
    """A delivery folder in the inbox; `changes` are declared for every clip of it."""
    folder = f"inbox/{day}/d-{contributor}"
    declared = {
        "subject": "a wall of colours",
        "location": "Ghent",
        "time_of_day": "day",
        "resolution": "256x144",
        "aspect_ratio": "16:9",
        "length_s": 4.0,
        "persons": [],
    }
    manifest = {
        "schema": "rushes.delivery/1",
        "delivery_id": f"d-{contributor}",
        "contributor_id": contributor,
        "request_id": None,
        "received_at": f"{day}T08:00:00Z",
        "clips": [declared | changes | {"file": name} for name in files],
    }
    for name, path in files.items():
        home.store.put(f"{folder}/{name}", path)
    home.store.put(f"{folder}/delivery.json", json.dumps(manifest).encode())


@pytest.fixture
def delivered(home: Home, tmp_path: Path) -> Home:
    """A film of two shots and a pan on the first day; the pan again, re-encoded, and a lie on the second."""
    film = write_mp4(tmp_path / "film.mp4", np.concatenate([pan(1, 32), pan(2, 32)]), FPS)
    alone = write_mp4(tmp_path / "pan.mp4", pan(3, 64), FPS)
    again = write_mp4(tmp_path / "again.mp4", pan(3, 64), FPS, crf=30)
    deliver(home, DAYS[0], "c-1", {"film.mp4": film, "pan.mp4": alone})
    deliver(home, DAYS[1], "c-2", {"mine.mp4": again}, aspect_ratio="4:3", length_s=9.0)
    return home


def intake(home: Home, day: str = DAYS[0]) -> dg.ExecuteInProcessResult:
    """Materialise ingestion and curation of a day."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("received_day", [day])
        return dg.materialize(
            [deliveries, media, *STAGE], instance=instance, partition_key=day, resources={"home": home}
        )


def run(home: Home) -> dict[str, str]:
    """Materialise ingestion and curation of both days; the bytes of every table, hashed."""
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("received_day", list(DAYS))
    for day in DAYS:
        result = dg.materialize(
            [deliveries, media, *STAGE], instance=instance, partition_key=day, resources={"home": home}
        )
        assert result.success
        assert all(check.passed for check in result.get_asset_check_evaluations() if check.blocking)
    assert dg.materialize([assets.duplicates], instance=instance, resources={"home": home}).success
    keys = [key for key in home.store.list("lake") if key.split("/")[1] in TABLES]
    return {key: hashlib.sha256(home.store.get(key)).hexdigest() for key in keys}


@pytest.mark.slow
def test_the_stage_gives_clips_signals_verdicts_and_captions(delivered: Home) -> None:
    run(delivered)
    lake = delivered.lake
    names = {row["item_id"]: row["file_name"] for row in lake.rows("delivery_items")}
    shots = {(names[row["item_id"]], row["shot_index"]): row for row in lake.rows("shots")}
    assert {key: (row["start_frame"], row["end_frame"]) for key, row in shots.items()} == {
        ("film.mp4", 0): (0, 32),
        ("film.mp4", 1): (32, 64),
        ("pan.mp4", 0): (0, 64),
        ("mine.mp4", 0): (0, 64),
    }
    assert {row["camera_motion"] for row in lake.rows("signals")} == {"pan"}
    assert len(lake.rows("verdicts")) == len(shots) * len(POLICY.checks)
    failed = {(names[row["item_id"]], row["reason"]) for row in lake.rows("verdicts") if row["verdict"] == "fail"}
    assert failed == {("mine.mp4", "spec.aspect"), ("mine.mp4", "spec.duration")}
    copies = [row for row in lake.rows("duplicates") if row["verdict"] == "fail"]
    assert [(names[row["item_id"]], names[row["original_item_id"]]) for row in copies] == [("mine.mp4", "pan.mp4")]
    assert {row["kind"] for row in lake.rows("captions")} == {"short", "long"}


@pytest.mark.slow
def test_the_second_time_nothing_is_decoded_and_every_table_has_the_same_bytes(
    delivered: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(delivered)
    assert {key.split("/")[1] for key in first} == set(TABLES)
    asked: list[object] = []
    monkeypatch.setattr(Children, "ask", lambda self, request: asked.append(request))
    assert run(delivered) == first
    assert asked == []


def test_a_clip_that_covers_its_file_has_the_files_own_identity(home: Home, tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "pan.mp4", pan(4, 20), FPS)
    row = media_row(home, path)
    clip = clips.shot_rows([row], clips.measure_files(home, [row]))[0]
    from assets.signals.frames import read

    assert clip["clip_id"] == range_digest(b"".join(frame.digest() for frame in read(path)))


def test_a_file_that_cannot_be_measured_stays_a_clip_without_signals(home: Home, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a film")
    row = media_row(home, bad)
    measured = clips.measure_files(home, [row])
    assert measured[row["bytes_sha256"]].error
    assert clips.signal_rows([row], measured) == []
    assert [shot["clip_id"] for shot in clips.shot_rows([row], measured)] == [row["frames_sha256"]]
    assert list(home.store.list("cache")) == []  # another run tries again


def media_row(home: Home, path: Path) -> dict[str, Any]:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    key = f"media/{sha256[:2]}/{sha256[2:4]}/{sha256}.mp4"
    home.store.put(key, path)
    return {
        "item_id": "i-1",
        "received_day": DAYS[0],
        "state": "accepted",
        "bytes_sha256": sha256,
        "media_key": key,
        "frames_sha256": "f" * 64,
        "frames_decoded": 20,
        "duration_s": 1.25,
    }


@pytest.mark.slow
def test_an_error_of_ours_is_told_with_its_text_and_its_files_neighbours_go_on(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A native crash in measuring one of two files, from the child process to every page that shows verdicts. It passes
    while the day is still under way: a clip is not measured in one table and measured in the next."""
    bad = write_mp4(tmp_path / "bad.mp4", pan(5, 20), FPS)
    deliver(home, DAYS[0], "c-1", {"good.mp4": write_mp4(tmp_path / "good.mp4", pan(3, 20), FPS), "bad.mp4": bad})
    sha256, ask = hashlib.sha256(bad.read_bytes()).hexdigest(), Children.ask
    crashes = iter(("beside the probe", "for the shots"))

    def crash(children: Children, request: dict[str, Any]) -> Any:
        is_bad = "plugins" in request and hashlib.sha256(Path(request["path"]).read_bytes()).hexdigest() == sha256
        if is_bad and next(crashes, None):
            raise ChildFailed(Code.CRASHED, "the decoder ended with signal SIGSEGV")
        return ask(children, request)

    with monkeypatch.context() as patch:
        patch.setattr(Children, "ask", crash)
        result = intake(home)
    names = {row["item_id"]: row["file_name"] for row in home.lake.rows("delivery_items")}
    reasons = {names[row["item_id"]]: row["not_measured"] for row in home.lake.rows("shots")}
    assert reasons == {"good.mp4": None, "bad.mp4": "media.crashed: the decoder ended with signal SIGSEGV"}
    check = next(
        evaluation for evaluation in result.get_asset_check_evaluations() if evaluation.check_name == "all_measured"
    )
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "bad.mp4" in str(check.metadata["which"].value)
    assert "signal SIGSEGV" in str(check.metadata["which"].value)
    rows = [row for row in home.lake.rows("verdicts") if names[row["item_id"]] == "bad.mp4"]
    assert {row["verdict"] for row in rows if row["reason"]} == {"not_measured", "fail"}
    assert {row["reason"] for row in rows if row["verdict"] != "fail"} == {"platform.not_measured", None}
    assert intake(home).success  # another run, by the next version or by anybody, measures it
    assert {row["not_measured"] for row in home.lake.rows("shots")} == {None}


@pytest.mark.parametrize(("width", "height"), [(1280, 200), (200, 1280), (2048, 16)])
def test_very_wide_and_very_tall_pictures_are_measured(home: Home, tmp_path: Path, width: int, height: int) -> None:
    """In a child process: the optical flow of a library crashes on few lines."""
    picture = texture(6, height, width + 40)
    frames = np.stack([picture[:, 2 * index : 2 * index + width] for index in range(20)])
    row = media_row(home, write_mp4(tmp_path / "wide.mp4", frames, FPS))
    (measured,) = clips.measure_files(home, [row]).values()
    assert measured.error is None
    assert measured.shots[0]["signals"]["camera_motion"] == "pan"
