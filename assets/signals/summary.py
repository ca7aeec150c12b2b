"""How what a pass measured on a shot's frames becomes one row of table `signals`. Pure functions of the pass."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from assets.decode.identity import DIGEST_BYTES, range_digest
from assets.signals.curves import curves_of
from assets.signals.image_quality import letterbox_box
from assets.signals.motion import summarise
from assets.signals.plugins import SCORERS
from assets.signals.quality import technical_quality
from assets.signals.shots import Shot, find_shots
from assets.signals.sound import NOTHING_HEARD

if TYPE_CHECKING:
    from assets.signals.single_pass import Pass, Sample

HASHES_AT_MOST = 240  # the first minute of a long shot names it well enough


class Placed(Protocol):
    """Something that was measured on one frame."""

    @property
    def index(self) -> int: ...


P = TypeVar("P", bound=Placed)


def shots_of(run: Pass) -> list[dict[str, Any]]:
    """The shots of a finished pass, with their signals. Raises ValueError where no frame came."""
    shots = find_shots(run.features)
    if not shots:
        raise ValueError("no frame decoded")
    pts = run.features.pts_s
    step = (pts[-1] - pts[0]) / (len(pts) - 1) if len(pts) > 1 else 1 / 25
    return [_shot(run, shot, pts[shot.end] if shot.end < len(pts) else pts[-1] + step) for shot in shots]


def _shot(run: Pass, shot: Shot, end_s: float) -> dict[str, Any]:
    start_s = run.features.pts_s[shot.start]
    seen = [look for look in run.looks if look.thumbnail is not None]
    looks = _within(seen, shot) or [_nearest(seen, shot)]
    found = _signals(run, shot, start_s, end_s)
    quality, parts = technical_quality(found)
    return {
        "clip_id": range_digest(run.digests[DIGEST_BYTES * shot.start : DIGEST_BYTES * shot.end]),
        "start_frame": shot.start,
        "end_frame": shot.end,
        "start_s": round(start_s, 6),
        "end_s": round(end_s, 6),
        "boundary": shot.boundary,
        "signals": _rounded(found | {"technical_quality": quality, "quality_json": json.dumps(parts)}),
        "curves": curves_of(run, shot),
        "thumbnail": base64.b64encode(looks[len(looks) // 2].thumbnail or b"").decode(),
    }


def _signals(run: Pass, shot: Shot, start_s: float, end_s: float) -> dict[str, Any]:
    """The measured columns of table `signals` for the frames of `shot`."""
    inside = _within(run.samples, shot)
    # a shot that starts without a candidate cut (after a fade) may begin between two samples
    samples = inside or [_nearest(run.samples, shot)]
    scored = _within([sample for sample in run.samples if sample.scores], shot)
    nearest = scored or [_nearest([sample for sample in run.samples if sample.scores], shot)]
    scores = [sample.scores for sample in nearest if sample.scores]
    lumas = np.frombuffer(run.features.luma_mean, np.float32)[shot.start : shot.end].astype(np.float64)
    looks, fine = _within(run.looks, shot), _within(run.fine, shot)
    details = [one.detail for one in fine if one.detail is not None]
    letters = [look.letters for look in looks if look.letters is not None]
    faces = [look for look in looks if look.faces is not None]
    versions = {scorer.name: scorer.version for scorer in run.plugins}
    bounds = _box([sample for sample in samples if not sample.black], run.shape)

    def median(name: str) -> float:
        return float(np.median([getattr(score, name) for score in scores]))

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
        "noise": float(np.median([one.noise for one in fine])) if fine else None,
        "detail_fraction": max(details, default=None),
        "flicker": float(np.abs(np.diff(lumas)).mean()) / 255 if len(lumas) > 1 else 0.0,
        "freeze_fraction": float(np.mean(run.frozen[shot.start + 1 : shot.end] or [0])),
        "black_fraction": float(np.mean(run.black[shot.start : shot.end])),
        "letterbox_fraction": 1 - bounds[2] * bounds[3],
        "crop_json": json.dumps([round(value, 4) for value in bounds]),
        "text_fraction": float(np.median(letters)) if letters else None,
        "faces_max": max((len(look.faces or []) for look in faces), default=None),
        "faces_json": json.dumps([{"frame": look.index, "boxes": look.faces} for look in faces if look.faces]),
        "frame_phashes": [sample.hash for sample in inside if sample.hash][:HASHES_AT_MOST],
        **(run.sound.between(start_s, end_s) if run.sound else NOTHING_HEARD),
        **{name: max((look.plugins[name] for look in looks if name in look.plugins), default=None) for name in SCORERS},
        "plugins_json": json.dumps(versions),
    }


def _box(samples: Sequence[Sample], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """(left, top, width, height) inside the borders, as shares; what is a border in every frame is a border."""
    if not samples:
        return 0.0, 0.0, 1.0, 1.0
    top, bottom, left, right = (min(sample.bars[side] for sample in samples) for side in range(4))
    return letterbox_box(top, bottom, left, right, *shape)


def _within(found: Sequence[P], shot: Shot) -> list[P]:
    return [one for one in found if shot.start <= one.index < shot.end]


def _nearest(found: Sequence[P], shot: Shot) -> P:
    return min(found, key=lambda one: abs(one.index - shot.start))


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}
