"""Segments of real footage and the copies that people make of them, each coded as a file of its own.

Sources are split as in `films`: what thresholds were chosen on (`train`) never meets what they are judged on (`test`).
A segment is a part of one shot. Segments of different sources show different things, whoever looks; those of one source
may show one place again, and are told apart by shot in what is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.benchmarks.films import PIECES, SIZE

RANGES = {split: dict(ranges) for split, ranges in PIECES.items()}
RANGES["test"]["volcano.mp4"] = [(0, 300)]
LONG_S, SHORT_S = 2.6, 1.0  # a shot is cut into segments of about the one, and what is shorter than the other left out
SPEEDS = (0.5, 0.75, 0.8, 1.25, 1.5, 2.0)
Frames = list[np.ndarray]
Edit = Callable[[Frames, np.random.Generator], Frames]


@dataclass(frozen=True)
class Segment:
    """A part of shot `shot` of `source`; `frames` are RGB of `SIZE`."""

    source: str
    shot: int
    part: int
    fps: float
    frames: Frames


def segments(footage: Path, split: str) -> Iterator[Segment]:
    import av

    for source, ranges in RANGES[split].items():
        with av.open(str(footage / source)) as container:
            fps = float(container.streams.video[0].average_rate or 25)
            shown: list[Frames] = [[] for _ in ranges]
            for index, picture in enumerate(container.decode(video=0)):
                for frames, (start, end) in zip(shown, ranges, strict=True):
                    if start <= index < end:
                        frames.append(picture.reformat(*SIZE, "rgb24").to_ndarray())
                if index >= max(end for _, end in ranges):
                    break
        for shot, frames in enumerate(shown):
            parts = np.array_split(np.arange(len(frames)), max(1, round(len(frames) / (LONG_S * fps))))
            for part, at in enumerate(parts):
                if len(at) >= SHORT_S * fps:
                    yield Segment(source, shot, part, fps, frames[at[0] : at[-1] + 1])


def _same(frames: Frames, rng: np.random.Generator) -> Frames:
    return frames


def _half(frames: Frames, rng: np.random.Generator) -> Frames:
    import cv2

    return [cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for frame in frames]


def _cropped(frames: Frames, rng: np.random.Generator) -> Frames:
    """A tenth of each side, anywhere."""
    height, width = frames[0].shape[:2]
    top, left = rng.integers(0, height // 10 + 1), rng.integers(0, width // 10 + 1)
    return [frame[top : top + round(0.9 * height), left : left + round(0.9 * width)] for frame in frames]


def _cropped_one_side(frames: Frames, rng: np.random.Generator) -> Frames:
    width = frames[0].shape[1]
    left = rng.integers(0, width // 10 + 1)
    return [frame[:, left : left + round(0.9 * width)] for frame in frames]


def _trimmed(frames: Frames, rng: np.random.Generator) -> Frames:
    kept = round(len(frames) * rng.uniform(0.5, 0.8))
    start = rng.integers(0, len(frames) - kept + 1)
    return frames[start : start + kept]


def _at_another_speed(frames: Frames, rng: np.random.Generator) -> Frames:
    return [frames[int(at)] for at in np.arange(0, len(frames) - 1e-6, rng.choice(SPEEDS))]


def _with_logo(frames: Frames, rng: np.random.Generator) -> Frames:
    """A coloured box with letters in a corner: 16 % by 12 % of the picture."""
    import cv2

    height, width = frames[0].shape[:2]
    across, down, margin = round(0.16 * width), round(0.12 * height), round(0.03 * width)
    left = int(rng.choice([margin, width - across - margin]))
    top = int(rng.choice([margin, height - down - margin]))
    box = np.full((down, across, 3), rng.integers(0, 255, 3), np.uint8)
    cv2.putText(box, "NEWS", (3, down - 8), cv2.FONT_HERSHEY_SIMPLEX, down / 34, (255, 255, 255), 3)
    marked = [frame.copy() for frame in frames]
    for frame in marked:
        frame[top : top + down, left : left + across] = box
    return marked


def _letterboxed(frames: Frames, rng: np.random.Generator) -> Frames:
    """Black above and below, sometimes at the sides."""
    height, width = frames[0].shape[:2]
    share = rng.uniform(0.08, 0.18)
    down, across = (round(share * height), 0) if rng.random() < 0.7 else (0, round(share * width))
    return [np.pad(frame, ((down, down), (across, across), (0, 0))) for frame in frames]


# name: the edit, and the quality it is coded with (x264's CRF: the higher, the worse)
COPIES: dict[str, tuple[Edit, int]] = {
    "re-encode": (_same, 36),
    "half size": (_half, 28),
    "10 % crop": (_cropped, 26),
    "10 % crop of the width": (_cropped_one_side, 26),
    "flip left to right": (lambda frames, rng: [frame[:, ::-1] for frame in frames], 26),
    "flip upside down": (lambda frames, rng: [frame[::-1] for frame in frames], 26),
    "trim": (_trimmed, 26),
    "speed change": (_at_another_speed, 26),
    "added logo": (_with_logo, 26),
    "letterbox": (_letterboxed, 26),
    "trim, 10 % crop and flip": (
        lambda frames, rng: [frame[:, ::-1] for frame in _cropped(_trimmed(frames, rng), rng)],
        30,
    ),
}
ORIGINAL_CRF = 18


def coded(frames: Sequence[np.ndarray], fps: float, crf: int, path: Path) -> Path:
    """The frames as H.264."""
    import av

    rate = Fraction(fps).limit_denominator(1000)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": str(crf)})
        stream.height, stream.width = (side // 2 * 2 for side in frames[0].shape[:2])
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[: stream.height, : stream.width]), "rgb24")
            picture.pts, picture.time_base = index, 1 / rate
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
    return path


def hashes(path: Path) -> bytes:
    """What the curation pass keeps of a file's frames where it finds no cut in it."""
    from assets.signals.frames import read
    from assets.signals.image_quality import bars
    from assets.signals.phash import common, frame_hash, pack
    from assets.signals.single_pass import HASH_EVERY, SAMPLES_PER_S, Due

    due, borders, found = Due(HASH_EVERY / SAMPLES_PER_S), None, []
    for frame in read(path):
        if due(frame.pts_s):
            gray = frame.gray()
            borders = bars(gray) if borders is None else common(borders, bars(gray))
            found.append(frame_hash(frame.thumb_rgb(), gray, borders))
    return pack(one for one in found if one)
