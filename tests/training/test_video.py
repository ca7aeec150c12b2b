"""Video files round-trip, and bad input says what is wrong."""

import av
import numpy as np
import pytest

from training.data.video import VideoError, fitted, read_frames, write_mp4


def moving_square(frames: int = 9, height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 [T, H, W, 3]: a red square walks right over grey."""
    video = np.full((frames, height, width, 3), 90, np.uint8)
    for t in range(frames):
        video[t, 16:32, 2 * t : 2 * t + 16] = (200, 40, 40)
    return video


def test_a_written_video_reads_back_nearly_the_same(tmp_path):
    frames = moving_square()
    back, fps = read_frames(write_mp4(tmp_path / "a.mp4", frames, 8.0))
    assert back.shape == frames.shape
    assert fps == pytest.approx(8.0)
    assert np.abs(back.astype(int) - frames).mean() < 3


def test_the_same_frames_give_the_same_bytes(tmp_path):
    first = write_mp4(tmp_path / "a.mp4", moving_square(), 8.0).read_bytes()
    assert first == write_mp4(tmp_path / "b.mp4", moving_square(), 8.0).read_bytes()


def test_a_range_counts_decoded_frames(tmp_path):
    path = write_mp4(tmp_path / "a.mp4", moving_square(), 8.0)
    whole, _ = read_frames(path)
    part, _ = read_frames(path, start=3, end=6)
    np.testing.assert_array_equal(part, whole[3:6])


def test_max_side_keeps_the_aspect_and_even_sides(tmp_path):
    path = write_mp4(tmp_path / "a.mp4", moving_square(), 8.0)
    assert read_frames(path, max_side=32)[0].shape[1:3] == (24, 32)
    assert fitted(1920, 1080, 256) == (256, 144)


@pytest.mark.parametrize("shape", [(0, 16, 16, 3), (3, 15, 16, 3), (3, 16, 16, 4)])
def test_frames_that_cannot_be_encoded_are_refused_and_leave_no_file(tmp_path, shape):
    with pytest.raises(VideoError):
        write_mp4(tmp_path / "a.mp4", np.zeros(shape, np.uint8), 8.0)
    assert list(tmp_path.iterdir()) == []


def test_a_text_in_no_known_encoding_hides_no_film(tmp_path):
    path = write_mp4(tmp_path / "a.mp4", moving_square(), 8.0)
    with av.open(str(path)) as old, av.open(str(tmp_path / "b.mkv"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        new.metadata["title"] = "TITLE"
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    data = (tmp_path / "b.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(data.replace(b"TITLE", b"caf\xe9s"))
    assert len(read_frames(tmp_path / "b.mkv")[0]) == 9


def test_a_text_file_named_mp4_is_a_video_error(tmp_path):
    (tmp_path / "a.mp4").write_text("not a film")
    with pytest.raises(VideoError, match=r"a\.mp4"):
        read_frames(tmp_path / "a.mp4")
