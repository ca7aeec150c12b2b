"""The one pass over a file: every cheap measurement from the same small frames, put together a shot at a time.

What belongs here: which frame is measured when, and how the measurements of a shot's frames become one row of table
`signals`. The measurements themselves are in `motion`, `picture_scores`, `phash`, `faces` and `shots`. Light, freezes
and black are taken from every frame; flow, detail and hashes from `SAMPLES_PER_S` frames a second counted from the
start of each shot, so that the same shot inside another file is sampled at the same places; faces once a second.
"""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assets.curation.faces import SAMPLES_PER_S as FACES_PER_S
from assets.curation.faces import FaceFinder
from assets.curation.frames import Frame, read
from assets.curation.motion import FlowMeter, PairMotion, summarise
from assets.curation.phash import frame_hash
from assets.curation.picture_scores import PictureScores, bars, is_black, is_frozen, letterbox_share, score_picture
from assets.curation.shots import Shot, ShotFeatures, find_shots
from assets.ingestion.identity import range_digest

SIGNALS_VERSION = "signals-2"
SAMPLES_PER_S = 8.0
HASH_EVERY = 2  # samples: four hashes a second
HASHES_AT_MOST = 240  # the first minute of a long shot names it well enough
THUMBNAIL_SIDE = 150


@dataclass(frozen=True)
class Sample:
    """One of the frames that are looked at closely."""

    index: int
    scores: PictureScores
    bars: tuple[int, int, int, int]
    black: bool
    hash: str | None
    motion: PairMotion | None  # since the sample before, when that is of the same shot


@dataclass
class Pass:
    """What one pass over a file collects."""

    faces: FaceFinder | None = None
    features: ShotFeatures = field(default_factory=ShotFeatures)
    digests: list[bytes] = field(default_factory=list)
    black: array = field(default_factory=lambda: array("b"))
    frozen: array = field(default_factory=lambda: array("b"))
    samples: list[Sample] = field(default_factory=list)
    face_boxes: list[tuple[int, list[list[float]]]] = field(default_factory=list)
    thumbnails: list[tuple[int, bytes]] = field(default_factory=list)
    shape: tuple[int, int] = (0, 0)
    _flow: FlowMeter = field(default_factory=FlowMeter)
    _before: np.ndarray | None = None  # gray of the frame before
    _flow_before: tuple[float, np.ndarray] | None = None
    _next_sample_s: float = 0.0
    _next_faces_s: float = 0.0

    def add(self, frame: Frame) -> None:
        """Measure the next frame."""
        self.shape = frame.gray.shape[0], frame.gray.shape[1]
        self.digests.append(frame.digest)
        black = is_black(frame.gray)
        self.black.append(black)
        self.frozen.append(self._before is not None and is_frozen(frame.gray, self._before))
        self._before = frame.gray
        if self.features.add(frame.pts_s, frame.rgb, frame.gray):  # perhaps a new shot: count from here
            self._next_sample_s = self._next_faces_s = frame.pts_s
            self._flow_before = None
        if frame.pts_s >= self._next_sample_s - 1e-6:
            self._next_sample_s = _after(frame.pts_s, self._next_sample_s, 1 / SAMPLES_PER_S)
            self._sample(frame, black)
        if frame.pts_s >= self._next_faces_s - 1e-6:
            self._next_faces_s = _after(frame.pts_s, self._next_faces_s, 1 / FACES_PER_S)
            self.thumbnails.append((frame.index, _jpeg(frame.rgb)))
            if self.faces is not None:
                self.face_boxes.append((frame.index, self.faces.boxes(frame.larger())))

    def _sample(self, frame: Frame, black: bool) -> None:
        scaled = self._flow.scaled(frame.gray)
        motion = None
        if self._flow_before is not None:
            motion = self._flow.between(self._flow_before[1], scaled, frame.pts_s - self._flow_before[0])
        self._flow_before = frame.pts_s, scaled
        self.samples.append(
            Sample(
                index=frame.index,
                scores=score_picture(frame.rgb, frame.gray),
                bars=bars(frame.gray),
                black=black,
                hash=frame_hash(frame.rgb, frame.gray),
                motion=motion,
            )
        )


