"""The pass over real encoded files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.decode.identity import range_digest
from assets.signals.frames import PREVIEW_SIDE, SMALL_SIDE, read
from assets.signals.image_quality import is_black, is_frozen
from assets.signals.single_pass import NEVER_BLACK, NEVER_FROZEN, Pass, measure, shots_of
from tests.assets.samples import still, texture
from training.data.video import write_mp4


def moving(seed: int, frames: int, fps: float, height: int = 144, width: int = 256) -> np.ndarray:
    """A pan of a quarter of the width a second."""
    import cv2

    wide = cv2.resize(texture(seed, 144, 640), (width * 640 // 256, height), interpolation=cv2.INTER_CUBIC)
    lefts = [round(index / fps * width / 4) for index in range(frames)]
    return np.stack([wide[:, left : left + width] for left in lefts])


def test_frames_are_small_ordered_and_timed(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", moving(0, 20, 10.0, 360, 640), 10.0)
    frames = list(read(path))
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / 10 for index in range(20)], abs=1e-3)
    assert {frame.preview.shape for frame in frames} == {(72, PREVIEW_SIDE)}
    assert {frame.views(SMALL_SIDE)[0].shape for frame in read(path)} == {(144, SMALL_SIDE, 3)}
    assert len({frame.digest() for frame in read(path)}) == 20


def test_known_digests_name_the_clips_and_those_of_another_number_of_frames_are_taken_again(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", moving(2, 20, 10.0), 10.0)
    stored, own = bytes(range(32)) * 20, b"".join(frame.digest() for frame in read(path))
    shots = {digests: measure(path, None, digests=digests)["shots"][0] for digests in (None, stored, own, stored[:-32])}
    assert shots[stored]["clip_id"] == range_digest(stored)
    assert {shots[digests]["clip_id"] for digests in (None, own, stored[:-32])} == {range_digest(own)}
    assert shots[stored]["signals"] == shots[None]["signals"]


class Finder:
    """Sees one face wherever it is asked."""

    def boxes(self, rgb: np.ndarray) -> list[list[float]]:
        assert rgb.shape == (144, 256, 3)
        return [[0.4, 0.4, 0.1, 0.1, 0.9]]


def test_letters_are_compared_soon_and_faces_looked_for_from_time_to_time(tmp_path: Path) -> None:
    run = Pass(Finder(), identify=None)  # type: ignore[arg-type]
    for frame in read(write_mp4(tmp_path / "a.mp4", still(5, 80), 10.0)):
        run.add(frame)
    assert [sample.index for sample in run.large] == [0, 10, 40, 70]
    assert [sample.faces is not None for sample in run.large] == [True, False, True, True]
    assert [sample.text is not None for sample in run.large] == [False, True, True, True]
    assert shots_of(run)[0]["signals"]["faces_max"] == 1


@given(bright=st.integers(0, 255), dark=st.integers(0, 20), share=st.floats(0, 0.02))
def test_what_is_too_bright_to_be_looked_at_is_not_black(bright: int, dark: int, share: float) -> None:
    picture = np.full(72 * 128, dark, np.uint8)
    picture[: int(share * picture.size)] = bright
    assert is_black(picture.reshape(72, 128))
    assert picture.mean() < NEVER_BLACK


@given(change=st.integers(-4, 4), speck=st.integers(0, 255), level=st.integers(10, 240))
def test_what_changes_too_much_to_be_looked_at_is_not_frozen(change: int, speck: int, level: int) -> None:
    before = np.full((72, 128), level, np.uint8)
    after = np.full((72, 128), level + change, np.uint8)
    after[0, 0] = speck
    assert is_frozen(after, before)
    assert np.abs(after.astype(int) - before).mean() < NEVER_FROZEN


def test_portrait_pictures_have_their_long_side_upright(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", still(0, 4, height=256, width=144), 10.0)
    assert next(read(path)).views(SMALL_SIDE)[1].shape == (SMALL_SIDE, 144)


@pytest.mark.parametrize(("fps", "height", "width"), [(24.0, 360, 640), (30.0, 144, 256), (60.0, 270, 480)])
def test_motion_does_not_depend_on_size_or_frame_rate(tmp_path: Path, fps: float, height: int, width: int) -> None:
    path = write_mp4(tmp_path / "a.mp4", moving(1, round(fps * 1.5), fps, height, width), fps)
    (shot,) = measure(path, None)["shots"]
    assert shot["signals"]["motion_diag_per_s"] == pytest.approx(0.25 * 256 / np.hypot(256, 144), rel=0.2)
    assert shot["signals"]["camera_motion"] == "pan"


def test_a_fast_pan_over_fine_detail_is_motion_and_not_a_row_of_cuts(tmp_path: Path) -> None:
    (shot,) = measure(write_mp4(tmp_path / "a.mp4", moving(3, 36, 12.0), 12.0, crf=0), None)["shots"]
    assert shot["signals"]["motion_diag_per_s"] == pytest.approx(0.25 * 256 / np.hypot(256, 144), rel=0.2)


def test_a_frozen_film_is_measured_as_frozen_and_a_black_one_as_black(tmp_path: Path) -> None:
    frozen = measure(write_mp4(tmp_path / "a.mp4", still(2, 20), 10.0), None)["shots"][0]["signals"]
    black = measure(write_mp4(tmp_path / "b.mp4", np.zeros((20, 144, 256, 3), np.uint8), 10.0), None)
    assert frozen["freeze_fraction"] > 0.85  # the encoder still refines the first frames
    assert frozen["black_fraction"] == 0
    assert black["shots"][0]["signals"]["black_fraction"] == 1
    assert black["shots"][0]["signals"]["frame_phashes"] == []


def test_a_shot_is_the_same_clip_with_the_same_hashes_wherever_it_stands(tmp_path: Path) -> None:
    first, second = moving(3, 24, 12.0), moving(4, 24, 12.0)
    (alone,) = measure(write_mp4(tmp_path / "a.mp4", second, 12.0, crf=0), None)["shots"]
    shots = measure(write_mp4(tmp_path / "b.mp4", np.concatenate([first, second]), 12.0, crf=0), None)["shots"]
    assert len(shots) == 2
    assert len(shots[1]["signals"]["frame_phashes"]) == len(alone["signals"]["frame_phashes"]) == 8


def test_without_a_detector_faces_are_unknown_and_not_zero(tmp_path: Path) -> None:
    (shot,) = measure(write_mp4(tmp_path / "a.mp4", still(5, 8), 8.0), None)["shots"]
    assert shot["signals"]["faces_max"] is None
