"""Boundaries of films that are put together from known parts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.signals.shots import MIN_SHOT_S, Shot, ShotFeatures, find_shots
from orchestration.demo.deliveries import DELIVERIES, FPS_SIMULATED, FRAMES_SIMULATED, Clip, scene_of
from tests.assets.samples import still
from training.simulate import render

FPS = 25


def shots_of(frames: np.ndarray) -> list[Shot]:
    features = ShotFeatures()
    for index, rgb in enumerate(frames):
        yuv = cv2.cvtColor(cv2.resize(rgb, (64, 36), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb)
        features.add(index / FPS, np.ascontiguousarray(yuv[..., [0, 2, 1]]))
    return find_shots(features)


def faded(frames: np.ndarray, out: bool) -> np.ndarray:
    gain = np.linspace(1, 0, len(frames)) if out else np.linspace(0, 1, len(frames))
    return (frames * gain[:, None, None, None]).astype(np.uint8)


@pytest.mark.parametrize("lengths", [(30, 46), (12, 8, 40), (10, 10, 10, 10)])
def test_hard_cuts_are_found_at_their_frames(lengths: tuple[int, ...]) -> None:
    film = np.concatenate([still(seed, length) for seed, length in enumerate(lengths)])
    shots = shots_of(film)
    assert [shot.end for shot in shots] == list(np.cumsum(lengths))
    assert [shot.boundary for shot in shots] == ["cut"] * (len(lengths) - 1) + ["end"]


def test_a_fade_through_black_is_one_boundary_in_the_black() -> None:
    film = np.concatenate([still(0, 20), faded(still(0, 15), True), faded(still(1, 15), False), still(1, 20)])
    first, second = shots_of(film)
    assert first.boundary == "fade"
    assert 30 <= first.end <= 40
    assert second.end == len(film)


@pytest.mark.parametrize("span", [8, 20, 48])
def test_a_dissolve_is_one_boundary_inside_it(span: int) -> None:
    before, after = still(2, 60), still(3, 60)
    shares = (np.arange(span) + 1)[:, None, None, None] / (span + 1)
    mixed = (before[:span] * (1 - shares) + after[:span] * shares).astype(np.uint8)
    first, second = shots_of(np.concatenate([before, mixed, after]))
    assert first.boundary == "dissolve"
    assert 60 <= first.end <= 60 + span
    assert second.boundary == "end"


def test_a_shot_that_grows_darker_is_no_dissolve() -> None:
    gain = np.concatenate([np.ones(30), np.linspace(1, 0.4, 24), np.full(30, 0.4)])
    film = (still(4, len(gain)) * gain[:, None, None, None]).astype(np.uint8)
    assert len(shots_of(film)) == 1


def test_a_film_that_begins_and_ends_in_black_is_one_shot() -> None:
    black = np.zeros_like(still(0, 10))
    film = np.concatenate([black, faded(still(0, 20), False), still(0, 20), faded(still(0, 20), True), black])
    assert len(shots_of(film)) == 1


def test_a_flash_is_no_cut() -> None:
    film = still(0, 50)
    film[25:27] = np.minimum(film[25:27].astype(int) + 130, 255)
    assert len(shots_of(film)) == 1


def test_a_fast_pan_is_no_cut() -> None:
    wide = still(3, 1, width=1400)[0]
    film = np.stack([wide[:, 20 * index : 20 * index + 256] for index in range(50)])
    assert len(shots_of(film)) == 1


@pytest.mark.parametrize(
    "clip", [clip for delivery in DELIVERIES for clip in delivery.clips if clip.scene in (19, 107)]
)
def test_a_pan_over_a_plain_scene_is_no_dissolve(clip: Clip) -> None:
    assert clip.size is not None
    assert len(shots_of(render(scene_of(clip), *clip.size, FRAMES_SIMULATED, FPS_SIMULATED))) == 1


def test_a_cut_over_a_blended_frame_is_one_cut() -> None:
    before, after = still(0, 30), still(1, 30)
    blend = ((before[:1].astype(int) + after[:1]) // 2).astype(np.uint8)
    shots = shots_of(np.concatenate([before, blend, after]))
    assert len(shots) == 2
    assert shots[0].end in (30, 31)


def test_no_frames_are_no_shots() -> None:
    assert find_shots(ShotFeatures()) == []


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_shots_cover_every_frame_once_and_none_is_too_short(lengths: list[int]) -> None:
    film = np.concatenate([still(seed, length) for seed, length in enumerate(lengths)])
    shots = shots_of(film)
    assert [shot.start for shot in shots] == [0, *(shot.end for shot in shots[:-1])]
    assert shots[-1].end == len(film)
    if len(shots) > 1:
        assert min(shot.end - shot.start for shot in shots) >= MIN_SHOT_S * FPS - 1
