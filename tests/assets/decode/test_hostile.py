"""Every kind of file that can arrive has one verdict, said in codes; nothing crashes, hangs or passes in silence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assets.decode.probe_pool import Limits, ProbePool
from assets.reasons import FAULTS, TRAITS, Code, code_of
from tests.assets.ingestion import films, hostile, surgery

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


def test_a_rotated_file_has_the_size_that_is_shown(pool: ProbePool, tmp_path: Path) -> None:
    result = pool.probe(surgery.rotated(tmp_path))
    assert (result.width, result.height) == (films.HEIGHT, films.WIDTH)


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


def test_more_frames_than_are_taken_are_refused(tmp_path: Path) -> None:
    film = films.encode(tmp_path / "a.mp4")
    with ProbePool(Limits(frames=films.FRAMES - 1), workers=1) as short:
        assert [code_of(reason) for reason in short.probe(film).reasons] == [Code.TOO_MANY_FRAMES]


def test_huge_pictures_are_refused_before_memory_is_taken_for_them(tmp_path: Path) -> None:
    with ProbePool(workers=1) as pool:
        assert pool.probe(surgery.bomb(tmp_path)).reasons
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
