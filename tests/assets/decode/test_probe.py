"""Every kind of broken file gets a typed verdict from a bounded worker, and good ones their measured facts."""

from __future__ import annotations

import json
import random
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from assets.decode import process as child_module
from assets.decode.decoder import open_container
from assets.decode.probe import POSITION_LENGTH, own_position
from assets.decode.probe_pool import Limits, ProbePool, ProbeResult
from assets.decode.process import Unavailable
from assets.reasons import Code, code_of
from tests.assets.ingestion.hostile import box
from tests.assets.samples import encode


def codes(result: ProbeResult) -> list[str]:
    return [code_of(reason) for reason in result.reasons]


def test_a_good_file_is_accepted_with_its_measured_facts(video: Path, pool: ProbePool) -> None:
    result = pool.probe(video)
    assert result.reasons == ()
    assert (result.width, result.height, result.rotation_deg) == (64, 48, 0)
    assert (result.frames_declared, result.frames_decoded, result.fps, result.duration_s) == (24, 24, 12.0, 2.0)
    assert (result.codec, result.pixel_format, result.has_audio) == ("h264", "yuv420p", False)
    assert (result.decode_errors, result.c2pa_state) == (0, "absent")
    assert 1 <= len(result.thumbnails) <= 2


def test_a_file_truncated_in_the_middle_says_so_and_nothing_else(video: Path, pool: ProbePool, tmp_path: Path) -> None:
    data, cut = video.read_bytes(), tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * 0.6)])
    result = pool.probe(cut)
    assert codes(result)[0] == Code.TRUNCATED
    assert set(codes(result)) <= {Code.TRUNCATED, Code.DECODE_ERRORS}
    assert result.frames_declared == 24
    assert result.frames_decoded is not None
    assert 0 < result.frames_decoded < 24


