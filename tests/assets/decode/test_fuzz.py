"""Hundreds of damaged films go through the real worker: each gets a typed verdict in time, and hurts nobody else."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assets.decode import process
from assets.decode.probe_pool import Limits, ProbePool, ProbeResult
from assets.decode.process import Children
from assets.reasons import FAULTS, TRAITS, code_of
from assets.signals.files import COMMAND, LIMITS
from tests.assets.ingestion.films import encode, moment, needs_footage, written
from tests.assets.ingestion.mutants import make_films, mutants
from tests.assets.samples import measuring

pytestmark = needs_footage
FEW, MANY = 60, 550
ANSWER_S = 60.0
MEMORY_MIB = 600


@pytest.fixture(autouse=True)
def one_worker_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is replaced for its age, so that one that is missing has died."""
    monkeypatch.setattr(process, "FILES_PER_CHILD", 1 << 30)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make_films(tmp_path_factory.mktemp("films"))


def peak_mib(pool: ProbePool) -> int:
    """The most memory that any worker of the pool has ever held."""
    peaks = [Path(f"/proc/{worker.process.pid}/status").read_text() for worker in pool._alive]
    return max(int(re.search(r"VmHWM:\s+(\d+)", text)[1]) >> 10 for text in peaks)  # type: ignore[index]


def plain(result: ProbeResult) -> ProbeResult:
    return replace(result, thumbnails=())


def fuzz(films: dict[str, bytes], folder: Path, count: int) -> tuple[Counter[str], list[Path]]:
    """Probe and measure `count` mutants; how many came to what, and those that were accepted."""
    seen: Counter[str] = Counter()
    accepted = []
    neighbour = encode(folder / "neighbour.mp4", moment()[:4])
    with ProbePool(Limits(stall_s=ANSWER_S), workers=1, beside=measuring()) as pool:
        whole = {name: pool.probe(written(folder / name, data)) for name, data in films.items()}
        assert {name: result.reasons for name, result in whole.items()} == dict.fromkeys(films, ())
        good = plain(pool.probe(neighbour))
        workers = set(pool._alive)
        for mutant in mutants(count):
            path = written(folder / "mutant", mutant.bytes(films))
            began = time.monotonic()
            examined = pool.examine(path)
            result = examined.result
            what = f"{mutant}: {result.reasons}"
            assert time.monotonic() - began < ANSWER_S, what
            assert {code_of(reason) for reason in result.reasons} <= set(FAULTS), what
            assert {code_of(note) for note in result.notes} <= set(TRAITS), what
            assert "media.crashed" not in {code_of(reason) for reason in result.reasons}, what
            assert plain(pool.probe(neighbour)) == good, what
            if result.reasons:
                seen["refused"] += 1
                continue
            assert result.frames_sha256, what
            seen["not measured"] += examined.beside is None
            accepted.append(path.rename(folder / f"accepted-{mutant.number}"))
            same = result.frames_sha256 == whole[mutant.film].frames_sha256
            # nothing but a checksum shows a change that leaves the syntax whole; the verdict says that there is none
            assert same or result.notes or result.integrity == "syntax", what
            explained = same or any(code_of(note) != "media.high_bit_depth" for note in result.notes)
            seen["same pictures" if same else "noted" if explained else f"unseen in {mutant.film}"] += 1
        assert pool._alive == workers, "no worker was lost"
        assert peak_mib(pool) <= MEMORY_MIB
    return seen, accepted


def test_a_few_damaged_films_get_typed_verdicts_and_hurt_no_neighbour(films: dict[str, bytes], tmp_path: Path) -> None:
    seen, _ = fuzz(films, tmp_path, FEW)
    assert seen.total() - seen["not measured"] == FEW


@pytest.mark.slow
def test_many_damaged_films_get_typed_verdicts_and_hurt_no_neighbour(
    films: dict[str, bytes], tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    seen, accepted = fuzz(films, tmp_path, MANY)
    record_property("fuzz", dict(seen))
    print(dict(seen))
    unseen = sum(count for what, count in seen.items() if what.startswith("unseen"))
    assert unseen < MANY * 0.15
    assert seen["not measured"] < MANY * 0.02
    assert not seen["unseen in h264.mkv"], "a film that keeps checksums shows every change of its pictures"
    measured(accepted[::3], encode(tmp_path / "neighbour.mp4", moment()[:8]))


def measured(films: list[Path], neighbour: Path) -> None:
    """What the probe lets through, the worker that measures clips survives too."""
    with Children(COMMAND, LIMITS) as pool:

        def ask(film: Path) -> dict[str, Any]:
            return pool.ask({"path": str(film), "faces": None, "plugins": {}})

        good = ask(neighbour)
        assert good["shots"]
        for film in films:
            answer = ask(film)  # and no ChildFailed
            assert answer.get("shots") or answer["error"], film.name
        assert ask(neighbour) == good
