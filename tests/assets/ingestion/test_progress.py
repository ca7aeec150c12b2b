"""What waits is taken up: half-finished days, files that come late, and those that could not be taken."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assets.decode.probe_pool import ProbePool
from assets.home import Home
from assets.ingestion import assets as module
from assets.ingestion import intake, progress
from assets.ingestion.inbox import loose
from assets.reasons import Code, code_of
from assets.store import LocalStore
from tests.assets.ingestion.test_assets import checks, materialise, stored
from tests.assets.samples import DAY, clip, encode, manifest

Drop = Callable[..., Path]


def finish(home: Home) -> None:
    """What the last asset of an intake does; the run is whoever began."""
    progress.finish(home, DAY, json.loads(home.store.get(f"intake/{DAY}.json"))["run"])


def why(home: Home) -> list[str]:
    return [why for entry in progress.waiting(home) for why in entry.why]


def verdicts(home: Home) -> dict[str, list[str]]:
    """By file the codes of its row in `media`, which must hold: bytes that a row names are there, and nothing else is."""
    names = {row["item_id"]: row["file_name"] for row in home.lake.rows("delivery_items", DAY)}
    rows = home.lake.rows("media", DAY)
    assert intake.lost(home.store, rows) == []
    assert all((row["media_key"] is None) == (row["bytes_sha256"] is None) for row in rows)
    assert list(home.scratch("intake").rglob("file")) == []
    assert list(home.state.rglob(".writing-*")) == []
    return {names[row["item_id"]]: [code_of(reason) for reason in row["reasons"]] for row in rows}


@pytest.fixture
def other(video: Path, tmp_path: Path) -> Path:
    """Another film than `video`, a little larger."""
    path = tmp_path / "other.mp4"
    path.write_bytes(video.read_bytes() + b"\0\0\0\x0cfreefree")
    return path


@pytest.fixture
def two(drop: Drop, video: Path, other: Path) -> Path:
    """A delivery of two files, `a.mp4` and the larger `b.mp4`."""
    return drop("one", manifest(clip("a.mp4"), clip("b.mp4")), {"a.mp4": video, "b.mp4": other})


@pytest.fixture
def undisturbed(home: Home, two: Path) -> dict[str, bytes]:
    """The day's tables as they are when nothing happens; the home is then as it was before."""
    materialise(home)
    tables = stored(home)
    for name in ("lake", "cache", "media", "quarantine", "intake"):
        shutil.rmtree(home.state / name, ignore_errors=True)
    return tables


def test_a_day_waits_until_the_last_table_of_its_intake_is_written(home: Home, two: Path) -> None:
    assert why(home) == ["one is not registered yet"]
    materialise(home)
    assert why(home) == ["its intake did not come to its end"]
    progress.finish(home, DAY, "another run, which began before")
    assert why(home) == ["its intake did not come to its end"]
    finish(home)
    assert why(home) == []


def test_an_intake_that_was_killed_is_finished_with_the_same_bytes(
    home: Home, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: intake.Intake, *_: Any) -> Any:
        (self.scratch / "tmp-of-a-process-that-was-killed").mkdir()
        (self.scratch / "tmp-of-a-process-that-was-killed" / "file").write_bytes(b"half")
        raise RuntimeError("as good as killed")

    with monkeypatch.context() as patch:
        patch.setattr(intake.Intake, "admit", killed)
        assert not materialise(home).success
    assert why(home) == ["its intake did not come to its end"]
    assert materialise(home).success
    assert verdicts(home) == {"a.mp4": [], "b.mp4": []}
    assert stored(home) == undisturbed


def test_a_late_clip_is_taken_when_it_comes_and_is_not_missing_any_more(
    home: Home, two: Path, undisturbed: dict[str, bytes]
) -> None:
    late = (two / "b.mp4").read_bytes()
    (two / "b.mp4").unlink()
    materialise(home)
    finish(home)
    assert verdicts(home) == {"a.mp4": [], "b.mp4": [Code.MISSING_FILE]}
    assert why(home) == []
    (two / "b.mp4").write_bytes(late)
    (waits,) = progress.waiting(home)
    assert (waits.day, waits.folders) == (DAY, ("one",))
    assert materialise(home).success
    finish(home)
    assert why(home) == []
    assert stored(home) == undisturbed


