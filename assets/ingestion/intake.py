"""Files taken in: from the inbox to their place by content, each with the facts of its full decode.

Accepted files go to `media/`, refused ones to `quarantine/`; the inbox itself is never changed. What is probed and
stored is a private copy whose digest was checked, so a file that changes under our hands cannot be two things at once.
A file that cannot be read, or for which there is no room, has its own row, which names no bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from assets.decode.executor import Report
from assets.decode.probe_pool import ProbePool, ProbeResult, remember, remembered
from assets.ingestion.inbox import Entry, open_entry
from assets.ingestion.origin import MarkReader
from assets.reasons import DISK_FULL, Code, code_of, printable
from assets.store import LocalStore, Store
from training.consent.canonical import file_sha256

# by container as demuxed: how its files end in the store, where a delivered name plays no part, and how such names end
ENDINGS: dict[str, tuple[str, frozenset[str]]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("mp4", frozenset({"mp4", "mov", "m4v", "3gp", "3g2", "qt", "mj2"})),
    "matroska,webm": ("mkv", frozenset({"mkv", "webm"})),
    "avi": ("avi", frozenset({"avi"})),
    "mpeg": ("mpg", frozenset({"mpg", "mpeg", "vob", "m2p"})),
    "mpegvideo": ("bin", frozenset({"mpg", "mpeg", "m2v", "m1v"})),
    "mpegts": ("ts", frozenset({"ts", "mts", "m2ts"})),
    "flv": ("flv", frozenset({"flv"})),
    "asf": ("asf", frozenset({"asf", "wmv"})),
    "mxf": ("mxf", frozenset({"mxf"})),
    "dv": ("dv", frozenset({"dv"})),
    "ogg": ("ogv", frozenset({"ogv", "ogg"})),
}
UNKNOWN_ENDING: tuple[str, frozenset[str]] = ("bin", frozenset())
# columns of table `media` that a probe measures
BESIDES = ("reasons", "notes", "windows", "picture", "thumbnails", "frame_digests")
ROOM_LEFT = 64 << 20  # bytes, for whatever else is written meanwhile; of a small disk a twentieth
NOT_OPENED = ProbeResult(reasons=("refused before it was opened",))  # decides where the bytes go, and is told nowhere
FACTS = tuple(field.name for field in fields(ProbeResult) if field.name not in BESIDES)


@dataclass(frozen=True)
class TakenIn:
    """A row of table `media`, and what the file looks like (base64 WebP, at most two)."""

    row: dict[str, Any]
    thumbnails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Received:
    """Bytes that could be read from the inbox."""

    path: Path
    sha256: str
    size: int


# by content and whether it was opened: the verdict, or why its bytes could not be taken
Results = dict[tuple[str, bool], ProbeResult | str]


class NotStored(Exception):
    """A file's bytes could not be taken; carries the reason. The others are taken, and the next look tries again."""


def media_key(sha256: str, container: str | None) -> str:
    return f"media/{sha256[:2]}/{sha256[2:4]}/{sha256}.{ENDINGS.get(container or '', UNKNOWN_ENDING)[0]}"


def quarantine_key(sha256: str) -> str:
    return f"quarantine/{sha256[:2]}/{sha256}"


@dataclass(frozen=True)
class Intake:
    """What files are taken in with: where they are kept, who decodes them, and a folder for working copies."""

    store: Store
    pool: ProbePool
    scratch: Path
    marks: MarkReader

    def admit(self, received: Received, opened: bool) -> ProbeResult:
        """The verdict on some content, which is kept where the verdict says; what is not `opened` goes to quarantine.

        Raises NotStored, and OSError where a disk is full.
        """
        verdict = remembered(self.store, received.sha256, self.pool.version) if opened else NOT_OPENED
        if verdict and self.store.exists(_kept(received.sha256, verdict)):
            return verdict
        _require_room(self.store, self.scratch, received.size)
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            copy = Path(folder) / "file"
            if _copy(received.path, copy) != received.sha256:
                raise NotStored(Code.CHANGED.because("the file was not the same when it was read again"))
            if verdict:
                self.store.put(_kept(received.sha256, verdict), copy)
                return verdict
            wanted = self.pool.beside is not None and self.pool.beside.is_missing(self.store, received.sha256)
            examined = self.pool.examine(copy, alone=not wanted)
            result = self.marks.read(examined.result)
            self.store.put(_kept(received.sha256, result), copy)
        if self.pool.beside and examined.beside and not result.reasons:
            self.pool.beside.keep(self.store, received.sha256, examined.beside)
        remember(self.store, received.sha256, self.pool.version, result)
        return result


def take_in(
    intake: Intake,
    items: Sequence[Mapping[str, Any]],
    entries: Mapping[str, Entry | None],
    say: Callable[[str], None] = lambda text: None,
) -> list[TakenIn]:
    """One row for every item of table `delivery_items`, in order.

    `entries` says where the bytes of an item are (by item id). Items refused before are kept, hashed and not opened.
    Content that was probed before is not decoded again. A file that cannot be read or for which there is no room costs
    nobody else anything. `say` hears from time to time how far it is.
    """
    received = {item["item_id"]: _receive(intake.store, entries.get(item["item_id"])) for item in items}
    wanted: dict[tuple[str, bool], Received] = {}  # by content, and whether it is opened
    for item in items:
        if isinstance(file := received[item["item_id"]], Received):
            wanted[file.sha256, not _refused_before(item, file)] = file
    results = _all_of(wanted, intake, Report(len(wanted), say))
    for key, result in results.items():  # one after the other there may be room
        if isinstance(result, str) and code_of(result) == Code.NO_ROOM:
            results[key] = _or_reason(intake, wanted[key], key[1])
    return [_taken_in(item, received[item["item_id"]], results, intake.pool.version) for item in items]


