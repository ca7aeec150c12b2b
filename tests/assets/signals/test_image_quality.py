"""Scores of single pictures whose truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from assets.signals.image_quality import (
    bars,
    colourfulness,
    is_black,
    is_frozen,
    letterbox_box,
    score_picture,
)
from assets.signals.spectrum import noise_sigma
from tests.assets.curation.pictures import texture


def letterbox_share(*sides: int) -> float:
    _, _, width, height = letterbox_box(*sides)
    return 1 - width * height


def gray_of(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def test_blur_lowers_sharpness_and_noise_raises_the_noise_figure() -> None:
    rgb = texture(0)
    blurred = cv2.GaussianBlur(rgb, (0, 0), 3)
    noisy = np.clip(blurred + np.random.default_rng(0).normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)
    scores = {name: score_picture(p, gray_of(p)) for name, p in (("as is", rgb), ("blur", blurred), ("noise", noisy))}
    assert scores["blur"].sharpness < scores["as is"].sharpness / 5
    assert noise_sigma(gray_of(noisy)) > noise_sigma(gray_of(blurred)) + 2


@pytest.mark.parametrize(("value", "clipped"), [(0, 1.0), (4, 1.0), (5, 0.0), (128, 0.0), (250, 0.0), (255, 1.0)])
def test_clipped_pixels_are_those_outside_5_to_250(value: int, clipped: float) -> None:
    flat = np.full((36, 64, 3), value, np.uint8)
    assert score_picture(flat, flat[..., 0]).clipped == pytest.approx(clipped)


def test_percentiles_and_contrast_of_a_two_tone_picture() -> None:
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 30:] = 200
    scores = score_picture(rgb, gray_of(rgb))
    assert (scores.luma_p05, scores.luma_p95, scores.contrast) == pytest.approx((0, 200, 100), abs=1)


def test_grey_has_no_colour_and_stripes_of_colour_have_much() -> None:
    stripes = np.zeros((40, 60, 3), np.uint8)
    stripes[:, :20, 0] = stripes[:, 20:40, 1] = stripes[:, 40:, 2] = 255
    assert colourfulness(np.full((40, 60, 3), 90, np.uint8)) == pytest.approx(0, abs=1e-3)
    assert colourfulness(stripes) > 100


def test_coloured_shadows_are_told_from_neutral_ones() -> None:
    lamps, daylight = (np.full((40, 60, 3), 230, np.uint8) for _ in range(2))
    lamps[:, :40] = (15, 25, 60)
    daylight[:, :40] = (40, 42, 45)
    saturation = [score_picture(p, gray_of(p)).shadow_saturation for p in (lamps, daylight)]
    assert saturation[0] > 0.6
    assert saturation[1] < 0.2


def test_black_and_frozen_frames_are_told_from_coding_noise_and_from_movement() -> None:
    noise = np.random.default_rng(0).integers(0, 4, (144, 256), np.uint8)
    picture = gray_of(texture(1))
    moved = picture.copy()
    moved[60:70, 100:110] = 255 - moved[60:70, 100:110]
    assert is_black(noise)
    assert not is_black(picture)
    assert is_frozen(np.clip(picture.astype(int) + noise, 0, 255).astype(np.uint8), picture)
    assert not is_frozen(moved, picture)


def test_a_letterbox_is_measured_and_a_dark_sky_is_none() -> None:
    boxed = gray_of(texture(2))
    boxed[:18] = boxed[-18:] = 2
    assert letterbox_share(*bars(boxed), 144, 256) == pytest.approx(0.25, abs=0.01)
    assert letterbox_box(*bars(boxed), 144, 256) == pytest.approx((0, 18 / 144, 1, 108 / 144), abs=0.01)
    sky = gray_of(texture(2))
    sky[:60] = 3
    assert letterbox_share(*bars(sky), 144, 256) == 0


def test_pillars_and_bars_add_up() -> None:
    boxed = np.full((144, 256), 120, np.uint8)
    boxed[:36] = boxed[-36:] = 0
    boxed[:, :64] = boxed[:, -64:] = 0
    assert letterbox_share(*bars(boxed), 144, 256) == pytest.approx(0.75)
