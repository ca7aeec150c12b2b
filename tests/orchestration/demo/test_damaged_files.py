"""Damaged files are damaged in the one way that their case needs."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from orchestration.demo.world import DamageError, overdeclared, truncated
from training.data.video import write_mp4


@pytest.fixture
def film(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (24, 96, 128, 3), dtype=np.uint8)
    return write_mp4(tmp_path / "film.mp4", noise, 12)


def test_an_overdeclared_file_is_whole_and_promises_twice_its_frames(film: Path) -> None:
    film.write_bytes(overdeclared(film.read_bytes()))
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert stream.frames == 48
        assert len(list(container.decode(stream))) == 24


def test_a_truncated_file_opens_and_its_first_frames_decode(film: Path) -> None:
    film.write_bytes(truncated(film.read_bytes()))
    decoded = 0
    with av.open(str(film)) as container:
        assert container.streams.video[0].frames == 24
        for packet in container.demux(video=0):
            try:
                decoded += len(packet.decode())
            except av.FFmpegError:
                break
    assert 0 < decoded < 24


@pytest.mark.parametrize("damage", [truncated, overdeclared])
def test_what_is_no_mp4_cannot_be_damaged_on_purpose(damage) -> None:
    with pytest.raises(DamageError):
        damage(b"not a film at all")
