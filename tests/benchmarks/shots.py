"""Shot boundaries on films of known cuts, dissolves and fades, beside every detector of PySceneDetect in the same run.

A film is eight or so pieces of single shots of real footage, joined by hard cuts, dissolves and fades through black at
known frames. Some pieces carry a trap that is no boundary: a flash, a fast pan, a sudden zoom, a shaking camera, an
exposure step. Sources are split: what thresholds were chosen on (`train`) never meets what they are judged on (`test`).

A boundary counts as found within one frame of a cut and within two of a gradual transition's frames; whatever else is
reported there is false. Costs are those beyond the decode of 1080p pictures. A peer's include the making of BGR
pictures, which it works on.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np

from assets.signals.frames import Frames, read
from assets.signals.shots import ShotFeatures, find_shots
from tests.benchmarks.harness import cpu_of
from training.data.video import write_mp4

FOOTAGE = Path(".vendor/footage")
FILMS, SEED = 16, 2
DETECTORS = ("AdaptiveDetector", "ContentDetector", "HistogramDetector", "HashDetector", "ThresholdDetector")
COST_FRAMES, ROUNDS = 40, 5
Boundary = tuple[int, str | None]
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


def films(split: str, count: int, folder: Path, seed: int = 0) -> list[Film]:
    """`count` films of `split`, encoded into `folder`; the same for the same seed."""
    twice = 2 * SIZE[0], 2 * SIZE[1]  # so that a camera can move inside
    pieces = [np.stack(piece) for name, ranges in PIECES[split].items() for piece in load(name, ranges, twice)[1]]
    rngs = (np.random.default_rng([seed, number, len(split)]) for number in range(count))
    return [compose(pieces, rng, folder / f"{split}-{number}.mp4") for number, rng in enumerate(rngs)]


def load(source: str, ranges: Sequence[tuple[int, int]], size: tuple[int, int]) -> tuple[float, list[list[np.ndarray]]]:
    """Frames a second of a film, and the pictures of each range, uint8 [h, w, 3] of `size`."""
    pieces: list[list[np.ndarray]] = [[] for _ in ranges]
    with av.open(str(FOOTAGE / source)) as container:
        rate = float(container.streams.video[0].average_rate or FPS)
        for index, picture in enumerate(container.decode(video=0)):
            for piece, (start, end) in zip(pieces, ranges, strict=True):
                if start <= index < end:
                    piece.append(picture.reformat(*size, "rgb24").to_ndarray())
            if index >= max(end for _, end in ranges):
                break
    return rate, [piece for piece in pieces if piece]


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


# -- detectors ------------------------------------------------------------------------------------------------------------


def ours(path: Path) -> list[Boundary]:
    features = ShotFeatures()
    for frame in read(path):
        features.add(frame.pts_s, frame.thumb)
    return [(shot.end, shot.boundary) for shot in find_shots(features)[:-1]]


def peers() -> dict[str, Callable[[Path], list[Boundary]]]:
    """PySceneDetect's detectors with their defaults, by its own function over its own decoder."""
    import scenedetect as sd

    def run(make: Callable[[], Any]) -> Callable[[Path], list[Boundary]]:
        return lambda path: [(scene[0].frame_num, None) for scene in sd.detect(str(path), make())[1:]]

    return {name: run(getattr(sd, name)) for name in DETECTORS}


def matched(truth: Sequence[Transition], reported: Sequence[Boundary]) -> tuple[set[int], set[int]]:
    """Indices of the transitions that were found, and of the boundaries that found them."""
    hits, used = set(), set()
    for number, transition in enumerate(truth):
        slack = 1 if transition.kind == "cut" else 2
        for index, (at, _) in enumerate(reported):
            if index not in used and transition.start - slack <= at <= transition.end + slack:
                hits.add(number)
                used.add(index)
                break
    return hits, used