def test_a_truncated_file_without_its_index_is_truncated_not_foreign(pool: ProbePool, tmp_path: Path) -> None:
    data = encode(tmp_path / "a.mp4").read_bytes()  # index at the end
    (tmp_path / "b.mp4").write_bytes(data[: len(data) // 2])
    assert codes(pool.probe(tmp_path / "b.mp4")) == [Code.TRUNCATED]


@pytest.mark.parametrize("suffix", ["mkv", "avi"])
def test_truncation_shows_in_other_containers(suffix: str, pool: ProbePool, tmp_path: Path) -> None:
    whole = encode(tmp_path / f"whole.{suffix}")
    assert pool.probe(whole).reasons == ()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert Code.TRUNCATED in codes(pool.probe(cut))


def test_a_header_that_promises_more_frames_is_found_out(video: Path, pool: ProbePool, tmp_path: Path) -> None:
    data = bytearray(video.read_bytes())
    count = box(bytes(data), b"stts") + 16  # the time table's first entry: so many frames
    assert struct.unpack(">I", data[count : count + 4])[0] == 24
    data[count : count + 4] = struct.pack(">I", 48)
    liar = tmp_path / "liar.mp4"
    liar.write_bytes(data)
    result = pool.probe(liar)
    assert codes(result) == [Code.OVERDECLARED_FRAMES]
    assert (result.frames_declared, result.frames_decoded) == (48, 24)


def test_a_header_that_promises_a_longer_film_is_found_out(pool: ProbePool, tmp_path: Path) -> None:
    data = bytearray(encode(tmp_path / "a.mkv").read_bytes())
    duration = data.index(b"\x44\x89\x88") + 3  # Matroska's Duration element: 8 bytes of floating point, milliseconds
    assert struct.unpack(">d", data[duration : duration + 8])[0] == pytest.approx(2000, abs=100)
    data[duration : duration + 8] = struct.pack(">d", 20000.0)
    (tmp_path / "liar.mkv").write_bytes(data)
    assert codes(pool.probe(tmp_path / "liar.mkv")) == [Code.OVERDECLARED_DURATION]


@pytest.mark.parametrize(
    "content",
    [
        b"This is a shopping list, not a film.\n" * 50,
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"\x00" * 4096,
        b"\xff" * 4096,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_what_is_no_footage_is_refused_whatever_its_name(content: bytes, pool: ProbePool, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    assert codes(pool.probe(tmp_path / "a.mp4")) == [Code.NOT_VIDEO]


def test_a_playlist_cannot_smuggle_in_another_file(video: Path, pool: ProbePool, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{video}\n#EXT-X-ENDLIST\n")
    assert codes(pool.probe(tmp_path / "a.mp4")) == [Code.NOT_VIDEO]


def test_sound_beside_the_pictures_is_noted(pool: ProbePool, tmp_path: Path) -> None:
    result = pool.probe(encode(tmp_path / "a.mp4", sound=True))
    assert (result.reasons, result.has_audio) == ((), True)


def test_odd_sizes_decode(pool: ProbePool, tmp_path: Path) -> None:
    result = pool.probe(encode(tmp_path / "a.mp4", width=65, height=49, pixel_format="yuv444p"))
    assert (result.reasons, result.width, result.height) == ((), 65, 49)


def test_a_rotated_file_is_measured_as_it_is_shown(video: Path, pool: ProbePool, tmp_path: Path) -> None:
    data = bytearray(video.read_bytes())
    matrix = box(bytes(data), b"tkhd") + 48
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    result = pool.probe(turned)
    assert (result.width, result.height) == (48, 64)
    assert result.rotation_deg in (90, 270)
    assert result.frames_sha256 == pool.probe(video).frames_sha256


def flipped(source: Path, target: Path, flips: int = 60) -> Path:
    """`source` with random bits flipped in its middle, where the pictures are."""
    data, rng = bytearray(source.read_bytes()), random.Random(7)
    for _ in range(flips):
        data[rng.randrange(len(data) // 3, len(data) * 3 // 4)] ^= 1 << rng.randrange(8)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx264", "mkv"), ("mpeg4", "avi"), ("mpeg2video", "mpg"), ("mjpeg", "avi"), ("libx264", "ts")],
)
def test_flipped_bits_in_the_pictures_are_decode_errors(
    codec: str, suffix: str, pool: ProbePool, tmp_path: Path
) -> None:
    formats = {"mjpeg": "yuvj420p"}
    good = encode(
        tmp_path / f"good.{suffix}",
        width=128,
        height=96,
        fps=25,
        codec=codec,
        pixel_format=formats.get(codec, "yuv420p"),
    )
    assert pool.probe(good).reasons == ()
    result = pool.probe(flipped(good, tmp_path / f"flipped.{suffix}"))
    assert Code.DECODE_ERRORS in codes(result)
    assert result.decode_errors


def test_frames_that_silently_do_not_come_out_are_missed(pool: ProbePool, tmp_path: Path) -> None:
    good = encode(tmp_path / "good.mp4", width=128, height=96, codec="libsvtav1", movflags="faststart")
    assert pool.probe(good).reasons == ()
    assert Code.FRAMES_MISSING in codes(pool.probe(flipped(good, tmp_path / "flipped.mp4")))


def test_an_edit_list_that_skips_frames_is_no_lie(video: Path, pool: ProbePool, tmp_path: Path) -> None:
    data = bytearray(video.read_bytes())
    elst = box(bytes(data), b"elst")
    length, media_time = struct.unpack(">Ii", data[elst + 16 : elst + 24])
    timescale = struct.unpack(">I", data[box(bytes(data), b"mdhd") + 20 : box(bytes(data), b"mdhd") + 24])[0]
    data[elst + 16 : elst + 24] = struct.pack(">Ii", length // 2, media_time + timescale)  # start one second in
    edited = tmp_path / "edited.mp4"
    edited.write_bytes(data)
    result = pool.probe(edited)
    assert result.reasons == ()
    assert result.frames_decoded is not None
    assert result.frames_decoded < 24


@pytest.mark.parametrize(("width", "height"), [(8, 8), (14, 64), (64, 2)])
def test_pictures_too_small_to_show_anything_are_refused(
    pool: ProbePool, tmp_path: Path, width: int, height: int
) -> None:
    small = encode(tmp_path / "a.mp4", width=width, height=height)
    assert codes(pool.probe(small)) == [Code.TOO_SMALL]


def test_too_many_pixels_frames_or_bytes_are_refused_before_they_cost(video: Path) -> None:
    with ProbePool(Limits(pixels=64 * 47), workers=1) as small:
        assert codes(small.probe(video)) == [Code.TOO_MANY_PIXELS]
    with ProbePool(Limits(frames=23), workers=1) as short:
        assert codes(short.probe(video)) == [Code.TOO_MANY_FRAMES]
    with ProbePool(Limits(file_bytes=100), workers=1) as light:
        assert codes(light.probe(video)) == [Code.TOO_LARGE]


def test_a_file_that_claims_huge_pictures_is_refused(video: Path, pool: ProbePool, tmp_path: Path) -> None:
    data = bytearray(video.read_bytes())
    entry = box(bytes(data), b"avc1")
    data[entry + 32 : entry + 36] = struct.pack(">HH", 65000, 65000)
    bomb = tmp_path / "bomb.mp4"
    bomb.write_bytes(data)
    result = pool.probe(bomb)  # the coded stream says 64x48 again: a verdict either way, and no gigabytes
    assert result.reasons == () or Code.TOO_MANY_PIXELS in codes(result)


def fake_worker(monkeypatch: pytest.MonkeyPatch, body: str) -> list[int]:
    """Replace workers by a script that says it is ready and then runs `body`; returns a list that grows by launch."""
    real, launches = child_module.subprocess.Popen, []

    def launch(command: list[str], **options: object) -> object:
        launches.append(1)
        script = f"import sys, os, signal, time, json\nprint('ready', flush=True)\nline = sys.stdin.readline()\n{body}"
        return real([sys.executable, "-c", script], **options)

    monkeypatch.setattr(child_module.subprocess, "Popen", launch)
    return launches


def test_a_decoder_that_crashes_is_tried_once_more_and_then_a_verdict(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launches = fake_worker(monkeypatch, "os.kill(os.getpid(), signal.SIGSEGV)")
    with ProbePool(workers=1) as pool:
        result = pool.probe(video)
    assert codes(result) == [Code.CRASHED]
    assert "SIGSEGV" in result.reasons[0]
    assert len(launches) == 2


def test_a_decoder_that_hangs_is_stopped_in_time(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = fake_worker(monkeypatch, "time.sleep(600)")
    with ProbePool(Limits(wall_s=0.3), workers=1) as pool:
        assert codes(pool.probe(video)) == [Code.TIMEOUT]
    assert len(launches) == 1


PULSES = "print('pulse', flush=True)\n    time.sleep(0.2)\n"


def test_a_decode_that_gives_signs_of_life_may_take_longer_than_the_time_between_two(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps(asdict(ProbeResult(codec="slow")))
    fake_worker(monkeypatch, f"for _ in range(12):\n    {PULSES}print({answer!r}, flush=True)\nsys.stdin.read()")
    with ProbePool(Limits(stall_s=2.0), workers=1) as pool:
        began = time.monotonic()
        assert pool.probe(video).codec == "slow"
    assert time.monotonic() - began > 2.0


def test_signs_of_life_do_not_buy_more_than_the_whole_time(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_worker(monkeypatch, f"while True:\n    {PULSES}")
    with ProbePool(Limits(stall_s=60.0, wall_s=1.0), workers=1) as pool:
        assert codes(pool.probe(video)) == [Code.TIMEOUT]


def test_closing_the_probe_ends_a_decode_that_is_under_way(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_worker(monkeypatch, "time.sleep(600)")
    with ProbePool(Limits(wall_s=60.0), workers=1) as pool, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(pool.probe, video)
        while not any(worker.files for worker in pool._alive):
            time.sleep(0.01)
        pool.close()
        with pytest.raises(Unavailable):
            waiting.result(timeout=30)


def test_a_decoder_that_burns_processor_time_is_stopped(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_worker(monkeypatch, "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass")
    with ProbePool(Limits(wall_s=60.0), workers=1) as pool:
        assert codes(pool.probe(video)) == [Code.TIMEOUT]


def test_after_a_crash_the_next_file_is_probed_by_a_fresh_worker(video: Path) -> None:
    with ProbePool(workers=1) as pool:
        assert pool.probe(video).reasons == ()
        pool._idle[0].process.kill()
        assert pool.probe(video).reasons == ()


def test_a_decoder_without_memory_gives_a_verdict(tmp_path: Path) -> None:
    import av

    big = tmp_path / "big.mp4"
    with av.open(str(big), "w") as out:
        stream = out.add_stream("libx264", rate=1, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 3840, 2160, "yuv420p"
        out.mux(stream.encode(av.VideoFrame(3840, 2160, "yuv420p")))
        out.mux(stream.encode())
    with ProbePool(Limits(memory_bytes=180 << 20, wall_s=60.0), workers=1) as pool:
        result = pool.probe(big)
    assert set(codes(result)) & {Code.OUT_OF_MEMORY, Code.CRASHED}


def test_an_installation_without_a_decoder_blames_no_file(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = child_module.subprocess.Popen
    monkeypatch.setattr(
        child_module.subprocess, "Popen", lambda command, **o: real([sys.executable, "-c", "raise SystemExit(1)"], **o)
    )
    with ProbePool(workers=1) as pool, pytest.raises(Unavailable):
        pool.probe(video)


def test_a_worker_gets_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    seen: dict[str, dict[str, str]] = {}
    real = child_module.subprocess.Popen

    def spy(command: list[str], **options: dict[str, str]) -> object:
        seen["env"] = options["env"]
        return real(command, **options)

    monkeypatch.setattr(child_module.subprocess, "Popen", spy)
    with ProbePool(workers=1) as pool:
        pool._give_back(pool._take())
    assert "AWS_SECRET_ACCESS_KEY" not in seen["env"]
    assert "PATH" in seen["env"]


def test_a_result_survives_its_cache(video: Path, pool: ProbePool) -> None:
    result = pool.probe(video)
    assert ProbeResult.from_json(json.loads(json.dumps(asdict(result)))) == result


# -- the position in a container's metadata --------------------------------------------------------------------------


def placed(path: Path, **metadata: str) -> Path:
    import av

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
    with open_container(placed(tmp_path / name, location="+50.8503+004.3517/")) as container:
        assert own_position(container.metadata) == "+50.8503+004.3517/"


def test_a_film_without_a_position_has_none(tmp_path: Path) -> None:
    with open_container(placed(tmp_path / "film.mp4", title="Brussels")) as container:
        assert own_position(container.metadata) is None


def test_the_cameras_own_words_go_before_others_and_are_cut_to_size() -> None:
    apple = "com.apple.quicktime.location.ISO6709"
    assert own_position({"location": "+1+002/", apple: "+50.8503+004.3517+010.1/"}) == "+50.8503+004.3517+010.1/"
    assert own_position({"LOCATION-eng": "+1+002/"}) == "+1+002/"
    assert own_position({"location": "  ", "location-fra": "+3+004/"}) == "+3+004/"
    assert len(own_position({"location": "+\x00" * 500}) or "") == POSITION_LENGTH
