"""Renditions: the right moment, the right size, made once."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import BotoCoreError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from botocore.response import StreamingBody
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from assets.dataset import renditions
from assets.dataset.renditions import NANO, RenditionError, choose_moment, crop_and_resize
from assets.dataset.sealed import consent_violation, defects, local_view
from assets.dataset.snapshot import build
from assets.home import Home
from assets.store import S3Store
from training.consent.times import now_utc


@given(st.integers(0, 500), st.integers(1, 900), st.sampled_from([5.0, 12.0, 23.976, 24.0, 25.0, 30.0, 59.94, 120.0]))
def test_the_moment_lies_inside_the_clip_has_4k_plus_1_frames_and_never_runs_backwards(
    start: int, length: int, fps: float
) -> None:
    moment = choose_moment(start, start + length, fps, NANO)
    assert len(moment.indices) % 4 == 1
    assert start <= moment.first
    assert moment.end <= start + length
    assert list(moment.indices) == sorted(moment.indices)
    if length >= 17 and length >= 2 * fps + 1:
        assert moment.fps == pytest.approx(8.0)


def test_the_middle_two_seconds_of_a_long_clip_are_taken() -> None:
    moment = choose_moment(0, 240, 24.0, NANO)
    assert moment.indices[0] + moment.indices[-1] == pytest.approx(239, abs=1)
    assert set(np.diff(moment.indices)) == {3}


def test_a_clip_of_nine_frames_gives_nine_frames_at_its_own_rate() -> None:
    moment = choose_moment(10, 19, 24.0, NANO)
    assert moment.indices == tuple(range(10, 19))
    assert moment.fps == 24.0


def test_a_range_without_frames_is_an_error() -> None:
    with pytest.raises(RenditionError, match="no frames"):
        choose_moment(5, 5, 24.0, NANO)


@given(st.integers(16, 8000), st.integers(16, 8000))
def test_sizes_are_multiples_of_16_near_64_squared_and_within_1_to_2(width: int, height: int) -> None:
    w, h = NANO.size(width, height)
    assert w % 16 == h % 16 == 0
    assert 0.7 <= w * h / 64**2 <= 1.3
    assert 0.5 <= w / h <= 2


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(64, 64, (64, 64)), (1920, 1080, (80, 48)), (1080, 1920, (48, 80)), (2350, 1000, (96, 48)), (640, 480, (64, 48))],
)
def test_known_sizes(width: int, height: int, expected: tuple[int, int]) -> None:
    assert NANO.size(width, height) == expected


def test_the_crop_is_centred() -> None:
    frames = np.zeros((1, 100, 400, 3), np.uint8)
    frames[:, :, 100:300] = 255  # the middle 2:1 of a 4:1 picture
    assert crop_and_resize(frames).min() == 255


@pytest.fixture
def clip(home: Home, tmp_path: Path) -> dict[str, Any]:
    """A delivered file in the store, its media row, and the member that a snapshot would have."""
    from training.data.video import write_mp4

    ramp = np.broadcast_to(np.arange(0, 240, 5, dtype=np.uint8)[:, None, None, None], (48, 72, 128, 3))
    home.store.put("media/aa/bb/clip.mp4", write_mp4(tmp_path / "clip.mp4", np.ascontiguousarray(ramp), 24.0))
    home.lake.write("media", [media_row("i-1")], "2026-11-02")
    return {
        "clip_id": "c" * 64,
        "item_id": "i-1",
        "media_key": "media/aa/bb/clip.mp4",
        "start_frame": 0,
        "end_frame": 48,
    }


def media_row(item_id: str) -> dict[str, Any]:
    return {
        "item_id": item_id,
        "received_day": "2026-11-02",
        "size_bytes": 1,
        "state": "accepted",
        "reasons": [],
        "fps": 24.0,
        "probe_version": "1",
    }


def test_a_rendition_holds_the_pictures_of_its_moment(home: Home, clip: dict[str, Any]) -> None:
    made = renditions.render_all(home, [clip])
    frames = load(home.store.get(made.keys[0]))["frames"]
    assert frames.dtype == np.uint8
    assert frames.shape == (17, 48, 80, 3)
    expected = np.array(choose_moment(0, 48, 24.0, NANO).indices) * 5.0
    assert frames.mean((1, 2, 3)) == pytest.approx(expected, abs=4)


def test_a_second_run_decodes_nothing(home: Home, clip: dict[str, Any]) -> None:
    first = renditions.render_all(home, [clip])
    before = home.store.get(first.keys[0])
    home.store.delete(clip["media_key"])
    second = renditions.render_all(home, [clip])
    assert (first.made, second.made) == (1, 0)
    assert home.store.get(second.keys[0]) == before


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_torn_rendition_is_made_anew(home: Home, clip: dict[str, Any], kept: int) -> None:
    (name,) = renditions.render_all(home, [clip]).keys
    whole = home.store.get(name)
    home.store.put(name, whole[:kept])
    assert renditions.render_all(home, [clip]).made == 1
    assert home.store.get(name) == whole


def test_the_same_frames_give_the_same_bytes(home: Home, clip: dict[str, Any]) -> None:
    source = home.store.fetch(clip["media_key"])
    assert len({renditions.render(clip, source, 24.0) for _ in range(6)}) == 1


def test_a_file_held_sideways_is_turned_upright(home: Home, clip: dict[str, Any]) -> None:
    source = home.store.fetch(clip["media_key"])
    assert load(renditions.render(clip, source, 24.0, rotation_deg=90))["frames"].shape == (17, 80, 48, 3)


def test_a_source_that_lost_frames_is_an_error_that_names_the_clip(home: Home, clip: dict[str, Any]) -> None:
    with pytest.raises(RenditionError, match="c" * 64):
        renditions.render(clip | {"end_frame": 90}, home.store.fetch(clip["media_key"]), 24.0)


def failing_over(clip_id: str, how: str) -> tuple[str, ...]:
    """A child process that fails over one clip as `how` says, and else does its work."""
    script = f"""
