"""Camera moves of known kind and speed over real pictures: how often the class is right, and how far speed drifts.

Each film is a window that moves over a still of real footage (so nothing but the camera moves), with the subpixel
jitter of a tripod and the sensor's noise. Drift is that of the motion signal of one film at other sizes and rates,
through the encoder, the decoder and the whole pass.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from assets.signals.measure import measure
from assets.signals.motion import FLOW_SIDE, FlowMeter, summarise
from assets.signals.single_pass import SAMPLES_PER_S
from training.data.video import write_mp4

FOOTAGE = Path(".vendor/footage")
STILLS = {"bikes.mp4": (10, 60, 160), "city.mpg": (20, 150), "crew.mp4": (100, 280, 520), "park.mp4": (40,)} | {
    "snow.mp4": (100, 420, 800),
    "volcano.mp4": (30,),
}
VIEW = (360, 640)
CLASSES = ("static", "pan", "tilt", "zoom", "roll", "handheld")
SAMPLES = 17  # two seconds
REPEATS = 3


def stills() -> list[np.ndarray]:
    """Gray pictures at 1.6 times the view, so that a window can move inside."""
    import av
    import cv2

    found = []
    for name, wanted in STILLS.items():
        with av.open(str(FOOTAGE / name)) as container:
            for index, picture in enumerate(container.decode(video=0)):
                if index in wanted:
                    rgb = picture.to_ndarray(format="rgb24")
                    found.append(cv2.resize(rgb, (1024, 576), interpolation=cv2.INTER_AREA))
                if index >= max(wanted):
                    break
    return found


def path_of(kind: str, rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """[n, 4]: x, y in pixels of the view, zoom factor, degrees."""
    diagonal = float(np.hypot(*VIEW))
    sign = rng.choice([-1.0, 1.0])
    speed = float(rng.uniform(0.02, 0.12)) * diagonal  # pixels a second
    steady = np.zeros((len(seconds), 4))
    steady[:, 2] = 1
    steady[:, :2] += rng.normal(0, 0.05, (len(seconds), 2))
    middle = seconds - seconds[-1] / 2
    if kind == "pan":
        steady[:, 0] += sign * speed * middle
    elif kind == "tilt":
        steady[:, 1] += sign * speed * middle * 0.7
    elif kind == "zoom":
        steady[:, 2] = np.exp(sign * rng.uniform(0.08, 0.25) * middle)
    elif kind == "roll":
        steady[:, 3] = sign * rng.uniform(4, 14) * middle
    elif kind == "handheld":  # a hand's tremor: a few hertz, some thousandths of the picture
        phases = rng.uniform(0, 2 * np.pi, (2, 3))
        sway = sum(np.sin(2 * np.pi * hertz * seconds + phases[:, [k]]) for k, hertz in enumerate((1.3, 2.1, 3.3)))
        steady[:, :2] += rng.uniform(0.004, 0.01) * diagonal * sway.T
    return steady


def view(still: np.ndarray, place: np.ndarray, size: tuple[int, int] = VIEW) -> np.ndarray:
    """uint8 [h, w, 3]: what the camera sees from `place`."""
    import cv2

    height, width = size
    x, y, zoom, degrees = place
    matrix = cv2.getRotationMatrix2D((still.shape[1] / 2 + x, still.shape[0] / 2 + y), degrees, zoom * width / VIEW[1])
    matrix[:, 2] += np.array([width / 2, height / 2]) - [still.shape[1] / 2 + x, still.shape[0] / 2 + y]
    return cv2.warpAffine(still, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)


def classed(still: np.ndarray, kind: str, rng: np.random.Generator) -> str:
    import cv2

    meter, pairs, before = FlowMeter(), [], None
    for place in path_of(kind, rng, np.arange(SAMPLES) / SAMPLES_PER_S):
        gray = cv2.cvtColor(view(still, place), cv2.COLOR_RGB2GRAY).astype(np.float32)
        noisy = np.clip(gray + rng.normal(0, 2, gray.shape), 0, 255).astype(np.uint8)
        small = cv2.resize(noisy, (FLOW_SIDE, FLOW_SIDE * VIEW[0] // VIEW[1]), interpolation=cv2.INTER_AREA)
        if before is not None:
            pairs.append(meter.between(before, small, 1 / SAMPLES_PER_S))
        before = small
    return str(summarise(pairs)["camera_motion"])


def drift(still: np.ndarray, seed: int) -> dict[str, float]:
    """The motion signal of one handheld pan at other sizes and rates, over that at 720p and 30 frames a second."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for height, fps in ((720, 30), (360, 30), (540, 30), (1080, 30), (720, 24), (720, 60)):
            rng = np.random.default_rng(seed)
            fine = path_of("pan", rng, np.arange(121) / 60)
            places = fine[np.round(np.arange(2 * fps) * 60 / fps).astype(int)]
            size = height, height * 16 // 9
            frames = np.stack([view(still, place, size) for place in places])
            (shot,) = measure(write_mp4(Path(folder) / "a.mp4", frames, float(fps)), None)["shots"]
            found[f"{height}p{fps}"] = shot["signals"]["motion_diag_per_s"]
    return {name: round(value / found["720p30"], 3) for name, value in found.items()}


def camera() -> dict[str, Any]:
    pictures = stills()
    confusion: dict[str, Counter[str]] = {kind: Counter() for kind in CLASSES}
    for number, still in enumerate(pictures):
        for kind in CLASSES:
            for repeat in range(REPEATS):
                rng = np.random.default_rng([number, CLASSES.index(kind), repeat])
                confusion[kind][classed(still, kind, rng)] += 1
    right = sum(confusion[kind][kind] for kind in CLASSES)
    total = sum(sum(counts.values()) for counts in confusion.values())
    drifts = [drift(pictures[number], number) for number in (0, 9)]
    return {
        "films": total,
        "right": round(right / total, 4),
        "accepted_right": 0.95,
        "confusion": {kind: dict(counts) for kind, counts in confusion.items()},
        "motion_over_720p30": drifts,
        "worst_drift": round(max(abs(value - 1) for one in drifts for value in one.values()), 3),
        "accepted_drift": 0.2,
    }
