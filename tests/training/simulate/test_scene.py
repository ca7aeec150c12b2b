"""What a scene or a trial says is true of its motion, before anything is drawn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.simulate import Scene, random_scene
from training.simulate.render import render_trial
from training.simulate.scene import AREAS, DIRECTIONS, GRAVITY, GROUND, NUMBERS, bounce_height
from training.simulate.trial import CAMERA_MOVES, CONTACT, KINDS, PILLAR, random_trial

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
    times = np.linspace(0, math.sqrt(2 * drop / GRAVITY), 20)
    assert np.allclose(bounce_height(times, drop), drop - GRAVITY * times**2 / 2, atol=1e-9)


@given(st.floats(0.1, 0.3))
def test_a_falling_shape_never_sinks_into_the_ground_and_comes_to_rest_on_it(drop: float) -> None:
    scene, times = falling(drop), np.linspace(0, 60, 4000)
    height = bounce_height(times, drop)
    assert height.min() >= -1e-9
    assert height[-1] == 0
    assert np.allclose(scene.positions(times[-1:])[..., 1], GROUND - scene.size)


def test_each_bounce_is_lower_than_the_one_before() -> None:
    height = bounce_height(np.linspace(0, 2.5, 20001), 0.24)
    inner = height[1:-1]
    peaks = inner[(inner > height[:-2]) & (inner >= height[2:])]
    assert len(peaks) >= 2
    assert (np.diff(peaks) < 0).all()


@pytest.mark.parametrize(
    "wrong", [{"shape": "pentagon"}, {"colour": "beige"}, {"count": 4}, {"direction": "in"}, {"camera": "up"}]
)
def test_a_scene_refuses_facts_that_nothing_draws(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(replace(random_scene(0), motion="glide"), **wrong)


def test_a_scene_refuses_to_fall_sideways() -> None:
    with pytest.raises(ValueError, match="moves down"):
        replace(falling(), direction="left")


@given(seeds)
def test_the_trial_of_a_seed_is_always_the_same(seed: int) -> None:
    assert random_trial(seed) == random_trial(seed)


@given(seeds)
def test_a_trials_caption_says_every_fact_that_can_be_asked_for(seed: int) -> None:
    trial = random_trial(seed)
    caption = trial.caption()
    for shape, colour in zip(trial.shapes, trial.colours, strict=True):
        assert f"{colour} {shape}" in caption
    assert trial.time_of_day in caption
    assert caption.startswith(NUMBERS[trial.count])
    assert trial.kind == "fall" or trial.direction in caption
    assert trial.camera == "static" or f"camera {trial.camera}" in caption


@given(seeds, st.sampled_from([1.0, 4 / 3]), st.sampled_from([1.5, 4.0]))
def test_every_body_stays_inside_the_picture_while_the_clip_lasts(seed: int, aspect: float, seconds: float) -> None:
    trial, times = random_trial(seed, seconds=seconds), np.linspace(0, seconds, 60)
    looks, zooms = trial.view(times)
    seen = (trial.positions(times) - looks[:, None]) * zooms[:, None, None]
    inside = 0.4 if trial.kind == "collide" and aspect == 1 else 1.0  # what is struck hard ends partly over the edge
    reach = inside * max(trial.sizes) * zooms[:, None, None]
    half = np.array([aspect, 1.0]) / math.hypot(aspect, 1) / 2
    assert (np.abs(seen) + reach <= half + 1e-9).all()


@given(seeds)
def test_a_collision_keeps_momentum_and_energy(seed: int) -> None:
    trial = random_trial(seed, ("collide",))
    masses = [AREAS[shape] * size**2 for shape, size in zip(trial.shapes, trial.sizes, strict=True)]
    before, striker, struck = trial.speeds()
    assert masses[0] * before == pytest.approx(masses[0] * striker + masses[1] * struck)
    assert masses[0] * before**2 == pytest.approx(masses[0] * striker**2 + masses[1] * struck**2)
    early, late = trial.positions(np.array([0.0, CONTACT * trial.seconds])), trial.positions(np.array([1.4, 1.5]))
    sign = DIRECTIONS[trial.direction][0]
    assert sign * (early[1] - early[0])[:, 0] == pytest.approx([before * CONTACT * trial.seconds, 0.0])
    assert sign * (late[1] - late[0])[:, 0] == pytest.approx([0.1 * striker, 0.1 * struck])


@given(seeds)
def test_what_falls_in_a_trial_obeys_gravity_until_it_touches_the_ground(seed: int) -> None:
    trial = random_trial(seed, ("fall",))
    times = np.linspace(0, math.sqrt(2 * trial.drop / GRAVITY), 20)
    heights = GROUND - trial.sizes[0] - trial.positions(times)[:, 0, 1]
    assert np.allclose(heights, trial.drop - GRAVITY * times**2 / 2)


@given(seeds)
def test_what_passes_behind_the_pillar_is_wholly_hidden_in_the_middle_and_wholly_seen_at_both_ends(seed: int) -> None:
    trial = random_trial(seed, ("occlude",))
    x = np.abs(trial.positions(np.array([0.0, trial.seconds / 2, trial.seconds]))[:, 0, 0])
    assert x[1] + trial.sizes[0] <= PILLAR
    assert min(x[0], x[2]) >= PILLAR


@given(seeds)
def test_the_first_body_of_a_pair_stands_on_the_side_that_the_caption_says(seed: int) -> None:
    trial = random_trial(seed, ("pair",))
    first, second = trial.positions(np.zeros(1))[0, :, 0]
    assert (first < second) == (trial.direction == "left")
    assert f"{trial.shapes[0]} {trial.direction} of one {trial.colours[1]}" in trial.caption()


@given(seeds)
def test_the_camera_moves_only_where_it_is_asked_to(seed: int) -> None:
    trial = random_trial(seed)
    looks, zooms = trial.view(np.array([0.0, trial.seconds]))
    across, down, zoom = CAMERA_MOVES.get(trial.camera, (0.0, 0.0, 0.0))
    assert np.allclose(looks[1] - looks[0], np.array([across, down]) * trial.reach)
    assert math.log(zooms[1] / zooms[0]) == pytest.approx(zoom * trial.reach)


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([(24, 24), (48, 32), (20, 36)]), st.integers(1, 9))
def test_a_trial_is_drawn_at_any_size_length_and_aspect(seed: int, size: tuple[int, int], frames: int) -> None:
    drawn = render_trial(random_trial(seed), *size, frames, 8.0)
    assert drawn.shape == (frames, size[1], size[0], 3)
    assert (drawn == render_trial(random_trial(seed), *size, frames, 8.0)).all()


def test_kinds_are_drawn_as_often_as_they_are_listed() -> None:
    kinds = [random_trial(seed, ("glide", "glide", "fall")).kind for seed in range(600)]
    assert kinds.count("glide") / 600 == pytest.approx(2 / 3, abs=0.07)
    assert {random_trial(seed).kind for seed in range(100)} == set(KINDS)


@pytest.mark.parametrize(
    "wrong", [{"kind": "float"}, {"count": 4}, {"direction": "in"}, {"camera": "pans left"}, {"colours": ("beige",)}]
)
def test_a_trial_refuses_facts_that_nothing_draws(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(random_trial(0, ("glide",)), **wrong)


def test_a_picture_of_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot draw"):
        render_trial(random_trial(0), 0, 32, 5, 8.0)
