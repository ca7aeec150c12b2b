"""What makes two clips the same clip."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assets.decode.decoder import open_container, video_stream
from assets.decode.identity import frame_digest, range_digest
from assets.decode.probe_pool import ProbePool, digests_key, remember, remembered
from assets.signals.single_pass import measure
from assets.store import LocalStore
from tests.assets.ingestion import films
from tests.assets.samples import encode, pictures, remux


def digests(path: Path) -> list[bytes]:
    with open_container(path) as container:
        return [frame_digest(frame) for frame in container.decode(video_stream(container))]


def test_a_clip_of_the_whole_file_has_the_identity_that_the_probe_measured(video: Path, pool: ProbePool) -> None:
    frames = digests(video)
    assert len(frames) == 24
    probed = pool.probe(video)
    assert range_digest(b"".join(frames)) == probed.frames_sha256
    assert base64.b64decode(probed.frame_digests) == b"".join(frames)


def test_the_digests_of_the_frames_of_an_accepted_file_are_kept_beside_its_verdict(
    video: Path, pool: ProbePool, tmp_path: Path
) -> None:
    store, result = LocalStore(tmp_path / "store"), pool.probe(video)
    remember(store, "a" * 64, pool.version, result)
    assert store.get(digests_key("a" * 64)) == b"".join(digests(video))
    assert remembered(store, "a" * 64, pool.version) == replace(result, frame_digests="")
    remember(store, "b" * 64, pool.version, replace(result, reasons=("file.empty: nothing",)))
    assert not store.exists(digests_key("b" * 64))


def test_another_container_or_name_keeps_the_identity(video: Path, tmp_path: Path) -> None:
    assert digests(remux(video, tmp_path / "other.mkv")) == digests(video)


BESIDE = {
    "audio": ("a.mp4", films.sound),
    "subtitle": ("s.mp4", films.raw_packets("mov_text", b"\0\5words")),
    "data": ("d.ts", films.raw_packets("data", b"words")),
}


def delayed(folder: Path, kind: str) -> Path:
    """A film whose decoder holds frames back until it is flushed, with a stream of another kind behind it."""
    name, more = BESIDE[kind]
    return films.encode(folder / name, pictures(40, 48, 64), beside=more, preset="medium", bf="3")


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        *(("audio", f"first.{ending}") for ending in ("mp4", "mkv", "ts")),
        ("subtitle", "first.mp4"),
        ("data", "first.ts"),
    ],
)
def test_a_copy_with_another_stream_in_front_has_every_frame_and_the_same_identity(
    measuring_pool: ProbePool, tmp_path: Path, kind: str, target: str
) -> None:
    source = delayed(tmp_path, kind)
    behind, copy = measuring_pool.probe(source), remux(source, tmp_path / target, kind, "video")
    with open_container(copy) as container:
        assert container.streams[0].type == kind
    front = measuring_pool.examine(copy)
    assert front.result.reasons == ()
    assert front.result.frames_decoded == 40
    assert front.result.frames_sha256 == behind.frames_sha256
    assert front.beside is not None
    assert front.beside["shots"][-1]["end_frame"] == 40
    assert measure(copy, None)["shots"] == front.beside["shots"]
    assert (front.beside["shots"][0]["signals"]["loudness_lufs"] is not None) == (kind == "audio")


def test_one_different_frame_is_another_clip(video: Path) -> None:
    frames = digests(video)
    assert len(set(frames)) == 24
    clips = frames, frames[1:], frames[::-1]
    assert len({range_digest(b"".join(clip)) for clip in clips}) == 3


@pytest.mark.parametrize(
    ("pixel_format", "width", "height"),
    [(name, 35, 17) for name in ("yuv420p", "yuv444p", "rgb24", "gray")]
    + [(name, 34, 18) for name in ("yuv420p", "yuv444p", "nv12", "rgb24", "gray", "yuyv422")],
)
def test_a_digest_covers_exactly_the_picture_without_padding(pixel_format: str, width: int, height: int) -> None:
    import av

    image = pictures(1, height, width)[0]
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
    rows = [np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size) for plane in frame.planes]
    half = -(-width // 2)
    used = {
        "yuv420p": [width, half, half],
        "yuv444p": [width] * 3,
        "nv12": [width, width],
        "rgb24": [3 * width],
        "gray": [width],
        "yuyv422": [2 * width],
    }[pixel_format]
    head = f"rushes.frame/1 {pixel_format} {width}x{height}\n".encode()
    expected = hashlib.sha256(head + b"".join(r[:, :n].tobytes() for r, n in zip(rows, used, strict=True))).digest()
    assert frame_digest(frame) == expected


def test_ten_bit_and_palette_pictures_have_an_identity(tmp_path: Path) -> None:
    import av

    frame = av.VideoFrame.from_ndarray(pictures(1, 16, 16)[0], format="rgb24")
    formats = ("yuv420p10le", "p010le", "rgb565le", "monob", "yuv422p12le", "gray16le", "rgb48le")
    frames = {frame_digest(frame.reformat(format=name)) for name in formats}
    assert len(frames) == len(formats)
    ten_bit = encode(tmp_path / "ten.mp4", frames=4, pixel_format="yuv420p10le")
    assert len(set(digests(ten_bit))) == 4


def test_the_full_range_flag_is_no_part_of_the_identity() -> None:
    import av

    narrow = av.VideoFrame(32, 32, "yuv420p")
    full = av.VideoFrame(32, 32, "yuvj420p")
    for frame in (narrow, full):
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
    assert frame_digest(narrow) == frame_digest(full)
