"""Pictures with known facts, small real videos that are encoded here, and manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from assets.signals.files import BesideProbe, Measuring, pass_version
from tests.assets.ingestion import films

DAY = "2026-11-02"
CLAIMS = {"model_id": "model-1", "snapshot_root": "ab" * 32, "ledger_checkpoint": "7:" + "cd" * 32}


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


def measuring() -> BesideProbe:
    """Without faces and plug-ins."""
    return BesideProbe(Measuring(pass_version(None), None, ()))


def texture(seed: int, height: int = 144, width: int = 256) -> np.ndarray:
    """A picture with detail at several scales: uint8 [height, width, 3]."""
    import cv2

    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((5, 60.0), (16, 45.0), (48, 35.0)):
        noise = rng.normal(0, strength, (cells * height // width + 2, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    tint = rng.uniform(90, 165, 3)
    return np.clip(picture + tint, 0, 255).astype(np.uint8)


def still(seed: int, frames: int, **size: int) -> np.ndarray:
    return np.repeat(texture(seed, **size)[None], frames, axis=0)


def waves(height: int = 64, width: int = 64, frames: int = 17, seed: int = 0) -> np.ndarray:
    """Coloured waves that move, uint8 [T, H, W, 3]: no texture in which a watermark could hide."""
    y, x = np.mgrid[:height, :width]
    tone = np.random.default_rng(seed).uniform(0.2, 1, 3)
    waves = [90 * np.sin((x + 4 * t) / 9)[..., None] * tone + 30 * np.cos(y / 7)[..., None] for t in range(frames)]
    return np.clip(128 + np.stack(waves), 0, 255).astype(np.uint8)
