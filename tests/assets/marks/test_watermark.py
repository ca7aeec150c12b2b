"""The watermark is read back after encoding, from every kind of picture, and never from an unmarked one."""

import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.marks import watermark
from training.data.video import read_frames, write_mp4

KEY = b"k" * 32
PAYLOAD = watermark.payload_of("model-1")


def pictures() -> dict[str, np.ndarray]:
    y, x = np.mgrid[:64, :64]
    waves = [128 + 90 * np.sin((x + 4 * t) / 9) + 30 * np.cos(y / 7) for t in range(17)]
    return {
        "flat grey": np.full((17, 64, 64, 3), 128, np.uint8),
        "black": np.zeros((17, 64, 64, 3), np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (17, 64, 64, 3)).astype(np.uint8),
        "moving waves": np.repeat(np.clip(np.stack(waves), 0, 255).astype(np.uint8)[..., None], 3, -1),
        "one frame": np.full((1, 64, 64, 3), 90, np.uint8),
        "odd blocks": np.full((17, 52, 92, 3), 60, np.uint8),
    }


@pytest.mark.parametrize("name", pictures())
def test_a_watermark_survives_encoding_at_crf_23(name: str, tmp_path: Path):
    marked = watermark.embed(pictures()[name], PAYLOAD, KEY, strength=12.0)
    frames, _ = read_frames(write_mp4(tmp_path / "marked.mp4", marked, 8, crf=23))
    assert watermark.agreement(watermark.read(frames, KEY), PAYLOAD) >= watermark.ACCEPT


@pytest.mark.parametrize("name", pictures())
def test_an_unmarked_video_reads_as_unmarked(name: str):
    assert not watermark.carries(pictures()[name], PAYLOAD, KEY)


@settings(max_examples=25, deadline=None)
@given(
    payload=st.integers(0, 2**32 - 1), height=st.integers(6, 12), width=st.integers(6, 12), level=st.integers(0, 255)
)
def test_every_payload_is_read_back_exactly_from_the_frames(payload: int, height: int, width: int, level: int):
    frames = np.full((3, height * 8, width * 8, 3), level, np.uint8)
    assert watermark.read(watermark.embed(frames, payload, KEY, 8.0), KEY) == payload


@given(payload=st.integers(0, 2**32 - 1), flips=st.sets(st.integers(0, 31)))
def test_agreement_counts_equal_bits(payload: int, flips: set[int]):
    assert watermark.agreement(payload ^ sum(1 << bit for bit in flips), payload) == 32 - len(flips)


def test_another_key_reads_nothing():
    marked = watermark.embed(pictures()["flat grey"], PAYLOAD, KEY, 8.0)
    assert not watermark.carries(marked, PAYLOAD, b"x" * 32)


def test_another_model_is_not_taken_for_this_one():
    marked = watermark.embed(pictures()["flat grey"], PAYLOAD, KEY, 8.0)
    assert not watermark.carries(marked, watermark.payload_of("model-2"), KEY)


def test_the_mark_stays_below_what_the_eye_finds():
    frames = pictures()["moving waves"]
    marked = watermark.embed(frames, PAYLOAD, KEY, watermark.STRENGTHS[0])
    error = np.mean((marked.astype(float) - frames) ** 2)
    assert 10 * np.log10(255**2 / error) > 40


def test_frames_with_too_few_blocks_are_refused_and_not_half_marked():
    with pytest.raises(watermark.TooSmall, match="16 blocks"):
        watermark.embed(np.zeros((5, 32, 32, 3), np.uint8), PAYLOAD, KEY, 5.0)


def test_the_key_is_made_once_and_private(tmp_path: Path):
    first = watermark.watermark_key(tmp_path / "keys")
    assert watermark.watermark_key(tmp_path / "keys") == first
    assert len(first) == 32
    assert stat.S_IMODE((tmp_path / "keys" / "watermark.key").stat().st_mode) == 0o600
