"""From a file to its shots: the pass over its frames, and what it measured on each shot as one row of table `signals`.

A shot also gets curves, which show how its cheapest signals run over its time. They are kept for people who ask why a
clip was refused; no check reads them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from assets.decode.identity import DIGEST_BYTES, range_digest
from assets.signals.frames import read
from assets.signals.image_quality import letterbox_box, technical_quality
from assets.signals.motion import summarise
from assets.signals.plugins import SCORERS, Scorer
from assets.signals.shots import Shot, find_shots
from assets.signals.single_pass import Pass, Sample
from assets.signals.sound import NO_SOUND

HASHES_AT_MOST = 240  # the first minute of a long shot names it well enough
CURVE_POINTS = 240
Curve = list[list[float]]  # [seconds from the clip's start, value]


class Placed(Protocol):
    """Something that was measured on one frame."""

    @property
    def index(self) -> int: ...


P = TypeVar("P", bound=Placed)


def measure(
    path: Path,
    face_model: Path | None,
    plugins: tuple[Scorer, ...] = (),
    pulse: Callable[[], None] = lambda: None,
    max_pixels: int | None = None,
    digests: bytes | None = None,
) -> dict[str, Any]:
    """Run the pass over `path`; its shots with their signals, as plain JSON values.

    `pulse` is called after every frame; a file whose pictures have more than `max_pixels` does not decode. `digests`
    are those of the file's frames, where they are known: taking them costs half as much as the decode.
    Raises av.error.FFmpegError where the file does not decode, ValueError where it has no frames.
    """
    run = Pass.of(face_model, plugins)
    if digests is not None:
        run.identify = None
    for frame in read(path, run.open_sound, max_pixels):
        run.add(frame)
        pulse()
    if digests is not None and len(digests) != DIGEST_BYTES * len(run.features.pts_s):  # an older decoder made them
        return measure(path, face_model, plugins, pulse, max_pixels)
    return {"shots": shots_of(run, digests)}


def shots_of(run: Pass, digests: bytes | None = None) -> list[dict[str, Any]]:
    """The shots of a finished pass with their signals; `digests` are the frames', where the pass took none.

    Raises ValueError where no frame came.
    """
    shots = find_shots(run.features)
    if not shots:
        raise ValueError("no frame decoded")
    frames = run.digests if digests is None else digests
    pts = run.features.pts_s
    step = (pts[-1] - pts[0]) / (len(pts) - 1) if len(pts) > 1 else 1 / 25
    rows = []
    for shot in shots:
        clip_id = range_digest(frames[DIGEST_BYTES * shot.start : DIGEST_BYTES * shot.end])
        end_s = pts[shot.end] if shot.end < len(pts) else pts[-1] + step
        rows.append({"clip_id": clip_id} | _shot(run, shot, end_s))
    return rows


def _shot(run: Pass, shot: Shot, end_s: float) -> dict[str, Any]:
    start_s = run.features.pts_s[shot.start]
    pictured = [sample for sample in run.large if sample.thumbnail is not None]
    pictures = _within(pictured, shot) or [_nearest(pictured, shot)]
    signals = _signals(run, shot, start_s, end_s)
    quality, parts = technical_quality(signals)
    return {
        "start_frame": shot.start,
        "end_frame": shot.end,
        "start_s": round(start_s, 6),
        "end_s": round(end_s, 6),
        "boundary": shot.boundary,
        "signals": _rounded(signals | {"technical_quality": quality, "quality_json": json.dumps(parts)}),
        "curves": _curves(run, shot, start_s),
        "thumbnail": base64.b64encode(pictures[len(pictures) // 2].thumbnail or b"").decode(),
    }


def _signals(run: Pass, shot: Shot, start_s: float, end_s: float) -> dict[str, Any]:
    """The measured columns of table `signals` for the frames of `shot`."""
    inside = _within(run.samples, shot)
    # a shot that starts without a candidate cut (after a fade) may begin between two samples
    samples = inside or [_nearest(run.samples, shot)]
    scored = [sample for sample in run.samples if sample.scores]
    scores = [sample.scores for sample in _within(scored, shot) or [_nearest(scored, shot)] if sample.scores]
    lumas = np.frombuffer(run.features.luma_mean, np.float32)[shot.start : shot.end].astype(np.float64)
    large, native = _within(run.large, shot), _within(run.native, shot)
    details = [sample.detail for sample in native if sample.detail is not None]
    text = [sample.text for sample in large if sample.text is not None]
    faces = [sample for sample in large if sample.faces is not None]
    bounds = _picture_box([sample for sample in samples if not sample.black], run.shape)

    def median(name: str) -> float:
        return float(np.median([getattr(score, name) for score in scores]))

    def highest(scorer: str) -> float | None:
        return max((sample.plugins[scorer] for sample in large if scorer in sample.plugins), default=None)

    return {
        **summarise([sample.motion for sample in inside[1:] if sample.motion]),
        "sharpness": median("sharpness"),
        "luma_mean": float(lumas.mean()) / 255,
        "luma_p05": median("luma_p05") / 255,
        "luma_p50": median("luma_p50") / 255,
        "luma_p95": median("luma_p95") / 255,
        "clipped_fraction": float(np.mean([score.clipped for score in scores])),
        "contrast": median("contrast") / 255,
        "colourfulness": median("colourfulness"),
        "shadow_saturation": median("shadow_saturation"),
        "noise": float(np.median([sample.noise for sample in native])) if native else None,
        "detail_fraction": max(details, default=None),
        "flicker": float(np.abs(np.diff(lumas)).mean()) / 255 if len(lumas) > 1 else 0.0,
        "freeze_fraction": float(np.mean(run.frozen[shot.start + 1 : shot.end] or [0])),
        "black_fraction": float(np.mean(run.black[shot.start : shot.end])),
        "letterbox_fraction": 1 - bounds[2] * bounds[3],
        "crop_json": json.dumps([round(value, 4) for value in bounds]),
        "text_fraction": float(np.median(text)) if text else None,
        "faces_max": max((len(sample.faces or []) for sample in faces), default=None),
        "faces_json": json.dumps([{"frame": sample.index, "boxes": sample.faces} for sample in faces if sample.faces]),
        "frame_phashes": [sample.hash for sample in inside if sample.hash][:HASHES_AT_MOST],
        **(run.sound.between(start_s, end_s) if run.sound else NO_SOUND),
        **{scorer: highest(scorer) for scorer in SCORERS},
        "plugins_json": json.dumps({scorer.name: scorer.version for scorer in run.plugins}),
    }


def _curves(run: Pass, shot: Shot, start_s: float) -> dict[str, Curve]:
    """The curves of a shot, by the signal that they belong to; one that was not measured is empty."""
    inside = _within(run.samples, shot)

    def curve(points: Iterable[tuple[int, float]]) -> Curve:
        values = [[round(run.features.pts_s[index] - start_s, 3), round(value, 5)] for index, value in points]
        return values[:: -(-len(values) // CURVE_POINTS) or 1]

    return {
        "luma_mean": curve((index, run.features.luma_mean[index] / 255) for index in range(shot.start, shot.end)),
        "motion_diag_per_s": curve((sample.index, sample.motion.magnitude) for sample in inside[1:] if sample.motion),
        "sharpness": curve((sample.index, sample.scores.sharpness) for sample in inside if sample.scores),
    }


def _picture_box(samples: Sequence[Sample], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """(left, top, width, height) inside the borders, as shares; what is a border in every frame is a border."""
    if not samples:
        return 0.0, 0.0, 1.0, 1.0
    top, bottom, left, right = (min(sample.bars[side] for sample in samples) for side in range(4))
    return letterbox_box(top, bottom, left, right, *shape)


def _within(samples: Sequence[P], shot: Shot) -> list[P]:
    return [sample for sample in samples if shot.start <= sample.index < shot.end]


def _nearest(samples: Sequence[P], shot: Shot) -> P:
    return min(samples, key=lambda sample: abs(sample.index - shot.start))


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}
