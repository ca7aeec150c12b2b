"""The one pass over a file: every cheap measurement from the same small frames, in the order in which they come.

This module decides which frame is measured when; the measurements are in the modules of their names, and `measure` makes
them rows of table `signals`. Light, freezes and black are taken from every frame; flow and borders from `SAMPLES_PER_S`
frames a second, hashes and single pictures from fewer, all counted from the start of each shot, so that the same shot
inside another file is sampled at the same places.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assets.signals.faces import FaceFinder, face_finder
from assets.signals.frames import LARGE_SIDE, SMALL_SIDE, Frame, shrunk
from assets.signals.image_quality import PictureScores, bars, is_black, is_frozen, score_picture
from assets.signals.motion import FlowMeter, PairMotion
from assets.signals.phash import Borders, common, frame_hash
from assets.signals.plugins import Scorer
from assets.signals.shots import ShotFeatures
from assets.signals.sound import Sound
from assets.signals.spectrum import detail_share, noise_sigma
from assets.signals.text_detection import TextMeter

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
