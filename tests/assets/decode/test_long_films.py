"""A film may be hours long: memory does not grow with it, and time is bounded all the same."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from assets.decode.evidence import MAX_WINDOWS
from assets.decode.probe_pool import Examined, Limits, ProbePool
from assets.reasons import Code, code_of
from assets.signals.task import BesideProbe
from tests.assets.ingestion import films
from tests.assets.ingestion.conftest import measuring

MEMORY_MIB = 600


def repeated(source: Path, target: Path, times: int) -> Path:
    """The coded pictures of `source` again and again, each round after the one before."""
    import av

    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        film = old.streams.video[0]
        stream = new.add_stream_from_template(film)
        packets = [packet for packet in old.demux(film) if packet.dts is not None]
        coded = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in packets]
        length = sum(duration for *_, duration, _ in coded)
        for start in range(0, times * length, length):
            for data, pts, dts, duration, key in coded:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.duration = pts + start, dts + start, duration
                packet.time_base, packet.is_keyframe, packet.stream = film.time_base, key, stream
                new.mux(packet)
    return target


def probed(film: Path, beside: BesideProbe | None = None) -> tuple[Examined, int]:
    """The verdict and what was found beside it, and the most memory that the worker held, in MiB."""
    with ProbePool(workers=1, beside=beside) as pool:
        examined = pool.examine(film)
        (worker,) = pool._alive
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return examined, int(re.search(r"VmHWM:\s+(\d+)", status)[1]) >> 10  # type: ignore[index]


@pytest.mark.slow
@films.needs_footage
def test_two_hours_are_decoded_in_the_memory_of_a_minute(tmp_path: Path) -> None:
    moment = films.encode(tmp_path / "a.mp4", films.moment(width=64, height=48), codec="mpeg4", bf="0")
    rounds = 2 * 3600 * films.FPS // films.FRAMES
    minute, little = probed(repeated(moment, tmp_path / "minute.mp4", rounds // 120))
    began = time.monotonic()
    examined, much = probed(repeated(moment, tmp_path / "hours.mp4", rounds))
    result = examined.result
    print(
        f"{result.frames_decoded} frames in {time.monotonic() - began:.0f} s, {much} MiB; a minute takes {little} MiB"
    )
    assert (minute.result.reasons, result.reasons) == ((), ())
    assert (result.duration_s, result.frames_decoded) == (7200.0, 7200 * films.FPS)
    assert len(result.windows) <= MAX_WINDOWS + 1
    assert much <= min(MEMORY_MIB, little + 64)  # the container's own index grows, and nothing else


@pytest.mark.slow
@films.needs_footage
def test_twenty_minutes_are_measured_in_little_more_memory_than_one(tmp_path: Path) -> None:
    moment = films.encode(tmp_path / "a.mp4", films.moment(width=64, height=48), codec="mpeg4", bf="0")
    rounds = 1200 * films.FPS // films.FRAMES
    minute, little = probed(repeated(moment, tmp_path / "minute.mp4", rounds // 20), measuring())
    film, much = probed(repeated(moment, tmp_path / "film.mp4", rounds), measuring())
    print(f"{film.result.frames_decoded} frames measured in {much} MiB; a minute takes {little} MiB")
    assert minute.beside
    assert film.beside
    assert much <= little + 48  # for two hours that is 300 MiB more


@pytest.mark.slow
@films.needs_footage
def test_4k_is_measured_within_the_memory_of_a_worker_whatever_its_length(tmp_path: Path) -> None:
    big = films.encode(tmp_path / "a.mp4", films.moment(width=3840, height=2160, frames=6))
    short, little = probed(big, measuring())
    long, much = probed(repeated(big, tmp_path / "longer.mp4", 10), measuring())
    print(f"{long.result.frames_decoded} frames of 4K: {much} MiB; {short.result.frames_decoded} take {little} MiB")
    assert (short.result.reasons, long.result.reasons, long.result.frames_decoded) == ((), (), 60)
    assert long.beside
    assert much <= min(MEMORY_MIB, little + 32)


@films.needs_footage
def test_a_film_that_takes_longer_than_any_may_is_stopped(tmp_path: Path) -> None:
    big = films.encode(tmp_path / "a.mp4", films.moment(width=1280, height=720, frames=8))
    with ProbePool(Limits(wall_s=0.5), workers=1) as pool:
        result = pool.probe(repeated(big, tmp_path / "longer.mp4", 100))
    assert [code_of(reason) for reason in result.reasons] == [Code.TIMEOUT]
