"""The one pass over a file: every cheap measurement from the same small frames, in order, and the row of each shot.

`Pass` decides which frame is measured when; the measurements are in the modules of their names. Light, freezes and black
are taken from every frame; flow and borders from `SAMPLES_PER_S` frames a second, hashes and single pictures from fewer,
all counted from the start of each shot, so that the same shot inside another file is sampled at the same places.

What a finished pass measured on each shot becomes one row of table `signals`. A shot also gets curves, which show how its
cheapest signals run over its time. They are kept for people who ask why a clip was refused; no check reads them.
"""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from assets.decode.identity import DIGEST_BYTES, range_digest
from assets.signals.detectors import SCORERS, FaceFinder, Scorer, TextMeter, face_finder
from assets.signals.frames import LARGE_SIDE, SMALL_SIDE, Frame, read, shrunk
from assets.signals.image_quality import (
    PictureScores,
    bars,
    detail_share,
    is_black,
    is_frozen,
    letterbox_box,
    noise_sigma,
    score_picture,
    technical_quality,
)
from assets.signals.motion import FlowMeter, PairMotion, summarise
from assets.signals.phash import Borders, common, frame_hash
from assets.signals.shots import Shot, ShotFeatures, find_shots
from assets.signals.sound import NO_SOUND, Sound

if TYPE_CHECKING:
    from av.audio.stream import AudioStream


SIGNALS_VERSION = "signals-7"
SAMPLES_PER_S = 8.0
HASH_EVERY = 2  # samples: four hashes a second
SCORES_EVERY = 8  # samples: one picture a second
LARGE_EVERY_S = (1.0, 3.0)  # from a shot's first large sample to its second, and between two from there on
TEXT_ONLY = 1  # the second comes soon, so that letters can be compared; faces show in the others
NATIVE_EVERY_S = 6.0  # between two large at the full resolution
NEVER_BLACK = 32  # mean luma of a frame: a black one has less, so most are not examined further
NEVER_FROZEN = 6  # mean difference of thumbnails: a frozen one has less
THUMBNAIL_SIDE = 150
JPEG_QUALITY = 80


@dataclass(frozen=True)
class Sample:
    """What is measured on the small frame, `SAMPLES_PER_S` times a second; None where it was not due."""

    index: int
    black: bool
    bars: tuple[int, int, int, int]
    motion: PairMotion | None  # since the sample before, when that is of the same shot
    hash: str | None
    scores: PictureScores | None


@dataclass(frozen=True)
class LargeSample:
    """What is measured every few seconds, on a larger picture."""

    index: int
    faces: list[list[float]] | None  # None where they were not looked for
    text: float | None  # share of the picture; None for the first large sample of a shot
    thumbnail: bytes | None
    plugins: dict[str, float]


@dataclass(frozen=True)
class NativeSample:
    """What is measured at the full resolution."""

    index: int
    detail: float | None
    noise: float


class Due:
    """Says which frames are due, `period` seconds apart."""

    def __init__(self, period: float) -> None:
        self.period, self._next = period, 0.0

    def start(self, now: float) -> None:
        """Count from here."""
        self._next = now

    def __call__(self, now: float) -> bool:
        late = now - self._next + 1e-6
        if late < 0:
            return False
        self._next += self.period * (int(late / self.period) + 1)
        return True


