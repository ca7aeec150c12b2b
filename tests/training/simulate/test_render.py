"""The facts of a scene are true of its pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.model.codec import Codec, to_unit
from training.model.config import CodecConfig, SamplingConfig
from training.model.transformer import from_tokens
from training.simulate import Scene, Trial, random_scene, render
from training.simulate.scene import COLOURS, DIRECTIONS, SHAPES, TIMES_OF_DAY
from training.simulate.supply import HELDOUT, KINDS, LANDSCAPE, RenderedClips, RenderedFrames, pictures, rendered_clip

seeds = st.integers(0, 10**6)
few = settings(max_examples=25, deadline=None)


def plain(**facts: object) -> Scene:
    """A red circle that glides to the right by day before a static camera, with changes."""
    scene = Scene(
        shape="circle", colour="red", count=1, motion="glide", direction="right", speed=0.1, camera="static",
        camera_speed=0.04, time_of_day="day", size=0.07, lane=0.0,
    )  # fmt: skip
    return replace(scene, **facts)


def shapes_in(scene: Scene, width: int, height: int, frames: int, fps: float) -> np.ndarray:
    """Where the shapes are, bool [T, H, W]: what changes when the scene is drawn in another colour."""
    other = replace(scene, colour="red" if scene.colour == "blue" else "blue")
    first, second = (render(s, width, height, frames, fps).astype(int) for s in (scene, other))
    return np.abs(first - second).max(axis=-1) > 60


def centre(mask: np.ndarray) -> np.ndarray:
    """(x, y) of a mask's middle in shares of its diagonal."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()]) / np.hypot(*mask.shape)


@few
@given(seeds)
def test_the_same_arguments_give_the_same_pictures(seed: int) -> None:
    scene = random_scene(seed)
    assert (render(scene, 64, 48, 3, 8) == render(scene, 64, 48, 3, 8)).all()


@pytest.mark.parametrize(("width", "height", "frames"), [(1, 1, 1), (7, 31, 2), (256, 144, 3), (144, 256, 1)])
def test_pictures_have_the_size_and_length_asked_for(width: int, height: int, frames: int) -> None:
    pictures = render(random_scene(5), width, height, frames, 24)
    assert pictures.shape == (frames, height, width, 3)
    assert pictures.dtype == np.uint8


