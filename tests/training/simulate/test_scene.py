"""What a scene says is true of its motion, before anything is drawn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.simulate import Scene, random_scene
from training.simulate.scene import DIRECTIONS, GRAVITY, GROUND, NUMBERS

seeds = st.integers(0, 2**31)


@given(seeds)
def test_the_scene_of_a_seed_is_always_the_same(seed: int) -> None:
    assert random_scene(seed) == random_scene(seed)


@given(seeds)
def test_a_caption_says_every_fact_that_can_be_asked_for(seed: int) -> None:
    scene = random_scene(seed)
    caption = scene.caption()
    for word in (scene.colour, scene.shape, NUMBERS[scene.count], scene.time_of_day):
        assert word in caption
    assert ("falling" in caption) == (scene.motion == "fall")
    assert scene.motion == "fall" or f"moving {scene.direction}" in caption
    assert ("static camera" in caption) == (scene.camera == "static")
    assert caption.startswith(scene.subject())


@given(seeds, st.sampled_from([1.0, 4 / 3, 16 / 9]))
def test_everything_stays_inside_the_picture_for_its_first_two_and_a_half_seconds(seed: int, aspect: float) -> None:
    scene, times = random_scene(seed), np.linspace(0, 2.5, 60)
    seen = scene.positions(times) - np.stack([scene.camera_x(times), np.zeros(60)], -1)[:, None]
    half = np.array([aspect, 1.0]) / math.hypot(aspect, 1) / 2
    assert (np.abs(seen) + scene.size <= half + 1e-9).all()


@given(seeds)
def test_what_glides_moves_in_its_direction_at_its_speed(seed: int) -> None:
    scene = replace(random_scene(seed), motion="glide")
    first, last = scene.positions(np.array([0.0, 2.0]))
    assert np.allclose(last - first, 2 * scene.speed * np.array(DIRECTIONS[scene.direction]))


def falling(drop: float = 0.24) -> Scene:
    return replace(random_scene(1), motion="fall", direction="down", drop=drop)


@given(st.floats(0.1, 0.3))
def test_what_falls_obeys_gravity_until_it_touches_the_ground(drop: float) -> None:
    scene = falling(drop)
    times = np.linspace(0, math.sqrt(2 * drop / GRAVITY), 20)
    assert np.allclose(scene.height(times), drop - GRAVITY * times**2 / 2, atol=1e-9)


@given(st.floats(0.1, 0.3))
def test_a_falling_shape_never_sinks_into_the_ground_and_comes_to_rest_on_it(drop: float) -> None:
    scene, times = falling(drop), np.linspace(0, 60, 4000)
    height = scene.height(times)
    assert height.min() >= -1e-9
    assert height[-1] == 0
    assert np.allclose(scene.positions(times[-1:])[..., 1], GROUND - scene.size)


def test_each_bounce_is_lower_than_the_one_before_and_all_are_counted() -> None:
    scene, times = falling(), np.linspace(0, 2.5, 20001)
    height = scene.height(times)
    inner = height[1:-1]
    peaks = inner[(inner > height[:-2]) & (inner >= height[2:])]
    touches = ((inner < height[:-2]) & (inner <= height[2:])).sum()
    assert len(peaks) >= 2
    assert (np.diff(peaks) < 0).all()
    assert touches == scene.bounces(2.5)


def test_only_what_falls_bounces() -> None:
    assert replace(random_scene(0), motion="glide").bounces(10) == 0


@pytest.mark.parametrize(
    "wrong", [{"shape": "pentagon"}, {"colour": "beige"}, {"count": 4}, {"direction": "in"}, {"camera": "up"}]
)
def test_a_scene_refuses_facts_that_nothing_draws(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(replace(random_scene(0), motion="glide"), **wrong)


def test_a_scene_refuses_to_fall_sideways() -> None:
    with pytest.raises(ValueError, match="moves down"):
        replace(falling(), direction="left")