def _all_of(wanted: Mapping[tuple[str, bool], Received], intake: Intake, report: Report) -> Results:
    """What became of every content, as many at once as the pool has workers."""
    results: Results = {}
    with ThreadPoolExecutor(intake.pool.size) as threads:
        waiting = {threads.submit(_or_reason, intake, file, key[1]): key for key, file in wanted.items()}
        try:
            for done in as_completed(waiting):
                results[waiting[done]] = done.result()
                report()
        except BaseException:  # a cancelled run must not wait for the files that are being decoded
            intake.pool.close()
            threads.shutdown(cancel_futures=True)
            raise
    return results


def _or_reason(intake: Intake, received: Received, opened: bool) -> ProbeResult | str:
    """The verdict, or why the bytes could not be taken."""
    try:
        return intake.admit(received, opened)
    except NotStored as reason:
        return str(reason)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        return Code.NO_ROOM.because(f"the disk was full before all {received.size} bytes were taken")


def _refused_before(item: Mapping[str, Any], received: Received) -> list[str]:
    """Why a received file is not opened at all: what its delivery is refused for, or that it is another file."""
    declared = item["declared_sha256"]
    if item["state"] == "accepted" and declared and declared != received.sha256:
        return [Code.OTHER_BYTES.because(f"sha256 {received.sha256} arrived, {declared} is declared")]
    return list(item["reasons"])


def _receive(store: Store, entry: Entry | None) -> Received | str | None:
    """The bytes of an item, why they cannot be read, or None where no file came."""
    if entry is None or not entry.is_file:
        return None
    try:
        path = open_entry(store, entry)
        return Received(path, file_sha256(path), path.stat().st_size)
    except OSError as error:
        if error.errno in DISK_FULL:  # of the copy of what is in an object store
            return Code.NO_ROOM.because("the disk was full before the file was fetched")
        return Code.FILE_GONE.because(f"the file could not be read: {error.strerror or error}")


def _require_room(store: Store, scratch: Path, size: int) -> None:
    """Raises NotStored unless the working copy fits, and what a local store keeps, with some room left for the rest of
    the platform."""
    needed = dict.fromkeys([scratch], size)
    if isinstance(store, LocalStore):
        same = os.stat(store.root).st_dev == os.stat(scratch).st_dev
        needed |= {scratch: 2 * size} if same else {store.root: size}
    for folder, bytes_needed in needed.items():
        disk = shutil.disk_usage(folder)
        if bytes_needed + min(ROOM_LEFT, disk.total // 20) > disk.free:
            # without what is free now, which would make the same row another one at every look
            needs = f"the file has {size} bytes, and {bytes_needed} and some to spare are not free"
            raise NotStored(Code.NO_ROOM.because(needs))


def _kept(sha256: str, result: ProbeResult) -> str:
    return quarantine_key(sha256) if result.reasons else media_key(sha256, result.container)


def _copy(source: Path, target: Path) -> str:
    """Copy a file; the SHA-256 of the copy. Raises NotStored where the source cannot be read."""
    with target.open("wb") as out:
        for piece in _pieces(source):
            out.write(piece)
    return file_sha256(target)


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece
    except OSError as error:
        gone = f"the file could not be read again: {error.strerror or error}"
        raise NotStored(Code.FILE_GONE.because(gone)) from error


def _taken_in(item: Mapping[str, Any], received: Received | str | None, results: Results, version: str) -> TakenIn:
    row: dict[str, Any] = {
        "item_id": item["item_id"],
        "received_day": item["received_day"],
        "state": "quarantined",
        "size_bytes": 0,
        "notes": [],
        "probe_version": version,
    }
    if received is None:
        gone = Code.FILE_GONE.because("the file was not in the inbox any more")
        return TakenIn(row | {"reasons": list(item["reasons"]) or [gone]})
    if isinstance(received, str):
        return TakenIn(row | {"reasons": [*item["reasons"], received]})
    refused = _refused_before(item, received)
    result = results[received.sha256, not refused]
    if isinstance(result, str):  # its bytes are nowhere, so the row names none
        reasons = [*item["reasons"], result]
        return TakenIn(row | {"reasons": reasons, "size_bytes": received.size})
    row |= {"bytes_sha256": received.sha256, "size_bytes": received.size, "media_key": _kept(received.sha256, result)}
    if refused:
        return TakenIn(row | {"reasons": refused})
    row |= {name: getattr(result, name) for name in FACTS}
    row |= {
        "state": "quarantined" if result.reasons else "accepted",
        "reasons": list(result.reasons),
        "notes": [*result.notes, *_ending(item["file_name"], result.container)],
    }
    return TakenIn(row, result.thumbnails)


def _ending(name: str, container: str | None) -> list[str]:
    """A note where the delivered name ends as files of another kind do."""
    _, usual = ENDINGS.get(container or "", UNKNOWN_ENDING)
    if not usual or Path(name).suffix.lower().lstrip(".") in usual:
        return []
    return [Code.OTHER_EXTENSION.because(f"{printable(name)!r} holds {container}")]


def workroom(scratch: Path, day: str) -> Path:
    """An empty folder for the working copies of a day: what a killed run has left there is removed."""
    folder = scratch / day
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def lost(store: Store, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Item ids whose bytes were received and are not where their row says."""
    return [
        row["item_id"]
        for row in rows
        if row["bytes_sha256"] and not (row["media_key"] and store.exists(row["media_key"]))
    ]


def digest_of(*sha256s: str) -> str:
    """One data version out of several tables' digests."""
    return hashlib.sha256("\n".join(sha256s).encode()).hexdigest()