def test_what_was_taken_in_stays_when_the_inbox_is_cleared_and_its_day_is_taken_in_again(
    home: Home, drop: Drop, two: Path, video: Path
) -> None:
    gone = drop("whole", manifest(clip("c.mp4"), delivery_id="d-9"), {"c.mp4": video})
    materialise(home)
    finish(home)
    before = stored(home)
    (two / "b.mp4").unlink()
    shutil.rmtree(gone)
    result = materialise(home)
    assert stored(home) == before
    assert all(checks(result).values())
    finish(home)
    assert why(home) == []


def test_a_file_that_went_away_unread_is_taken_when_it_comes_back_as_it_was(
    home: Home, two: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept, real = shutil.copy2(two / "b.mp4", tmp_path / "kept.mp4"), module.take_in

    def removed_first(*arguments: Any) -> Any:
        (two / "b.mp4").unlink()
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "take_in", removed_first)
        materialise(home)
    finish(home)
    assert verdicts(home)["b.mp4"] == [Code.FILE_GONE]
    assert why(home) == []
    shutil.copy2(kept, two / "b.mp4")
    assert why(home) == ["one/b.mp4 came or changed after the folder was taken in"]


def test_a_file_that_comes_while_its_day_is_taken_in_fails_no_check_and_waits(
    home: Home, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = module.read_day

    def then_one_comes(*arguments: Any) -> Any:
        answer = read(*arguments)
        (two / "late.txt").write_bytes(b"came just now")
        return answer

    monkeypatch.setattr(module, "read_day", then_one_comes)
    result = materialise(home)
    assert result.success
    assert all(passed for name, passed in checks(result).items() if name.endswith("nothing_lost"))
    finish(home)
    assert why(home) == ["one/late.txt came or changed after the folder was taken in"]


def test_a_file_that_is_exchanged_or_made_readable_waits(home: Home, two: Path) -> None:
    materialise(home)
    finish(home)
    (two / "b.mp4").chmod(0o600)
    assert why(home) == ["one/b.mp4 came or changed after the folder was taken in"]


def cannot_be_read(patch: pytest.MonkeyPatch, path: Path) -> None:
    real = intake.file_sha256

    def failing(read: Path) -> str:
        if read == path:
            raise OSError(errno.EIO, "Input/output error")
        return real(read)

    patch.setattr(intake, "file_sha256", failing)


def changes_while_it_is_read(patch: pytest.MonkeyPatch, path: Path) -> None:
    real, whole = intake._copy, path.read_bytes()

    def changed(source: Path, target: Path) -> str:
        if source != path:
            return real(source, target)
        path.write_bytes(whole + b"\0\0\0\x08free")
        answer = real(source, target)
        path.write_bytes(whole)
        return answer

    patch.setattr(intake, "_copy", changed)


def is_removed_before_it_is_copied(patch: pytest.MonkeyPatch, path: Path) -> None:
    real, whole = intake._copy, path.read_bytes()

    def removed(source: Path, target: Path) -> str:
        if source != path:
            return real(source, target)
        path.unlink()
        try:
            return real(source, target)
        finally:
            path.write_bytes(whole)

    patch.setattr(intake, "_copy", removed)


def is_larger_than_the_free_disk(patch: pytest.MonkeyPatch, path: Path) -> None:
    free = 2 * path.stat().st_size + 10
    patch.setattr(intake.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(220, 220 - free, free))  # type: ignore[attr-defined]


def fills_the_disk_of_the_store(patch: pytest.MonkeyPatch, path: Path) -> None:
    digest, real = intake.file_sha256(path), LocalStore.put

    def full(store: LocalStore, key: str, data: bytes | Path) -> None:
        if digest in key:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(store, key, data)

    patch.setattr(LocalStore, "put", full)


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        (cannot_be_read, Code.FILE_GONE),
        (changes_while_it_is_read, Code.CHANGED),
        (is_removed_before_it_is_copied, Code.FILE_GONE),
        (is_larger_than_the_free_disk, Code.NO_ROOM),
        (fills_the_disk_of_the_store, Code.NO_ROOM),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_a_file_that_cannot_be_taken_costs_nobody_else_and_is_taken_by_the_next_look(
    home: Home,
    two: Path,
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[pytest.MonkeyPatch, Path], None],
    code: Code,
    declared: bool,
) -> None:
    before = [] if declared else [Code.NOT_IN_MANIFEST]
    if not declared:
        (two / "delivery.json").write_text(json.dumps(manifest(clip("a.mp4"))))
    with monkeypatch.context() as patch:
        happens(patch, two / "b.mp4")
        result = materialise(home)
    assert result.success
    assert all(passed for name, passed in checks(result).items() if name.endswith("nothing_lost"))
    assert verdicts(home) == {"a.mp4": [], "b.mp4": [*before, code]}
    finish(home)
    assert any(entry.startswith(code) for entry in why(home)) or code == Code.FILE_GONE
    assert why(home)
    materialise(home)
    finish(home)
    assert verdicts(home) == {"a.mp4": [], "b.mp4": before}
    assert why(home) == []


