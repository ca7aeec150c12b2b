"""What a container says of the place where it was filmed, as the probe finds it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from assets.decode.decoder import open_container
from assets.decode.probe import POSITION_LENGTH, own_position


def film(path: Path, **metadata: str) -> Path:
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(3):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.mkv"])
def test_a_position_is_found_in_every_container_that_has_room_for_one(tmp_path: Path, name: str) -> None:
    with open_container(film(tmp_path / name, location="+50.8503+004.3517/")) as container:
        assert own_position(container.metadata) == "+50.8503+004.3517/"


def test_a_film_without_a_position_has_none(tmp_path: Path) -> None:
    with open_container(film(tmp_path / "film.mp4", title="Brussels")) as container:
        assert own_position(container.metadata) is None


def test_the_cameras_own_words_go_before_others_and_are_cut_to_size() -> None:
    apple = "com.apple.quicktime.location.ISO6709"
    assert own_position({"location": "+1+002/", apple: "+50.8503+004.3517+010.1/"}) == "+50.8503+004.3517+010.1/"
    assert own_position({"LOCATION-eng": "+1+002/"}) == "+1+002/"
    assert own_position({"location": "  ", "location-fra": "+3+004/"}) == "+3+004/"
    assert len(own_position({"location": "+\x00" * 500}) or "") == POSITION_LENGTH