def score(labelled: Sequence[Film], detect: Callable[[Path], list[Boundary]]) -> dict[str, Any]:
    hit = {"cut": 0, "dissolve": 0, "fade": 0}
    total = dict(hit)
    false = {"cut": 0, "gradual": 0}
    for film in labelled:
        reported = detect(film.path)
        hits, used = matched(film.transitions, reported)
        for number, transition in enumerate(film.transitions):
            total[str(transition.kind)] += 1
            hit[str(transition.kind)] += number in hits
        for index, (_, kind) in enumerate(reported):
            if index not in used:
                false["gradual" if kind in ("fade", "dissolve") else "cut"] += 1
    gradual, all_gradual = hit["dissolve"] + hit["fade"], total["dissolve"] + total["fade"]
    everything = sum(hit.values())
    return {
        "cut_f1": _f1(hit["cut"], false["cut"], total["cut"]),
        "gradual_recall": round(gradual / all_gradual, 4),
        "gradual_precision": round(gradual / max(1, gradual + false["gradual"]), 4),
        "all_f1": _f1(everything, sum(false.values()), sum(total.values())),
        "found": hit,
        "of": total,
        "false": false,
    }


def _f1(hit: int, false: int, total: int) -> float:
    return round(2 * hit / max(1, 2 * hit + false + total - hit), 4)


def decoded() -> list[av.VideoFrame]:
    """Decoded 1080p pictures."""
    with av.open(str(FOOTAGE / "volcano.mp4")) as source:
        pictures = itertools.islice(source.decode(video=0), COST_FRAMES)
        return [picture.reformat(1920, 1080, "yuv420p") for picture in pictures]


def our_cost(pictures: Sequence[av.VideoFrame]) -> tuple[float, float]:
    """CPU milliseconds a picture to scale it (which all signals share) and to judge it."""
    frames, features = Frames(30.0), ShotFeatures()
    thumbs: list[np.ndarray] = []

    def judge() -> None:
        for index, thumb in enumerate(thumbs):
            features.add(index / 30, thumb)
        find_shots(features)

    scaling = cpu_of(lambda: thumbs.extend(frames.next(picture).thumb for picture in pictures))
    return 1e3 * scaling / len(pictures), 1e3 * cpu_of(judge) / len(pictures)


def peer_cost(detector: Any, pictures: Sequence[np.ndarray]) -> float:
    """The same, scaled as PySceneDetect's scene manager does; how it comes by its BGR pictures is not counted."""
    from scenedetect import FrameTimecode
    from scenedetect.scene_manager import compute_downscale_factor

    height, width = pictures[0].shape[:2]
    factor = compute_downscale_factor(width)
    size = round(width / factor), round(height / factor)
    started = time.process_time()
    for index, picture in enumerate(pictures):
        small = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        detector.process_frame(FrameTimecode(index, 30.0), small)
    return 1e3 * (time.process_time() - started) / len(pictures)


def costs() -> dict[str, float]:
    """CPU milliseconds a 1080p frame beyond the decode: medians of rounds that each detector takes part in."""
    import scenedetect as sd

    pictures = decoded()
    bgr = [picture.to_ndarray(format="bgr24") for picture in pictures]
    times: dict[str, list[float]] = {name: [] for name in ("our_scaling", "ours", *DETECTORS)}
    for _ in range(ROUNDS):
        costs = our_cost(pictures) + tuple(peer_cost(getattr(sd, name)(), bgr) for name in DETECTORS)
        for name, milliseconds in zip(times, costs, strict=True):
            times[name].append(milliseconds)
    spent = {name: round(statistics.median(each), 3) for name, each in times.items()}
    making = cpu_of(lambda: [picture.to_ndarray(format="bgr24") for picture in pictures])
    return spent | {"making_bgr_for_peers": round(1e3 * making / len(pictures), 3)}


def shots() -> dict[str, Any]:

    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        labelled = films("test", FILMS, Path(folder), SEED)
        detectors = {"ours": ours, **peers()}
        scores = {name: score(labelled, detect) for name, detect in detectors.items()}
    spent = costs()
    best = max(DETECTORS, key=lambda name: scores[name]["all_f1"])
    peer = spent[best] + spent["making_bgr_for_peers"]
    return {
        "films": len(labelled),
        "frames": sum(film.frames for film in labelled),
        "scores": scores,
        "beyond_decode_1080p_cpu_ms_a_frame": spent,
        "best_peer": best,
        "cost_over_best_peer": round(spent["ours"] / peer, 3),
        "cost_with_shared_scaling_over_best_peer": round((spent["ours"] + spent["our_scaling"]) / peer, 3),
        "accepted": {"cut_f1": 0.99, "gradual_recall": 0.8, "gradual_precision": 0.9, "cost_over_best_peer": 0.1},
    }