def test_what_is_stored_already_needs_no_room(
    home: Home, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    materialise(home)
    monkeypatch.setattr(intake.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(220, 220, 0))  # type: ignore[attr-defined]
    materialise(home)
    assert stored(home) == undisturbed


def test_what_the_decoder_broke_down_over_is_tried_again_by_its_next_version(
    home: Home, drop: Drop, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop("one", manifest(clip("a.mp4"), clip("b.mp4")), {"a.mp4": video, "b.mp4": encode(tmp_path / "b.mp4", seed=1)})
    probe = ProbePool.examine

    def breaks_down(pool: ProbePool, path: Path, alone: bool = False) -> Any:
        answer = probe(pool, path, alone)
        broken = path.stat().st_size != video.stat().st_size
        return (
            replace(answer, result=replace(answer.result, reasons=(Code.CRASHED.because("signal"),)))
            if broken
            else answer
        )

    with monkeypatch.context() as patch:
        patch.setattr(ProbePool, "examine", breaks_down)
        materialise(home)
    finish(home)
    assert verdicts(home) == {"a.mp4": [], "b.mp4": [Code.CRASHED]}
    assert why(home) == []
    monkeypatch.setattr(progress, "code_version", lambda home: "newer")
    assert why(home) == ["media.crashed: signal (b.mp4): what measures has changed since"]


@pytest.mark.parametrize(
    ("error", "at_once"), [("media.crashed: signal SIGSEGV", False), ("media.no_room: the disk was full", True)]
)
def test_what_could_not_be_measured_is_tried_again_by_the_next_version_and_want_of_room_at_once(
    home: Home, two: Path, monkeypatch: pytest.MonkeyPatch, error: str, at_once: bool
) -> None:
    progress.begin(home, DAY, "run")
    monkeypatch.setattr(progress, "unregistered", lambda home: [])
    shot = {"clip_id": "c", "item_id": "i", "received_day": DAY, "bytes_sha256": "b", "media_key": "m", "shot_index": 0}
    place = {"start_frame": 0, "end_frame": 1, "start_s": 0.0, "end_s": 1.0, "boundary": "end", "detector_version": "1"}
    home.lake.write("shots", [shot | place | {"not_measured": error}], DAY)
    progress.finish(home, DAY, "run")
    assert why(home) == ([f"{error} (i)"] if at_once else [])
    monkeypatch.setattr(progress, "code_version", lambda home: "newer")
    assert len(why(home)) == 1


def test_what_was_dropped_beside_the_days_is_named(home: Home, two: Path) -> None:
    (home.state / "inbox" / "no-manifest").mkdir()
    (home.state / "inbox" / "film.mp4").write_bytes(b"x")
    assert loose(home.store) == ["film.mp4", "no-manifest"]
