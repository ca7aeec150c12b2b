"""The inbox: `inbox/<YYYY-MM-DD>/<folder>/`, where deliveries arrive. Moves and lists files, judges none.

A folder is a delivery once its `delivery.json` is there: whoever delivers writes that file last, so an unfinished copy
is invisible. Names that start with a dot are private and play no part. Links are seen but never followed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from assets.home import Home
from assets.reasons import printable
from assets.store import LocalStore, Store, safe_key
from training.consent.canonical import file_sha256

INBOX = "inbox"
MANIFEST = "delivery.json"
SETTLED_S = 2.0  # a folder dropped by hand is complete when nothing in it changed for this long
Kind = Literal["file", "link", "special", "unreadable"]


class DeliveryError(ValueError):
    """A folder that cannot be delivered; the message says why and what to do."""


@dataclass(frozen=True)
class Entry:
    """Something in a delivery folder. `name` is its path within the folder; `kind` says whether it may be read; `stamp`
    is what an object store says of its content."""

    name: str
    key: str
    kind: Kind
    stamp: str = ""

    @property
    def is_file(self) -> bool:
        return self.kind == "file"


@dataclass(frozen=True)
class Delivered:
    """Where `deliver` put a folder; `already` when the same content was there before."""

    day: str
    folder: str
    files: int
    already: bool

    def __str__(self) -> str:
        return f"{INBOX}/{self.day}/{self.folder}"


def is_day(name: str) -> bool:
    """Whether `name` is a real date written YYYY-MM-DD."""
    try:
        return bool(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", name)) and bool(dt.date.fromisoformat(name))
    except ValueError:
        return False


def list_deliveries(store: Store, day: str | None = None) -> list[tuple[str, str]]:
    """(day, folder) of every complete delivery in order, of one day where that is asked."""
    deliveries = set()
    if isinstance(store, LocalStore):
        # not Store.list: that would walk every file of every delivery, and overlook links
        days = [day] if day is not None else os.listdir(store.root / INBOX) if (store.root / INBOX).is_dir() else []
        for day_name in filter(is_day, days):
            for folder in _folders(store.root / INBOX / day_name):
                if os.path.lexists(folder / MANIFEST):
                    deliveries.add((day_name, folder.name))
        return sorted(deliveries)
    for key in store.list(f"{INBOX}/{day}" if day is not None else INBOX):
        parts = key.split("/")
        if len(parts) == 4 and parts[3] == MANIFEST and is_day(parts[1]):
            deliveries.add((parts[1], parts[2]))
    return sorted(deliveries)


def unfinished(store: Store, day: str) -> list[str]:
    """Names below a day that are not a delivery yet: folders without a manifest, loose files, links."""
    return sorted(_names(store, INBOX, day) - {folder for _, folder in list_deliveries(store, day)})


def entries(store: Store, day: str, folder: str) -> list[Entry]:
    """Everything in a delivery folder and its sub-folders, by name; the manifest too."""
    prefix = f"{INBOX}/{day}/{folder}/"
    if isinstance(store, LocalStore):
        listed = [Entry(name, prefix + name, kind) for name, kind in _walk(store.root / INBOX / day / folder)]
    else:
        stamped = store.stamped(prefix.rstrip("/"))
        listed = [Entry(key.removeprefix(prefix), key, _kind_of_key(key), stamp) for key, stamp in stamped]
    return sorted(listed, key=lambda entry: entry.name)


def open_entry(store: Store, entry: Entry) -> Path:
    """A local file with the content of a readable entry. Raises FileNotFoundError when it has gone."""
    if not entry.is_file:
        raise FileNotFoundError(f"{entry.name!r} is a {entry.kind}, not a file")
    if not isinstance(store, LocalStore):
        return store.fetch(entry.key)
    path = store.root / entry.key
    if not stat.S_ISREG(path.lstat().st_mode):
        raise FileNotFoundError(f"{entry.name!r} is no longer a file")
    return path


def fingerprint(store: Store, entry: Entry) -> str:
    """What an entry looks like from outside: changes when it is written, exchanged or made readable."""
    looks = f"{entry.key}\n{entry.kind}" + (f"\n{entry.stamp}" if entry.stamp else "")
    if isinstance(store, LocalStore):
        try:
            status = (store.root / entry.key).lstat()
            looks += f"\n{status.st_size} {status.st_mtime_ns} {status.st_mode} {status.st_uid} {status.st_gid}"
        except OSError:
            looks += "\ngone"
    return hashlib.sha256(looks.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def manifest_sha256(store: Store, day: str, folder: str) -> str:
    """SHA-256 of delivery.json as received; of no bytes where it cannot be read."""
    entry = Entry(MANIFEST, f"{INBOX}/{day}/{folder}/{MANIFEST}", "file")
    try:
        return file_sha256(open_entry(store, entry))
    except (OSError, ValueError):
        return hashlib.sha256(b"").hexdigest()


def unregistered(home: Home) -> list[tuple[str, str]]:
    """(day, folder) of deliveries whose manifest, as it is now, is not in table `deliveries`."""
    registered = {(r["received_day"], r["folder"], r["manifest_sha256"]) for r in home.lake.rows("deliveries")}
    return [
        (day, folder)
        for day, folder in list_deliveries(home.store)
        if (day, printable(folder), manifest_sha256(home.store, day, folder)) not in registered
    ]


def deliver(folder: Path, home: Home, day: str | None = None) -> Delivered:
    """Copy a prepared folder into the inbox of `day` (default: today), the manifest last.

    Delivering the same content twice on a day is harmless. Raises DeliveryError for a folder without a manifest, and
    for one that holds links or special files, whose content would be copied from elsewhere.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise DeliveryError(f"{folder} holds no {MANIFEST}; write one first (assets/ingestion/delivery.schema.json)")
    names = []
    for name, kind in _walk(folder):
        if kind != "file":
            raise DeliveryError(f"{folder / name} is a {kind}; deliver the file itself")
        try:
            names.append(safe_key(name))
        except ValueError as error:
            raise DeliveryError(f"{name!r} cannot be delivered under that name: {error}") from error
    day = day or dt.datetime.now(dt.UTC).date().isoformat()
    if not is_day(day):
        raise DeliveryError(f"{day!r} is not a day; write it as YYYY-MM-DD")
    digest = hashlib.sha256("".join(f"{file_sha256(folder / n)} {n}\n" for n in sorted(names)).encode())
    target = (
        f"{re.sub(r'[^A-Za-z0-9._-]+', '-', folder.resolve().name).strip('.-') or 'delivery'}-{digest.hexdigest()[:8]}"
    )
    key = f"{INBOX}/{day}/{target}"
    already = home.store.exists(f"{key}/{MANIFEST}")
    if not already:
        for name in sorted(names, key=lambda name: (name == MANIFEST, name)):
            home.store.put(f"{key}/{name}", folder / name)
    return Delivered(day, target, len(names), already)


