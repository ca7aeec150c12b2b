"""Files taken in: from the inbox to their place by content, each with the facts of its full decode.

Accepted files go to `media/`, refused ones to `quarantine/`; the inbox itself is never changed. What is probed and
stored is a private copy whose digest was checked, so a file that changes under our hands cannot be two things at once.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from assets.ingestion.inbox import Entry, open_entry, sha256_of
from assets.ingestion.origin import MarkReader
from assets.ingestion.probe import ProbePool, remember, remembered
from assets.ingestion.reasons import Code, printable
from assets.ingestion.verdict import ProbeResult
from assets.store import Store
from assets.workers.executor import Report

# by container as demuxed, never by the delivered name: a name plays no part in where a file is kept
EXTENSIONS = {
    "mov,mp4,m4a,3gp,3g2,mj2": "mp4",
    "matroska,webm": "mkv",
    "avi": "avi",
    "mpeg": "mpg",
    "mpegts": "ts",
    "flv": "flv",
    "asf": "asf",
    "mxf": "mxf",
    "dv": "dv",
    "ogg": "ogv",
}
# how names of such files end; a name that ends otherwise is noted
SUFFIXES = {
    "mov,mp4,m4a,3gp,3g2,mj2": {"mp4", "mov", "m4v", "3gp", "3g2", "qt", "mj2"},
    "matroska,webm": {"mkv", "webm"},
    "avi": {"avi"},
    "mpeg": {"mpg", "mpeg", "vob", "m2p"},
    "mpegvideo": {"mpg", "mpeg", "m2v", "m1v"},
    "mpegts": {"ts", "mts", "m2ts"},
    "flv": {"flv"},
    "asf": {"asf", "wmv"},
    "mxf": {"mxf"},
    "dv": {"dv"},
    "ogg": {"ogv", "ogg"},
}
# columns of table `media` that a probe measures
BESIDES = ("reasons", "notes", "windows", "picture", "thumbnails", "frame_digests")
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


def media_key(sha256: str, container: str | None) -> str:
    return f"media/{sha256[:2]}/{sha256[2:4]}/{sha256}.{EXTENSIONS.get(container or '', 'bin')}"


def quarantine_key(sha256: str) -> str:
    return f"quarantine/{sha256[:2]}/{sha256}"


def take_in(
    store: Store,
    items: Sequence[Mapping[str, Any]],
    entries: Mapping[str, Entry | None],
    pool: ProbePool,
    scratch: Path,
    marks: MarkReader,
    say: Callable[[str], None] = lambda text: None,
) -> list[TakenIn]:
    """One row for every item of table `delivery_items`, in order.

    `entries` says where the bytes of an item are (by item id). Items refused before are kept, hashed and not opened.
    Content that was probed before is not decoded again. `say` hears from time to time how far it is.
    """
    received: dict[str, Received | str] = {item["item_id"]: _receive(store, entries, item) for item in items}
    to_probe = {
        found.sha256: found
        for item in items
        if isinstance(found := received[item["item_id"]], Received) and not _refused_before(item, found)
    }
    with ThreadPoolExecutor(pool.size) as threads:
        admit = partial(_admit, store, pool, scratch, marks)
        waiting = {threads.submit(admit, found): sha256 for sha256, found in to_probe.items()}
        results, report = {}, Report(len(waiting), say)
        try:
            for done in as_completed(waiting):
                results[waiting[done]] = done.result()
                report()
        except BaseException:  # a cancelled run must not wait for the files that are being decoded
            pool.close()
            threads.shutdown(cancel_futures=True)
            raise
    return [_taken_in(store, item, received[item["item_id"]], results, pool.version) for item in items]


def _refused_before(item: Mapping[str, Any], received: Received) -> list[str]:
    """Why a received file is not opened at all: what its delivery is refused for, or that it is another file."""
    declared = item["declared_sha256"]
    if item["state"] == "accepted" and declared and declared != received.sha256:
        return [Code.OTHER_BYTES.because(f"sha256 {received.sha256} arrived, {declared} is declared")]
    return list(item["reasons"])


def _receive(store: Store, entries: Mapping[str, Entry | None], item: Mapping[str, Any]) -> Received | str:
    """The item's bytes, or why there are none."""
    entry = entries.get(item["item_id"])
    if entry is None:
        return Code.FILE_GONE.because("the file was not in the inbox any more")
    try:
        path = open_entry(store, entry)
        return Received(path, sha256_of(path), path.stat().st_size)
    except OSError as error:
        return Code.FILE_GONE.because(f"the file could not be read: {error.strerror or error}")


def _admit(store: Store, pool: ProbePool, scratch: Path, marks: MarkReader, received: Received) -> ProbeResult:
    """The verdict on some content; afterwards it is kept where the verdict says."""
    known = remembered(store, received.sha256, pool.version)
    if known and store.exists(_kept(received.sha256, known)):
        return known
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        copy = Path(folder) / "file"
        if _copy(received.path, copy) != received.sha256:
            return ProbeResult.refused(Code.CHANGED, "the file was not the same when it was read again")
        if known:
            store.put(_kept(received.sha256, known), copy)
            return known
        wanted = pool.beside is not None and pool.beside.wanted(store, received.sha256)
        examined = pool.examine(copy, alone=not wanted)
        result = marks.read(examined.result)
        store.put(_kept(received.sha256, result), copy)
    if pool.beside and examined.beside and not result.reasons:
        pool.beside.keep(store, received.sha256, examined.beside)
    remember(store, received.sha256, pool.version, result)
    return result


def _kept(sha256: str, result: ProbeResult) -> str:
    return quarantine_key(sha256) if result.reasons else media_key(sha256, result.container)


def _copy(source: Path, target: Path) -> str:
    """Copy a file; the SHA-256 of the copy."""
    with source.open("rb") as file, target.open("wb") as out:
        shutil.copyfileobj(file, out, 1 << 20)
    return sha256_of(target)


def _taken_in(
    store: Store,
    item: Mapping[str, Any],
    received: Received | str,
    results: Mapping[str, ProbeResult],
    version: str,
) -> TakenIn:
    row: dict[str, Any] = {
        "item_id": item["item_id"],
        "received_day": item["received_day"],
        "size_bytes": 0,
        "notes": [],
        "probe_version": version,
    }
    if isinstance(received, str):
        return TakenIn(row | {"state": "quarantined", "reasons": list(item["reasons"]) or [received]})
    row |= {"bytes_sha256": received.sha256, "size_bytes": received.size}
    if refused := _refused_before(item, received):
        key = quarantine_key(received.sha256)
        if not store.exists(key):
            store.put(key, received.path)
        return TakenIn(row | {"state": "quarantined", "reasons": refused, "media_key": key})
    result = results[received.sha256]
    row |= {name: getattr(result, name) for name in FACTS}
    row |= {
        "state": "quarantined" if result.reasons else "accepted",
        "reasons": list(result.reasons),
        "notes": [*result.notes, *_ending(item["file_name"], result.container)],
        "media_key": _kept(received.sha256, result),
    }
    return TakenIn(row, result.thumbnails)


def _ending(name: str, container: str | None) -> list[str]:
    """A note where the delivered name ends as files of another kind do."""
    suffix, usual = Path(name).suffix.lower().lstrip("."), SUFFIXES.get(container or "")
    if usual is None or suffix in usual:
        return []
    return [Code.OTHER_EXTENSION.because(f"{printable(name)!r} holds {container}")]


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
