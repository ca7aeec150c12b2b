"""Camera moves of known speed over a textured picture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from assets.signals.motion import FlowMeter, classify, summarise

HEIGHT, WIDTH = 360, 640
DIAGONAL = float(np.hypot(HEIGHT, WIDTH))
RATE = 8.0


def picture(seed: int, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(0, 45, (n * 9 // 16 + 2, n)).astype(np.float32), (2 * WIDTH, 2 * HEIGHT), interpolation=2)
        for n in (8, 24, 60)
    ]
    image = np.clip(sum(layers) + 128, 0, 255).astype(np.uint8)  # type: ignore[call-overload]
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def filmed(seed: int, move: Callable[[float], np.ndarray], samples: int = 12) -> dict:
    """Signals of a view (the middle of a larger picture) that `move` (a 2 x 3 matrix at a time) warps."""
    image, meter, pairs, before = picture(seed), FlowMeter(), [], None
    for index in range(samples):
        warped = cv2.warpAffine(image, move(index / RATE), (2 * WIDTH, 2 * HEIGHT))
        view = meter.scaled(warped[HEIGHT // 2 : HEIGHT * 3 // 2, WIDTH // 2 : WIDTH * 3 // 2])
        if before is not None:
            pairs.append(meter.between(before, view, 1 / RATE))
        before = view
    return summarise(pairs)


def shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y]], np.float64)


def around(degrees: float, scale: float) -> np.ndarray:
    return cv2.getRotationMatrix2D((WIDTH, HEIGHT), degrees, scale)


MOVES = {
    "static": lambda t: shift(0, 0),
    "pan right": lambda t: shift(-0.06 * DIAGONAL * t, 0),
    "pan left": lambda t: shift(0.06 * DIAGONAL * t, 0),
    "tilt up": lambda t: shift(0, 0.05 * DIAGONAL * t),
    "tilt down": lambda t: shift(0, -0.05 * DIAGONAL * t),
    "zoom in": lambda t: around(0, 1 + 0.2 * t),
    "zoom out": lambda t: around(0, 1.3 - 0.2 * t),
    "roll clockwise": lambda t: around(-9 * t, 1),
    "roll counterclockwise": lambda t: around(9 * t, 1),
}
POSITIVE = {"right", "up", "in", "clockwise"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MOVES)
def test_a_camera_move_is_named_with_its_direction(name: str, seed: int) -> None:
    signals = filmed(seed, MOVES[name])
    kind, _, direction = name.partition(" ")
    assert signals["camera_motion"] == kind
    if direction:
        assert (signals[f"camera_{kind}_diag_per_s"] > 0) == (direction in POSITIVE)


@pytest.mark.parametrize("speed", [0.03, 0.06, 0.12])
def test_a_pan_is_measured_in_diagonals_per_second(speed: float) -> None:
    signals = filmed(4, lambda t: shift(-speed * DIAGONAL * t, 0))
    assert signals["camera_pan_diag_per_s"] == pytest.approx(speed, rel=0.15)
    assert signals["motion_diag_per_s"] == pytest.approx(speed, rel=0.2)


def test_a_shaking_camera_is_handheld() -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(0, 0.01 * DIAGONAL, (12, 2))
    assert filmed(5, lambda t: shift(*places[round(t * RATE)]))["camera_motion"] == "handheld"


def test_a_subject_that_moves_before_a_standing_camera_does_not_move_the_camera() -> None:
    meter, pairs, before = FlowMeter(), [], None
    scene = picture(6, 0.5)
    for index in range(12):
        frame = scene.copy()
        left = 40 + 14 * index
        frame[120:200, left : left + 90] = picture(7, 0.5)[120:200, 100:190]
        view = meter.scaled(frame)
        if before is not None:
            pairs.append(meter.between(before, view, 1 / RATE))
        before = view
    signals = summarise(pairs)
    assert signals["camera_motion"] == "static"
    assert signals["motion_diag_per_s"] > 0.003


def test_a_clip_of_one_frame_stands_still() -> None:
    assert summarise([])["camera_motion"] == "static"
    assert summarise([])["motion_diag_per_s"] == 0


def test_motion_does_not_depend_on_the_frame_gap() -> None:
    def at(samples_per_s: float) -> float:
        meter, pairs, before = FlowMeter(), [], None
        for index in range(8):
            warped = cv2.warpAffine(picture(8), shift(-0.05 * DIAGONAL * index / samples_per_s, 0), (WIDTH, HEIGHT))
            view = meter.scaled(warped)
            if before is not None:
                pairs.append(meter.between(before, view, 1 / samples_per_s))
            before = view
        return classify(pairs)[1]

    assert at(6) == pytest.approx(at(12), rel=0.1)