def adopt_loose_folders(home: Home, today: str, settled_s: float = SETTLED_S) -> list[str]:
    """Move delivery folders that were dropped straight into `inbox/` under `today`; the names they got.

    A local folder is left alone until nothing in it has changed for `settled_s`: it may still be being copied.
    """
    if isinstance(home.store, LocalStore):
        return _adopt_local(home.store.root / INBOX, today, settled_s)
    return _adopt_remote(home.store, today)


def _adopt_local(inbox: Path, today: str, settled_s: float) -> list[str]:
    adopted = []
    for folder in _folders(inbox):
        # one that cannot be read or moved stays, and stops no other; somebody else may have moved it just now
        with contextlib.suppress(OSError):
            if is_day(folder.name) or not (folder / MANIFEST).is_file():
                continue
            if time.time() - _last_change(folder) < settled_s:
                continue
            target = _free_name(inbox / today / folder.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
            adopted.append(target.name)
    return adopted


def loose(store: Store) -> list[str]:
    """Names straight below `inbox/` that are not a day: dropped there and not adopted, because the manifest is missing or
    the folder is still being copied."""
    return sorted(name for name in _names(store, INBOX) if not is_day(name))


def _names(store: Store, *parts: str) -> set[str]:
    """Names straight below a folder; those that start with a dot are private."""
    if isinstance(store, LocalStore):
        base = store.root.joinpath(*parts)
        return {name for name in os.listdir(base) if not name.startswith(".")} if base.is_dir() else set()
    return {key.split("/")[len(parts)] for key in store.list("/".join(parts))}


def _last_change(folder: Path) -> float:
    """When anything in the folder changed, in seconds since the epoch; now, where it changes as we look."""
    try:
        return max(path.lstat().st_ctime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()


def _free_name(target: Path) -> Path:
    number, candidate = 2, target
    while os.path.lexists(candidate):
        candidate, number = target.with_name(f"{target.name}-{number}"), number + 1
    return candidate


def _adopt_remote(store: Store, today: str) -> list[str]:
    """Copy, manifest last, then delete, manifest first: a crash in between leaves nothing lost or seen twice."""
    loose: dict[str, list[str]] = {}
    for key in store.list(INBOX):
        parts = key.split("/", 2)
        if len(parts) == 3 and not is_day(parts[1]) and _kind_of_key(key) == "file":
            loose.setdefault(parts[1], []).append(parts[2])
    adopted = []
    for folder, names in sorted(loose.items()):
        # one that cannot be read stays, and stops no other
        with contextlib.suppress(OSError):
            if MANIFEST not in names:
                continue
            manifest = store.get(f"{INBOX}/{folder}/{MANIFEST}")
            target = f"{folder}-{hashlib.sha256(manifest).hexdigest()[:8]}"
            for name in sorted(names, key=lambda name: (name == MANIFEST, name)):
                store.put(f"{INBOX}/{today}/{target}/{name}", store.fetch(f"{INBOX}/{folder}/{name}"))
            for name in sorted(names, key=lambda name: (name != MANIFEST, name)):
                store.delete(f"{INBOX}/{folder}/{name}")
            adopted.append(target)
    return adopted


def _folders(base: Path) -> Iterator[Path]:
    """Real folders below `base`, by name."""
    if base.is_dir():
        with os.scandir(base) as listing:
            names = sorted(e.name for e in listing if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
        yield from (base / name for name in names)


def _walk(base: Path) -> Iterator[tuple[str, Kind]]:
    """(path within `base`, kind) of everything but folders, and of folders that cannot be listed."""
    waiting = [PurePosixPath()]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(base / below) as listing:
                children = [child for child in listing if not child.name.startswith(".")]
        except OSError:
            yield str(below), "unreadable"
            continue
        for child in children:
            if child.is_symlink():
                yield str(below / child.name), "link"
            elif child.is_dir(follow_symlinks=False):
                waiting.append(below / child.name)
            else:
                yield str(below / child.name), "file" if child.is_file(follow_symlinks=False) else "special"


def _kind_of_key(key: str) -> Kind:
    """An object store takes any name; one that `safe_key` refuses cannot be fetched."""
    try:
        safe_key(key)
    except ValueError:
        return "unreadable"
    return "file"