import os, signal
from assets.dataset import renditions as worker
render = worker.render
def failing(member, **more):
    if member["clip_id"] == {clip_id!r}:
        {how}
    return render(member, **more)
worker.render = failing
worker.serve(worker.answer)
"""
    return sys.executable, "-c", script


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os._exit(0)", "exit status 0"),
        ("raise MemoryError('all of it')", "MemoryError"),
    ],
)
def test_a_decoder_that_crashes_over_a_clip_costs_that_clip_alone(
    home: Home, clip: dict[str, Any], monkeypatch: pytest.MonkeyPatch, how: str, message: str
) -> None:
    other = clip | {"clip_id": "d" * 64}
    monkeypatch.setattr(renditions, "COMMAND", failing_over(clip["clip_id"], how))
    made = renditions.render_all(home, [clip, other])
    assert made.keys == (renditions.key("d" * 64),)
    assert list(made.failed) == ["c" * 64]
    assert message in made.failed["c" * 64]


def test_a_full_disk_is_no_clips_fault(home: Home, clip: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(home.store), "put", full)
    with pytest.raises(OSError, match="No space left"):
        renditions.render_all(home, [clip, clip | {"clip_id": "d" * 64}])


def test_a_view_shows_exactly_the_files_it_was_made_for(home: Home) -> None:
    for name in ("a", "b", "c"):
        home.store.put(f"frames/v/{name}.safetensors", name.encode())
    view = local_view(home, ["frames/v/a.safetensors", "frames/v/c.safetensors"])
    assert {path.name: path.read_text() for path in view.iterdir()} == {"a.safetensors": "a", "c.safetensors": "c"}
    with pytest.raises(FileNotFoundError):
        local_view(home, ["frames/v/missing.safetensors"])


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="rushes")
        yield client


def test_a_snapshot_on_object_storage_is_the_one_on_disk(small_world: Any, bucket: Any) -> None:
    local: Home = small_world.home
    now = now_utc()
    expected = build(local, now).sealed
    remote = replace(local, store=S3Store(bucket, "rushes", "site", local.scratch("cache")))
    for name in [*local.store.list("lake"), *local.store.list("media")]:
        if "snapshot_members" not in name:
            remote.store.put(name, local.store.get(name))
    built = build(remote, now)
    assert built.sealed.root == expected.root
    assert remote.store.get(f"snapshots/{expected.root}/manifest.json") == expected.path.read_bytes()
    assert defects(remote, built.sealed) == []
    assert consent_violation(remote, built.sealed) == {}

    rendered = renditions.render_all(remote, built.sealed.members)
    view = local_view(remote, rendered.keys)
    assert sorted(path.name for path in view.iterdir()) == [
        f"{clip_id}.safetensors" for clip_id in sorted(expected.clip_ids)
    ]
    assert all(path.stat().st_size for path in view.iterdir())


@pytest.mark.parametrize("broken", [1, 3, 9])
def test_a_body_that_breaks_off_is_read_again(
    home: Home, bucket: Any, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    """The client's own retries end once the answer has begun."""
    monkeypatch.setattr("assets.store.BODY_PAUSES_S", (0.0, 0.0, 0.0))
    store = S3Store(bucket, "rushes", "site", home.scratch("cache"))
    store.put("media/a", b"whole")
    errors = [ResponseStreamingError(error="reset"), ReadTimeoutError(endpoint_url="s3"), IncompleteReadError(
        actual_bytes=1, expected_bytes=5)] * 3  # fmt: skip
    read = StreamingBody.read

    def breaks(body: StreamingBody, amt: int | None = None) -> bytes:
        nonlocal broken
        broken -= 1
        if broken >= 0:
            raise errors[broken]
        return read(body, amt=amt)

    monkeypatch.setattr(StreamingBody, "read", breaks)
    if broken > 3:
        with pytest.raises(BotoCoreError):
            store.get("media/a")
    else:
        assert store.get("media/a") == b"whole"