@dataclass
class Pass:
    """What one pass over a file collects. `identify` gives the digest of a frame; without it clips stay unnamed."""

    faces: FaceFinder | None = None
    plugins: tuple[Scorer, ...] = ()
    identify: Callable[[Frame], bytes] | None = Frame.digest
    sound: Sound | None = None
    features: ShotFeatures = field(default_factory=ShotFeatures)
    digests: bytearray = field(default_factory=bytearray)  # 32 bytes a frame
    black: array = field(default_factory=lambda: array("b"))
    frozen: array = field(default_factory=lambda: array("b"))
    samples: list[Sample] = field(default_factory=list)
    large: list[LargeSample] = field(default_factory=list)
    native: list[NativeSample] = field(default_factory=list)
    shape: tuple[int, int] = (0, 0)  # of the small frames
    _flow: FlowMeter = field(default_factory=FlowMeter)
    _text: TextMeter = field(default_factory=TextMeter)
    _before: np.ndarray | None = None  # the preview before
    _flow_before: tuple[float, np.ndarray] | None = None
    _borders: Borders | None = None  # what was a border in all samples since the start of the shot
    _in_shot: int = 0  # samples since the start of the shot
    _large_in_shot: int = 0  # large since then
    _sample_due: Due = field(default_factory=lambda: Due(1 / SAMPLES_PER_S))
    _large_due: Due = field(default_factory=lambda: Due(LARGE_EVERY_S[0]))
    _native_due: Due = field(default_factory=lambda: Due(NATIVE_EVERY_S))

    @classmethod
    def of(cls, face_model: Path | None, plugins: tuple[Scorer, ...] = ()) -> Pass:
        """A new pass; faces are looked for where there is a model of them."""
        import cv2

        cv2.setNumThreads(1)
        return cls(face_finder(face_model) if face_model else None, plugins)

    def open_sound(self, stream: AudioStream) -> Sound | None:
        """The meter of the file's sound; None where it cannot be decoded."""
        self.sound = Sound.of(stream)
        return self.sound

    def add(self, frame: Frame) -> None:
        """Measure the next frame."""
        now = frame.pts_s
        if self.identify is not None:
            self.digests += self.identify(frame)
        shot = self.features.add(now, frame.thumb)
        black = self.features.luma_mean[-1] < NEVER_BLACK and is_black(frame.preview)
        self.black.append(black)
        calm = self.features.content[-1] < NEVER_FROZEN
        self.frozen.append(calm and self._before is not None and is_frozen(frame.preview, self._before))
        self._before = frame.preview
        if shot:  # perhaps a new one: count from here
            self._start_shot(now)
        if self._sample_due(now):
            self._sample(frame, black)
        if self._large_due(now):
            self._sample_large(frame)
        if self._native_due(now) and (native := frame.native_luma()) is not None:
            self.native.append(NativeSample(frame.index, detail_share(native), noise_sigma(native)))

    def _start_shot(self, now: float) -> None:
        self._in_shot, self._large_in_shot, self._flow_before, self._borders = 0, 0, None, None
        self._large_due.period = LARGE_EVERY_S[0]
        for due in (self._sample_due, self._large_due, self._native_due):
            due.start(now)
        self._text.cut()

    def _sample(self, frame: Frame, black: bool) -> None:
        gray = frame.gray()
        self.shape = gray.shape[0], gray.shape[1]
        scaled = self._flow.scaled(gray)
        motion = None
        if self._flow_before is not None:
            motion = self._flow.between(self._flow_before[1], scaled, frame.pts_s - self._flow_before[0])
        self._flow_before = frame.pts_s, scaled
        borders = bars(gray)
        self._borders = borders if self._borders is None else common(self._borders, borders)
        hashed, scored = self._in_shot % HASH_EVERY == 0, self._in_shot % SCORES_EVERY == 0
        self.samples.append(
            Sample(
                index=frame.index,
                black=black,
                bars=borders,
                motion=motion,
                hash=frame_hash(frame.thumb_rgb(), gray, self._borders) if hashed else None,
                scores=score_picture(*frame.views(SMALL_SIDE)) if scored else None,
            )
        )
        self._in_shot += 1

    def _sample_large(self, frame: Frame) -> None:
        if self._large_in_shot == TEXT_ONLY:
            sample = LargeSample(frame.index, None, self._text.share(frame.luma(LARGE_SIDE)), None, {})
        else:
            rgb, luma = frame.views(LARGE_SIDE)
            sample = LargeSample(
                index=frame.index,
                faces=self.faces.boxes(rgb) if self.faces else None,
                text=self._text.share(luma),
                thumbnail=jpeg(rgb),
                plugins={scorer.name: scorer.score(rgb) for scorer in self.plugins},
            )
        self.large.append(sample)
        self._large_due.period = LARGE_EVERY_S[1]
        self._large_in_shot += 1


def jpeg(rgb: np.ndarray) -> bytes:
    """A thumbnail for people."""
    import cv2

    scale = THUMBNAIL_SIDE / max(rgb.shape[:2])
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    small = cv2.cvtColor(shrunk(rgb, *size), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


# -- rows of the shots -----------------------------------------------------------------------------------------------


HASHES_AT_MOST = 240  # the first minute of a long shot names it well enough
CURVE_POINTS = 240
Curve = list[list[float]]  # [seconds from the clip's start, value]


P = TypeVar("P", Sample, LargeSample, NativeSample)


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
    signals |= {"technical_quality": quality, "quality_json": json.dumps(parts)}
    return {
        "start_frame": shot.start,
        "end_frame": shot.end,
        "start_s": round(start_s, 6),
        "end_s": round(end_s, 6),
        "boundary": shot.boundary,
        "signals": {name: round(v, 6) if isinstance(v, float) else v for name, v in signals.items()},
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
