"""Every kind of file has one verdict, said in codes, whatever its length: nothing crashes, hangs or passes in silence."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from assets.decode.evidence import MAX_WINDOWS
from assets.decode.probe_pool import Examined, Limits, ProbePool
from assets.reasons import FAULTS, TRAITS, Code, code_of
from assets.signals.files import BesideProbe
from tests.assets.ingestion import films, hostile
from tests.assets.samples import measuring

pytestmark = films.needs_footage


@pytest.mark.parametrize("name", hostile.KINDS)
def test_every_kind_of_file_gets_its_verdict_measured_or_not(
    name: str, pool: ProbePool, measuring_pool: ProbePool, tmp_path: Path
) -> None:
    kind = hostile.KINDS[name]
    film = kind.make(tmp_path)
    result = pool.probe(film)
    assert measuring_pool.examine(film).result == result
    assert {code_of(reason) for reason in result.reasons} == kind.reasons
    if not kind.reasons:
        assert {code_of(note) for note in result.notes} >= kind.notes
        assert result.frames_sha256
        assert (result.duration_s or 0) > 0


def test_a_good_file_is_noted_for_nothing(pool: ProbePool, tmp_path: Path) -> None:
    result = pool.probe(films.encode(tmp_path / "a.mp4"))
    assert (result.reasons, result.notes, result.integrity) == ((), (), "syntax")


def test_a_file_that_keeps_checksums_says_so(pool: ProbePool, tmp_path: Path) -> None:
    assert pool.probe(films.encode(tmp_path / "a.mkv")).integrity == "checksums"


def test_the_times_of_a_variable_rate_are_measured_not_assumed(pool: ProbePool, tmp_path: Path) -> None:
    times = [0, 40, 80, 480, 520, 1000]
    film = films.encode(tmp_path / "a.mkv", films.moment()[:6], codec="mpeg4", times=times)
    result = pool.probe(film)
    assert result.fps == pytest.approx(5.0)
    assert any("0.0400 to 0.4800 s" in note for note in result.notes)


@pytest.mark.parametrize("code", sorted(TRAITS))
def test_a_trait_can_be_refused_by_policy(code: Code, tmp_path: Path) -> None:
    maker = next((kind.make for kind in hostile.KINDS.values() if code in kind.notes), None)
    if maker is None:
        assert code in {Code.COMPLAINTS, Code.OTHER_EXTENSION}  # said in passing, and by the intake
        return
    with ProbePool(Limits(refuse=(code,), wall_s=60.0), workers=1) as strict:
        result = strict.probe(maker(tmp_path))
    assert [code_of(reason) for reason in result.reasons] == [code]


def test_every_code_tells_the_contributor_what_to_do() -> None:
    assert set(FAULTS) | set(TRAITS) == set(Code)
    assert not set(FAULTS) & set(TRAITS)
    assert all(code.advice.endswith(".") for code in Code)


def test_huge_pictures_are_refused_before_memory_is_taken_for_them(tmp_path: Path) -> None:
    with ProbePool(workers=1) as pool:
        assert pool.probe(hostile.bomb(tmp_path)).reasons
        (worker,) = pool._alive
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
    assert int(re.search(r"VmHWM:\s+(\d+)", status)[1]) >> 10 < 200  # type: ignore[index]


@pytest.mark.parametrize("part", [b"\x1a\x45\xdf\xa3", b"\x1f\x43\xb6\x75"])
def test_a_part_longer_than_any_disk_is_no_crash(part: bytes, pool: ProbePool, tmp_path: Path) -> None:
    data = films.encode(tmp_path / "a.webm", codec="libvpx-vp9", **{"cpu-used": "8"}).read_bytes()
    at = data.index(part) + 4
    endless = (1 << 56 | 1 << 55).to_bytes(8, "big")
    result = pool.probe(films.written(tmp_path / "b.webm", data[:at] + endless + data[at + 8 :]))
    assert result.reasons
    assert Code.CRASHED not in {code_of(reason) for reason in result.reasons}


# -- long films ------------------------------------------------------------------------------------------------------


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
def test_4k_is_measured_within_the_memory_of_a_worker_whatever_its_length(tmp_path: Path) -> None:
    big = films.encode(tmp_path / "a.mp4", films.moment(width=3840, height=2160, frames=6))
    short, little = probed(big, measuring())
    long, much = probed(repeated(big, tmp_path / "longer.mp4", 10), measuring())
    print(f"{long.result.frames_decoded} frames of 4K: {much} MiB; {short.result.frames_decoded} take {little} MiB")
    assert (short.result.reasons, long.result.reasons, long.result.frames_decoded) == ((), (), 60)
    assert long.beside
    assert much <= min(MEMORY_MIB, little + 32)


def test_a_film_that_takes_longer_than_any_may_is_stopped(tmp_path: Path) -> None:
    big = films.encode(tmp_path / "a.mp4", films.moment(width=1280, height=720, frames=8))
    with ProbePool(Limits(wall_s=0.5), workers=1) as pool:
        result = pool.probe(repeated(big, tmp_path / "longer.mp4", 100))
    assert [code_of(reason) for reason in result.reasons] == [Code.TIMEOUT]
