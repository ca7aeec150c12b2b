"""Shot boundaries on films of known cuts, dissolves and fades, beside every detector of PySceneDetect in the same run.

Thresholds were chosen on the `train` films; the figures are of `test`, from other sources. A boundary counts as found
within one frame of a cut and within two of a gradual transition's frames; whatever else is reported there is false.
Costs are those beyond the decode of 1080p pictures. A peer's include the making of BGR pictures, which it works on.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.signals.frames import Frames, read
from assets.signals.shots import ShotFeatures, find_shots
from tests.benchmarks.films import Film, Transition, films

if TYPE_CHECKING:
    import numpy as np

FOOTAGE = Path(".vendor/footage")
FILMS, SEED = 16, 2
DETECTORS = ("AdaptiveDetector", "ContentDetector", "HistogramDetector", "HashDetector", "ThresholdDetector")
COST_FRAMES, ROUNDS = 40, 5
Boundary = tuple[int, str | None]


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


def matched(truth: Sequence[Transition], found: Sequence[Boundary]) -> tuple[set[int], set[int]]:
    """Indices of the transitions that were found, and of the boundaries that found them."""
    hits, used = set(), set()
    for number, one in enumerate(truth):
        slack = 1 if one.kind == "cut" else 2
        for index, (at, _) in enumerate(found):
            if index not in used and one.start - slack <= at <= one.end + slack:
                hits.add(number)
                used.add(index)
                break
    return hits, used


def score(labelled: Sequence[Film], detect: Callable[[Path], list[Boundary]]) -> dict[str, Any]:
    hit = {"cut": 0, "dissolve": 0, "fade": 0}
    total = dict(hit)
    false = {"cut": 0, "gradual": 0}
    for film in labelled:
        found = detect(film.path)
        hits, used = matched(film.transitions, found)
        for number, one in enumerate(film.transitions):
            total[str(one.kind)] += 1
            hit[str(one.kind)] += number in hits
        for index, (_, kind) in enumerate(found):
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


def decoded() -> list[Any]:
    """Decoded 1080p pictures."""
    import av

    found = []
    with av.open(str(FOOTAGE / "volcano.mp4")) as source:
        for picture in source.decode(video=0):
            found.append(picture.reformat(1920, 1080, "yuv420p"))
            if len(found) == COST_FRAMES:
                return found
    return found


def our_cost(pictures: Sequence[Any]) -> tuple[float, float]:
    """CPU milliseconds a picture to scale it (which all signals share) and to judge it."""
    frames, features = Frames(30.0), ShotFeatures()
    started = time.process_time()
    thumbs = [frames.next(picture).thumb for picture in pictures]
    scaled = time.process_time()
    for index, thumb in enumerate(thumbs):
        features.add(index / 30, thumb)
    find_shots(features)
    judged = time.process_time()
    return 1e3 * (scaled - started) / len(pictures), 1e3 * (judged - scaled) / len(pictures)


def peer_cost(detector: Any, pictures: Sequence[np.ndarray]) -> float:
    """The same, scaled as PySceneDetect's scene manager does; how it comes by its BGR pictures is not counted."""
    import cv2
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
        for name, one in zip(("our_scaling", "ours"), our_cost(pictures), strict=True):
            times[name].append(one)
        for name in DETECTORS:
            times[name].append(peer_cost(getattr(sd, name)(), bgr))
    conversion = time.process_time()
    for picture in pictures:
        picture.to_ndarray(format="bgr24")
    spent = {name: round(statistics.median(all_of), 3) for name, all_of in times.items()}
    return spent | {"making_bgr_for_peers": round(1e3 * (time.process_time() - conversion) / len(pictures), 3)}


def shots() -> dict[str, Any]:
    import cv2

    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        labelled = list(films(FOOTAGE, "test", FILMS, Path(folder), SEED))
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