@pytest.mark.parametrize("wrong", [(0, 8, 1, 8), (8, 0, 1, 8), (8, 8, 0, 8), (8, 8, 1, 0)])
def test_pictures_of_no_size_or_length_are_refused(wrong: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot draw"):
        render(plain(), *wrong)


@few
@given(seeds)
def test_shapes_have_the_colour_that_the_scene_names(seed: int) -> None:
    scene = random_scene(seed)
    picture = render(scene, 256, 144, 1, 24)[0]
    x, y = scene.positions(np.zeros(1))[0, 0] * np.hypot(256, 144)
    x -= scene.camera_x(np.zeros(1))[0] * np.hypot(256, 144)
    seen = picture[round(72 + y - 0.5), round(128 + x - 0.5)].astype(float)
    nearest = min(COLOURS, key=lambda name: float(np.abs(seen - COLOURS[name]).sum()))
    assert nearest == scene.colour


@few
@given(seeds)
def test_as_many_shapes_are_seen_as_the_scene_counts(seed: int) -> None:
    scene = random_scene(seed)
    mask = shapes_in(scene, 384, 216, 1, 24)[0]
    assert cv2.connectedComponents(mask.astype(np.uint8))[0] - 1 == scene.count


@few
@given(seeds)
def test_shapes_move_on_the_screen_in_the_direction_that_the_scene_names(seed: int) -> None:
    scene = replace(random_scene(seed), motion="glide")
    mask = shapes_in(scene, 256, 144, 3, 1)
    moved = centre(mask[2]) - centre(mask[0])
    assert float(moved @ np.array(DIRECTIONS[scene.direction])) > 0.05


def test_the_outlines_of_the_shapes_differ() -> None:
    areas = {shape: shapes_in(plain(shape=shape), 256, 256, 1, 8).mean() for shape in SHAPES}
    assert areas["triangle"] < areas["square"] < areas["circle"]


def test_a_scene_means_the_same_at_every_size() -> None:
    small, large = (shapes_in(plain(lane=0.05), w, h, 1, 8)[0] for w, h in ((128, 72), (512, 288)))
    assert np.allclose(centre(small), centre(large), atol=0.005)
    assert small.mean() == pytest.approx(large.mean(), rel=0.1)


def test_a_moment_looks_the_same_at_every_frame_rate() -> None:
    scene = random_scene(12)
    assert (render(scene, 64, 36, 9, 8)[8] == render(scene, 64, 36, 25, 24)[24]).all()


@pytest.mark.parametrize(("camera", "sign"), [("static", 0), ("left", 1), ("right", -1)])
def test_the_landscape_moves_against_the_camera(camera: str, sign: int) -> None:
    pictures = render(plain(camera=camera), 320, 180, 2, 2).astype(float)
    ground = pictures[:, 165, 40:-40].mean(axis=-1)  # a row through the posts
    before = pictures[0, 165].mean(axis=-1)
    errors = [np.abs(before[40 - shift : 320 - 40 - shift] - ground[1]).mean() for shift in range(-12, 13)]
    assert np.sign(int(np.argmin(errors)) - 12) == sign


def test_nights_are_darker_than_sunsets_and_sunsets_than_days() -> None:
    brightness = {time: render(plain(time_of_day=time), 64, 36, 1, 8).mean() for time in TIMES_OF_DAY}
    assert brightness["night"] < brightness["sunset"] < brightness["day"]


def test_places_differ_from_scene_to_scene() -> None:
    first, second = (render(plain(texture=texture), 64, 36, 1, 8).astype(int) for texture in (1, 2))
    assert np.abs(first - second).mean() > 5


CODEC = CodecConfig(channels=16, patch=8, stride=4, width=8, encoder_blocks=0, decoder_blocks=0)
SAMPLING = SamplingConfig(width=32, height=32, frames=5)


class Words:
    """An encoder whose tokens are the text's bytes."""

    def tokens(self, texts: list[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode(), np.uint8).astype(np.float32)[:, None] for text in texts]


def frames(count: int = 12, first: int = 0) -> RenderedFrames:
    return RenderedFrames(SAMPLING, CODEC, count, first)


@pytest.fixture(scope="module")
def codec() -> Codec:
    codec, source = Codec(CODEC), frames()
    codec.initialise([to_unit(source.read(clip_id)[0]) for clip_id in source.clip_ids])
    return codec.eval().requires_grad_(False)


def test_a_sample_is_the_encoded_picture_with_its_caption(codec: Codec) -> None:
    source = frames()
    clips = RenderedClips(source, codec, Words(), patch=1)  # type: ignore[arg-type]
    for clip_id in source.clip_ids:
        sample, clip = clips.read(clip_id), source.clips[clip_id]
        z_Cthw = codec.encode(to_unit(pictures(clip.shown, clip.size, 5))[None])[0]
        assert sample.grid == (2, clip.size[1] // 8, clip.size[0] // 8)
        torch.testing.assert_close(from_tokens(sample.x_NP, sample.grid, 1), z_Cthw, rtol=0, atol=1e-5)
        assert bytes(sample.text_MT[:, 0].to(torch.uint8).tolist()).decode() == clip.shown.caption()
        assert sample.numeric[0] == 8.0
    assert {item.clip_id: item.tokens for item in clips.items()} == {
        i: len(clips.read(i).x_NP) for i in source.clip_ids
    }


def test_a_clip_that_was_encoded_is_not_encoded_again(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = RenderedClips(frames(2), codec, Words(), patch=1)  # type: ignore[arg-type]
    first = [clips.read(clip_id).x_NP for clip_id in clips.captions]
    monkeypatch.setattr(codec, "encode", lambda x: pytest.fail("encoded again"))
    again = [clips.read(clip_id).x_NP for clip_id in clips.captions]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


def test_a_clip_can_be_drawn_in_the_shape_of_footage() -> None:
    source = frames(3)
    assert source.read_at(source.clip_ids[0], (9, 48, 64)).shape == (9, 48, 64, 3)


def test_all_kinds_come_as_often_as_they_are_listed_in_sizes_that_tiles_divide() -> None:
    clips = [rendered_clip(seed, SamplingConfig(), 16) for seed in range(1100)]
    kinds = Counter(clip.shown.kind if isinstance(clip.shown, Trial) else LANDSCAPE for clip in clips)
    for kind, times in Counter(KINDS).items():
        assert kinds[kind] == pytest.approx(1100 * times / len(KINDS), rel=0.35), kind
    assert {side % 16 for clip in clips for side in clip.size} == {0}
    assert {clip.size for clip in clips if isinstance(clip.shown, Trial)} == {(64, 64), (64, 48)}
    assert {clip.size for clip in clips if isinstance(clip.shown, Scene)} > {(64, 64), (80, 48), (48, 80), (96, 48)}


def test_training_clips_never_reach_held_out_seeds() -> None:
    with pytest.raises(ValueError, match="held-out"):
        frames(4, HELDOUT - 2)
