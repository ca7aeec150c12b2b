"""Films with known shot boundaries, cut together from real footage: what `shots` measures detectors on.

A film is eight or so pieces of single shots, joined by hard cuts, dissolves and fades through black at known frames.
Some pieces carry a trap that is no boundary: a flash, a fast pan, a sudden zoom, a shaking camera, an exposure step.
Sources are split: what thresholds were chosen on (`train`) never meets what they are judged on (`test`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from training.data.video import write_mp4

FPS = 25.0
SIZE = (480, 270)
# frames of each source that were looked at and hold a single shot
PIECES = {
    "train": {
        "bikes.mp4": [(0, 28), (31, 74), (77, 135), (138, 185), (188, 240)],
        "snow.mp4": [
            *((24, 160), (172, 240), (256, 324), (340, 500), (534, 600), (690, 750)),
            *((774, 860), (882, 940), (966, 1034), (1060, 1100), (1130, 1200)),
        ],
    },
    "test": {
        "crew.mp4": [(0, 50), (68, 140), (156, 222), (242, 312), (350, 410), (446, 464), (494, 560)],
        "city.mpg": [(0, 113), (118, 188)],
        "park.mp4": [(0, 170)],
        "volcano.mp4": [(0, 150)],
    },
}
TRAPS = ("flash", "pan", "zoom", "shake", "exposure")
Kind = Literal["cut", "dissolve", "fade"]


@dataclass(frozen=True)
class Transition:
    """Frames `start` to `end` - 1 are of both shots (or blank); a cut has none, and `start` begins the new shot."""

    kind: Kind
    start: int
    end: int


@dataclass(frozen=True)
class Film:
    path: Path
    transitions: tuple[Transition, ...]
    frames: int
    traps: tuple[str, ...]


def films(footage: Path, split: str, count: int, folder: Path, seed: int = 0) -> Iterator[Film]:
    """`count` films of `split`, encoded into `folder`; the same for the same seed."""
    pieces = [piece for name, ranges in PIECES[split].items() for piece in load(footage / name, ranges)]
    for number in range(count):
        rng = np.random.default_rng([seed, number, len(split)])
        yield compose(pieces, rng, folder / f"{split}-{number}.mp4")


def load(path: Path, ranges: list[tuple[int, int]]) -> list[np.ndarray]:
    """uint8 [n, h, w, 3] of each range, at twice `SIZE` so that a camera can move inside it."""
    import av

    found: list[list[np.ndarray]] = [[] for _ in ranges]
    with av.open(str(path)) as container:
        for index, picture in enumerate(container.decode(video=0)):
            for taken, (start, end) in zip(found, ranges, strict=True):
                if start <= index < end:
                    taken.append(picture.reformat(2 * SIZE[0], 2 * SIZE[1], "rgb24").to_ndarray())
            if index >= max(end for _, end in ranges):
                break
    return [np.stack(taken) for taken in found if taken]


def compose(pieces: list[np.ndarray], rng: np.random.Generator, path: Path) -> Film:
    film: list[np.ndarray] = []
    transitions: list[Transition] = []
    traps: list[str] = []
    before = -1
    for _ in range(8):
        chosen = int(rng.choice([index for index in range(len(pieces)) if index != before]))
        piece, before = pieces[chosen], chosen
        length = min(len(piece), int(rng.integers(30, 90)))
        start = int(rng.integers(0, len(piece) - length + 1))
        trap = str(rng.choice(TRAPS)) if rng.random() < 0.5 else ""
        shot = filmed(piece[start : start + length], trap, rng)
        traps.append(trap)
        if film:
            kind: Kind = rng.choice(["cut", "cut", "dissolve", "fade"])  # type: ignore[assignment]
            free = len(film) - (transitions[-1].end if transitions else 0)  # transitions do not meet
            span = min(int(rng.integers(8, 49)), len(shot) // 2, free - 8)
            transitions.append(join(film, shot, kind if span >= 8 else "cut", span))
        else:
            film.extend(shot)
    return Film(write_mp4(path, np.stack(film), FPS, crf=23), tuple(transitions), len(film), tuple(traps))


def join(film: list[np.ndarray], shot: list[np.ndarray], kind: Kind, span: int) -> Transition:
    """Append `shot` to `film` over a transition of `span` frames."""
    at = len(film)
    if kind == "cut":
        film.extend(shot)
        return Transition(kind, at, at)
    if kind == "dissolve":
        for step in range(span):
            share = (step + 1) / (span + 1)
            film[at - span + step] = mixed(film[at - span + step], shot[step], share)
        film.extend(shot[span:])
        return Transition(kind, at - span, at)
    half = span // 2
    black = np.zeros_like(shot[0])
    for step in range(half):
        share = (step + 1) / half
        film[at - half + step] = mixed(film[at - half + step], black, share)
        shot[half - 1 - step] = mixed(shot[half - 1 - step], black, share)
    film.extend([black] * 2)
    film.extend(shot)
    return Transition(kind, at - half, at + 2 + half)


def mixed(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    return np.rint(first * (1 - share) + second.astype(np.float32) * share).astype(np.uint8)


def filmed(piece: np.ndarray, trap: str, rng: np.random.Generator) -> list[np.ndarray]:
    """The piece at `SIZE`, with a trap."""
    import cv2

    count, (width, height) = len(piece), SIZE
    at = int(rng.integers(8, max(9, count - 8)))
    speed, flip = float(rng.uniform(12, 40)), bool(rng.random() < 0.5)
    jolts = np.cumsum(rng.normal(0, 9, (count, 2)), axis=0)
    shots = []
    for index, frame in enumerate(piece):
        if trap in ("pan", "shake"):  # a window of half the size moves inside the picture
            x, y = (speed * max(0, index - at), height / 2) if trap == "pan" else width / 2 + jolts[index]
            x = width - abs(width - x % (2 * width)) if trap == "pan" else float(np.clip(x, 0, width))
            left, top = int(width - x if flip else x), int(np.clip(y, 0, height))
            frame = frame[top : top + height, left : left + width]
        elif trap == "zoom" and index >= at:
            scale = 1 + min(1.0, (index - at) / 6)
            inside = cv2.getRectSubPix(frame, (int(2 * width / scale), int(2 * height / scale)), (width, height))
            frame = cv2.resize(inside, SIZE, interpolation=cv2.INTER_AREA)
        else:
            frame = cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA)
        if trap == "flash" and at <= index < at + 1 + int(speed) % 3:
            frame = np.minimum(frame.astype(np.int32) + 60 + int(3 * speed), 255).astype(np.uint8)
        if trap == "exposure" and index >= at:
            gain = 1 + (0.5 if flip else -0.4) * min(1.0, (index - at) / 10)
            frame = np.clip(frame * gain, 0, 255).astype(np.uint8)
        shots.append(np.ascontiguousarray(frame))
    return shots
