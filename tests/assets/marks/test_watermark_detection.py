"""Our watermark is found on what carries it, whichever model made it, and on nothing else beyond the stated chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assets.decode.probe_pool import ProbePool
from assets.ingestion.origin import MarkReader
from assets.marks import watermark
from assets.marks.watermark import find_mark
from tests.assets.ingestion import films
from training.data.video import write_mp4

KEY, PAYLOAD = b"k" * 32, watermark.payload_of("model-1")


def spectra(frames: np.ndarray) -> np.ndarray:
    """Mean block spectra of whole frames, [blocks, coefficients]."""
    rows, columns = frames.shape[1] // 8, frames.shape[2] // 8
    luma = (frames[:, : rows * 8, : columns * 8].astype(np.float32) @ watermark.LUMA).mean(0)
    blocks = luma.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    return (watermark.dct() @ blocks @ watermark.dct().T)[:, watermark.ROWS, watermark.COLUMNS]


def chance(frames: np.ndarray, key: bytes, *payloads: int) -> float:
    grid = frames.shape[1] // 8, frames.shape[2] // 8
    found = find_mark([spectra(frames)], grid, (0, 0), grid, key, payloads)
    assert found is not None
    return found.log10_p


@films.needs_footage
@pytest.mark.parametrize("name", ["bikes.mp4", "city.mpg", "crew.mp4", "snow.mp4"])
def test_real_footage_is_taken_for_ours_no_more_often_than_the_stated_chance(name: str) -> None:
    frames = films.moment(name, 320, 176, 4)
    found = np.array([chance(frames, number.to_bytes(32, "big"), 1, 2, 3) for number in range(300)])
    for limit in (-1, -2):
        assert (found <= limit).mean() <= 10.0**limit + 3 * np.sqrt(10.0**limit / len(found))
    assert found.min() > -5


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
        found = reader.read(result)
        assert (found.watermark_log10_p or 0.0) < limit
        assert watermark.agreement(int(found.watermark_payload or "0", 16), PAYLOAD) >= watermark.ACCEPT
        assert found.windows == ()
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
