"""Small real videos, encoded here, and delivery folders in every state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assets.decode.probe_pool import Limits, ProbePool
from assets.home import Home
from assets.signals.task import BesideProbe, Measuring, pass_version
from tests.assets.ingestion import films

DAY = "2026-11-02"


def pictures(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [frames, height, width, 3]: moving gradients, so that every frame differs."""
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    return np.stack([(x * 3 + t * 5 + seed * 40) % 256, (y * 4 + t * 3) % 256, (x + y + t * 7) % 256], -1).astype(
        np.uint8
    )


def encode(
    path: Path,
    frames: int = 24,
    width: int = 64,
    height: int = 48,
    fps: int = 12,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    seed: int = 0,
    sound: bool = False,
    picture: bool = True,
    **container: str,
) -> Path:
    """A small video. `container` options go to the muxer, for instance `movflags="faststart"`."""
    import av

    with av.open(str(path), "w", options=container) as out:
        if picture:
            video = out.add_stream(codec, rate=fps)
            video.width, video.height, video.pix_fmt = width, height, pixel_format
            if codec == "libx264":
                video.options = {"crf": "20", "preset": "ultrafast", "g": "8"}
        if sound:
            fill = films.sound(out, blocks=frames)
        for image in pictures(frames, height, width, seed) if picture else ():
            out.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if picture:
            out.mux(video.encode())
        if sound:
            fill()
    return path


def remux(source: Path, target: Path, *kinds: str) -> Path:
    """The same coded pictures in another container; with `kinds`, every stream of those, in that order."""
    import av

    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = [stream for kind in kinds or ("video",) for stream in old.streams if stream.type == kind]
        made = {old.index: _like(new, old) for old in streams}
        for packet in old.demux(*streams):
            if packet.dts is not None:
                packet.stream = made[packet.stream.index]
                new.mux(packet)
    return target


def _like(container: Any, stream: Any) -> Any:
    """A new stream for the packets of `stream`; data has no codec that a template could copy."""
    return container.add_data_stream() if stream.type == "data" else container.add_stream_from_template(stream)


def clip(file: str, **changes: Any) -> dict[str, Any]:
    """A valid clip of a manifest."""
    declared = {
        "file": file,
        "subject": "street",
        "location": "Brussels",
        "time_of_day": "day",
        "resolution": "64x48",
        "aspect_ratio": "4:3",
        "length_s": 2.0,
        "persons": [],
    }
    return declared | changes


def manifest(*clips: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A valid manifest."""
    document = {
        "schema": "rushes.delivery/1",
        "delivery_id": "d-1",
        "contributor_id": "c-1",
        "request_id": None,
        "received_at": f"{DAY}T08:15:00Z",
        "clips": list(clips),
    }
    return document | changes


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 good frames, 64x48, 12 frames a second, index in front."""
    return encode(tmp_path_factory.mktemp("video") / "good.mp4", movflags="faststart")


@pytest.fixture
def drop(home: Home) -> Callable[..., Path]:
    """Writes a delivery folder into the inbox: `drop("folder", document, {"a.mp4": b"..."}, day=...)`."""

    def write(
        folder: str, document: dict[str, Any] | bytes, files: dict[str, bytes | Path] | None = None, day: str = DAY
    ) -> Path:
        base = home.state / "inbox" / day / folder
        base.mkdir(parents=True, exist_ok=True)
        for name, data in (files or {}).items():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(data.read_bytes() if isinstance(data, Path) else data)
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        (base / "delivery.json").write_bytes(data)
        return base

    return write


@pytest.fixture(scope="session")
def pool() -> Iterator[ProbePool]:
    """One worker for every test that does not break it."""
    with ProbePool(Limits(wall_s=60.0), workers=1) as pool:
        yield pool


@pytest.fixture(scope="session")
def measuring_pool() -> Iterator[ProbePool]:
    """One worker that measures what it probes, as the platform's do."""
    with ProbePool(Limits(wall_s=60.0), workers=1, beside=measuring()) as pool:
        yield pool


def measuring() -> BesideProbe:
    """Without faces and plug-ins."""
    return BesideProbe(Measuring(pass_version(None), None, ()))
