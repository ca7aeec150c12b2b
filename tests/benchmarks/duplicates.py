"""Which copies of real footage are found, and how often different footage is taken for the same.

The fine threshold (`likeness`) is the least at which forty simulated scenes, the hardest to tell apart, stay apart; all
copies of `test` are above it by some. A segment is a part of one shot, and each copy is coded as a file of its own.
Figures are of two halves of the sources, but both were looked at while the description was made, so neither is strictly
held out. A copy counts as found when the whole search finds it (`candidates` and the full comparison), alone with all
originals. False pairs are of different sources, originals and copies alike, compared in full whether or not the search
would have brought them together; a likeness of 0 is of those that are not even coarsely alike. Shots of one source are
given for themselves: some show one place again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from assets.curation.dedup.candidate_pairs import near_pairs
from assets.curation.dedup.similarity import ClipHashes, compare
from assets.signals.frames import read
from assets.signals.image_quality import bars
from assets.signals.phash import common, frame_hash, pack
from assets.signals.single_pass import HASH_EVERY, SAMPLES_PER_S, Due
from tests.benchmarks.shots import PIECES, SIZE, load
from training.simulate import random_scene, render

SEED, SCENES = 5, 100
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


def segments(split: str) -> Iterator[Segment]:
    for source, ranges in RANGES[split].items():
        fps, pieces = load(source, ranges, SIZE)
        for shot, frames in enumerate(pieces):
            parts = np.array_split(np.arange(len(frames)), max(1, round(len(frames) / (LONG_S * fps))))
            for part, at in enumerate(parts):
                if len(at) >= SHORT_S * fps:
                    yield Segment(source, shot, part, fps, frames[at[0] : at[-1] + 1])


def _same(frames: Frames, rng: np.random.Generator) -> Frames:
    return frames


def _half(frames: Frames, rng: np.random.Generator) -> Frames:
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
    due, borders, frame_hashes = Due(HASH_EVERY / SAMPLES_PER_S), None, []
    for frame in read(path):
        if due(frame.pts_s):
            gray = frame.gray()
            borders = bars(gray) if borders is None else common(borders, bars(gray))
            frame_hashes.append(frame_hash(frame.thumb_rgb(), gray, borders))
    return pack(filter(None, frame_hashes))


@dataclass(frozen=True)
class Made:
    """A segment or a copy of one."""

    source: str
    shot: int
    part: int
    kind: str  # empty for the original
    hashes: bytes

    @property
    def segment(self) -> tuple[str, int, int]:
        return self.source, self.shot, self.part


def make(split: str) -> list[Made]:
    rng = np.random.default_rng(SEED)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        for part in segments(split):
            kinds = {"": (_same, ORIGINAL_CRF)} | COPIES
            for kind, (edit, crf) in kinds.items():
                file = coded(edit(part.frames, rng), part.fps, crf, path)
                made.append(Made(part.source, part.shot, part.part, kind, hashes(file)))
    return made


def recall(made: Sequence[Made]) -> dict[str, dict[str, float]]:
    """By kind of copy: the share that the search finds, and the likeness that most have."""
    figures = {}
    for kind in COPIES:
        shown = [clip for clip in made if clip.kind in ("", kind)]
        originals = {clip.segment: place for place, clip in enumerate(shown) if not clip.kind}
        pairs = [(originals[clip.segment], place) for place, clip in enumerate(shown) if clip.kind]
        film = ClipHashes([clip.hashes for clip in shown])
        near = near_pairs(film)
        met = set(zip(near.first.tolist(), near.second.tolist(), strict=True))
        structure = compare(film, *np.array(pairs).T).structure
        figures[kind] = {
            "copies": len(pairs),
            "found": round(sum(pair in met for pair in pairs) / len(pairs), 4),
            "likeness_of_the_5th_percentile": round(float(np.percentile(structure, 5)), 3),
        }
    return figures


def false_pairs(made: Sequence[Made]) -> dict[str, Any]:
    """Different sources; and different shots of one, originals alone."""
    film = ClipHashes([clip.hashes for clip in made])
    a, b = np.triu_indices(len(made), 1)
    source, shot = np.array([clip.source for clip in made]), np.array([clip.shot for clip in made])
    original, hashed = np.array([not clip.kind for clip in made]), film.counts > 0
    both, same_source = hashed[a] & hashed[b], source[a] == source[b]
    shots = both & original[a] & original[b] & same_source & (shot[a] != shot[b])
    return {
        "different_sources": likeness(film, a[both & ~same_source], b[both & ~same_source]),
        "different_shots_of_one_source": likeness(film, a[shots], b[shots]),
    }


def likeness(film: ClipHashes, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    compared = compare(film, a, b)
    return {
        "pairs": len(a),
        "near": int(compared.near.sum()),
        "share": round(float(compared.near.mean()), 6),
        "greatest_likeness": round(float(compared.structure.max()), 3),
    }


def simulated(seeds: range) -> dict[str, Any]:
    """Different simulated scenes: flat pictures of few shapes before one kind of background, the hardest to tell."""
    clips = []
    for seed in seeds:
        frames = render(random_scene(seed), 256, 144, 10, 4.0)
        clips.append(pack(filter(None, (frame_hash(f, cv2.cvtColor(f, cv2.COLOR_RGB2GRAY)) for f in frames))))
    return likeness(ClipHashes(clips), *np.triu_indices(len(clips), 1))


def duplicates() -> dict[str, Any]:
    figures = {}
    for split, scenes in (("train", range(SCENES)), ("test", range(SCENES, 2 * SCENES))):
        made = make(split)
        figures[split] = {
            "segments": sum(not clip.kind for clip in made),
            "recall": recall(made),
            "false_pairs": false_pairs(made) | {"simulated_scenes": simulated(scenes)},
        }
    promised = [kind for kind in COPIES if kind != "trim, 10 % crop and flip"]
    return figures | {
        "least_recall_on_test": min(figures["test"]["recall"][kind]["found"] for kind in promised),
        "accepted": {"recall": 0.95, "false_pairs": 0.001},
    }