def measure(path: Path, face_model: Path | None) -> dict[str, Any]:
    """Run the pass over `path`; the shots it found with their signals, as plain JSON values.

    Raises av.error.FFmpegError where the file does not decode, ValueError where it has no frames.
    """
    import cv2

    cv2.setNumThreads(1)
    run = Pass(FaceFinder(face_model) if face_model else None)
    for frame in read(path):
        run.add(frame)
    shots = find_shots(run.features)
    if not shots:
        raise ValueError("no frame decoded")
    pts = run.features.pts_s
    step = (pts[-1] - pts[0]) / (len(pts) - 1) if len(pts) > 1 else 1 / 25
    return {"shots": [_shot(run, shot, pts[shot.end] if shot.end < len(pts) else pts[-1] + step) for shot in shots]}


def _shot(run: Pass, shot: Shot, end_s: float) -> dict[str, Any]:
    start_s = run.features.pts_s[shot.start]
    thumbnails = _within(run.thumbnails, shot) or run.thumbnails[:1]
    return {
        "clip_id": range_digest(run.digests[shot.start : shot.end]),
        "start_frame": shot.start,
        "end_frame": shot.end,
        "start_s": round(start_s, 6),
        "end_s": round(end_s, 6),
        "boundary": shot.boundary,
        "signals": _rounded(_signals(run, shot)),
        "thumbnail": base64.b64encode(thumbnails[len(thumbnails) // 2][1]).decode(),
    }


def _signals(run: Pass, shot: Shot) -> dict[str, Any]:
    """The measured columns of table `signals` for the frames of `shot`."""
    inside = [sample for sample in run.samples if shot.start <= sample.index < shot.end]
    # a shot that starts without a candidate cut (after a fade) may begin between two samples
    samples = inside or [min(run.samples, key=lambda sample: abs(sample.index - shot.start))]
    scores = [sample.scores for sample in samples]
    lumas = np.frombuffer(run.features.luma_mean, np.float32)[shot.start : shot.end].astype(np.float64)
    boxes = _within(run.face_boxes, shot)
    return {
        **summarise([sample.motion for sample in inside[1:] if sample.motion]),
        "sharpness": _median([score.sharpness for score in scores]),
        "luma_mean": float(lumas.mean()) / 255,
        "luma_p05": _median([score.luma_p05 for score in scores]) / 255,
        "luma_p50": _median([score.luma_p50 for score in scores]) / 255,
        "luma_p95": _median([score.luma_p95 for score in scores]) / 255,
        "clipped_fraction": float(np.mean([score.clipped for score in scores])),
        "contrast": _median([score.contrast for score in scores]) / 255,
        "colourfulness": _median([score.colourfulness for score in scores]),
        "shadow_saturation": _median([score.shadow_saturation for score in scores]),
        "noise": _median([score.noise for score in scores]),
        "flicker": float(np.abs(np.diff(lumas)).mean()) / 255 if len(lumas) > 1 else 0.0,
        "freeze_fraction": float(np.mean(run.frozen[shot.start + 1 : shot.end] or [0])),
        "black_fraction": float(np.mean(run.black[shot.start : shot.end])),
        "letterbox_fraction": _letterbox([sample for sample in samples if not sample.black], run.shape),
        "faces_max": max((len(found) for _, found in boxes), default=0) if run.faces else None,
        "faces_json": json.dumps([{"frame": index, "boxes": found} for index, found in boxes if found]),
        "frame_phashes": [sample.hash for sample in inside[::HASH_EVERY] if sample.hash][:HASHES_AT_MOST],
    }


def _letterbox(samples: Sequence[Sample], shape: tuple[int, int]) -> float:
    """What is a border in every frame of the shot is a border."""
    if not samples:
        return 0.0
    top, bottom, left, right = (min(sample.bars[side] for sample in samples) for side in range(4))
    return letterbox_share(top, bottom, left, right, *shape)


def _within(found: list[tuple[int, Any]], shot: Shot) -> list[tuple[int, Any]]:
    return [(index, value) for index, value in found if shot.start <= index < shot.end]


def _after(now: float, due: float, period: float) -> float:
    """The first multiple of `period` from `due` that lies after `now`."""
    return due + period * (int((now - due + 1e-6) / period) + 1)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def _jpeg(rgb: np.ndarray) -> bytes:
    import cv2

    scale = THUMBNAIL_SIDE / max(rgb.shape[:2])
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    small = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
