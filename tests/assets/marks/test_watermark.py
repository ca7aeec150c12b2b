"""The watermark is read back after encoding, from every kind of picture, and found on nothing else beyond the stated chance."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.decode.probe_pool import ProbePool
from assets.ingestion.origin import MarkReader
from assets.marks import watermark
from assets.marks.watermark import find_mark
from tests.assets.ingestion import films
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


# -- detection -------------------------------------------------------------------------------------------------------


def spectra(frames: np.ndarray) -> np.ndarray:
    """Mean block spectra of whole frames, [blocks, coefficients]."""
    rows, columns = frames.shape[1] // 8, frames.shape[2] // 8
    luma = (frames[:, : rows * 8, : columns * 8].astype(np.float32) @ watermark.LUMA).mean(0)
    blocks = luma.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    return (watermark.dct() @ blocks @ watermark.dct().T)[:, watermark.ROWS, watermark.COLUMNS]


def chance(frames: np.ndarray, key: bytes, *payloads: int) -> float:
    grid = frames.shape[1] // 8, frames.shape[2] // 8
    detected = find_mark([spectra(frames)], grid, (0, 0), grid, key, payloads)
    assert detected is not None
    return detected.log10_p


@films.needs_footage
@pytest.mark.parametrize("name", ["bikes.mp4", "city.mpg", "crew.mp4", "snow.mp4"])
def test_real_footage_is_taken_for_ours_no_more_often_than_the_stated_chance(name: str) -> None:
    frames = films.moment(name, 320, 176, 4)
    detected = np.array([chance(frames, number.to_bytes(32, "big"), 1, 2, 3) for number in range(300)])
    for limit in (-1, -2):
        assert (detected <= limit).mean() <= 10.0**limit + 3 * np.sqrt(10.0**limit / len(detected))
    assert detected.min() > -5


@pytest.mark.parametrize("level", [0, 16, 128, 255])
def test_flat_pictures_are_not_ours(level: int) -> None:
    assert chance(np.full((2, 96, 160, 3), level, np.uint8), KEY, PAYLOAD) == 0.0


@films.needs_footage
@pytest.mark.parametrize(("crf", "limit"), [(18, -30), (23, -30), (28, -15)])
def test_a_mark_is_found_after_encoding_by_the_worker_that_knows_no_key(crf: int, limit: float, tmp_path: Path) -> None:
    frames = films.moment("crew.mp4", 256, 144, 16)
    film = write_mp4(tmp_path / "a.mp4", watermark.embed(frames, PAYLOAD, KEY, 5.0), 8, crf=crf)
    with ProbePool(workers=1) as pool:
        result = pool.probe(film)
    for reader in (MarkReader(KEY), MarkReader(KEY, (PAYLOAD, 1, 2))):
        detected = reader.read(result)
        assert (detected.watermark_log10_p or 0.0) < limit
        assert watermark.agreement(int(detected.watermark_payload or "0", 16), PAYLOAD) >= watermark.ACCEPT
        assert detected.windows == ()
    assert (MarkReader(b"x" * 32, (PAYLOAD,)).read(result).watermark_log10_p or 0.0) > -5


@films.needs_footage
def test_a_marked_stretch_within_real_footage_is_found(tmp_path: Path) -> None:
    frames = films.moment("bikes.mp4", 256, 144, 96)
    frames[48:72] = watermark.embed(frames[48:72], PAYLOAD, KEY, 8.0)
    film = write_mp4(tmp_path / "a.mp4", frames, 8)  # 12 seconds, 3 of them marked
    with ProbePool(workers=1) as pool:
        assert (MarkReader(KEY).read(pool.probe(film)).watermark_log10_p or 0.0) < -20


def test_pictures_too_small_to_carry_a_mark_are_not_looked_at() -> None:
    assert find_mark([np.zeros((24, 12))], (4, 6), (0, 0), (4, 6), KEY) is None
    assert find_mark([], (40, 60), (0, 0), (32, 32), KEY) is None
