"""How far the intake of each day is, and what the next look at the inbox takes up.

A day's record is begun before anything of it is read, and finished after the last table of its intake is written. A run
that is killed, cancelled or out of disk leaves one that is not finished. The record also says what the inbox held, so
that a file which comes or changes later is noticed, and what could not be done then.

`recount` counts the inbox again, file by file, against what the tables say came of it: nothing may be lost.
"""

from __future__ import annotations

import functools
import hashlib
import json
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from assets.decode.probe_pool import MACHINE_MADE, ProbePool
from assets.home import Home
from assets.ingestion.deliveries import consent_digests
from assets.ingestion.inbox import MANIFEST, Entry, entries, fingerprint, list_deliveries, manifest_sha256, unregistered
from assets.ingestion.manifests import CONSENT_FOLDER
from assets.ingestion.origin import trusted_devices
from assets.reasons import TEMPORARY, Code, code_of, printable
from assets.signals.files import Measuring

RECORDS = "intake"
OURS = MACHINE_MADE | {Code.TIMEOUT}  # what the decoder failed at, perhaps not by the file's fault


@dataclass(frozen=True)
class Waiting:
    """A day with something to take in: `why` in sentences, `folders` by name; `content` stays while the same waits."""

    day: str
    folders: tuple[str, ...]
    why: tuple[str, ...]
    content: str


def begin(home: Home, day: str, run: str) -> None:
    """Note that `run` takes a day in, and what its deliveries hold."""
    seen = sorted({fingerprint(home.store, entry) for _, entry in _held(home, day)})
    _write(home, day, {"run": run, "finished": False, "seen": seen, "again": [], "unmeasured": []})


def finish(home: Home, day: str, run: str) -> None:
    """Note that all tables of the day are written, and what has to be done again; not where another run has begun since."""
    record = _read(home, day)
    if record is not None and record["run"] == run:
        held = list(_held(home, day))
        # what went away meanwhile is not waited for, and is noticed when it comes back
        seen = sorted({fingerprint(home.store, entry) for _, entry in held}.intersection(record["seen"]))
        again, unmeasured = _left_over(home, day, {printable(entry.name) for _, entry in held})
        done = {"finished": True, "seen": seen, "again": again, "unmeasured": unmeasured}
        _write(home, day, record | done | {"version": code_version(home)})


def _left_over(home: Home, day: str, held: Set[str]) -> tuple[list[str], list[str]]:
    """Files that the next look takes up, and those that the next version of the measuring code does; with the reason.

    `held` names the files that the inbox holds: one that is gone is not looked for again.
    """
    names = {row["item_id"]: row["file_name"] for row in home.lake.rows("delivery_items", day)}
    reasons = [
        (row["item_id"], reason)
        for row in home.lake.read("media", day, ["item_id", "reasons"]).to_pylist()
        for reason in row["reasons"]
        if code_of(reason) in TEMPORARY | OURS
        and (names.get(row["item_id"]) in held or code_of(reason) != Code.FILE_GONE)
    ]
    shots = home.lake.read("shots", day, ["item_id", "not_measured"]).to_pylist()
    reasons += [(row["item_id"], row["not_measured"]) for row in shots if row["not_measured"]]
    again: list[str] = []
    unmeasured: list[str] = []
    for item, reason in sorted(set(reasons)):
        (again if code_of(reason) in TEMPORARY else unmeasured).append(f"{reason} ({names.get(item, item)})")
    return again, unmeasured


def code_version(home: Home) -> str:
    """Names what decodes and measures as it is now."""
    return f"{ProbePool(anchors=trusted_devices(home)).version} {Measuring.of(home).version}"


def arrived_since(home: Home, day: str) -> Callable[[Entry], bool]:
    """Whether something in a folder of the day came or changed after its intake began; never, where none has."""
    record = _read(home, day)
    seen: Set[str] | None = frozenset(record["seen"]) if record else None
    return lambda entry: seen is not None and fingerprint(home.store, entry) not in seen


def waiting(home: Home) -> list[Waiting]:
    """Every day with something to take in, in order."""
    new: dict[str, list[str]] = defaultdict(list)
    for day, folder in unregistered(home):
        new[day].append(folder)
    records = {key.split("/")[-1].removesuffix(".json") for key in home.store.list(RECORDS)}
    version = functools.cache(lambda: code_version(home))  # reads the weights
    days = (_of_day(home, day, new[day], version) for day in sorted(records | set(new)))
    return [day_state for day_state in days if day_state.why]


def _of_day(home: Home, day: str, new: list[str], version: Callable[[], str]) -> Waiting:
    why = [f"{folder} is not registered yet" for folder in new]
    parts = [f"{folder} {manifest_sha256(home.store, day, folder)}" for folder in new]
    record, folders = _read(home, day), set(new)
    if record:
        seen, held = frozenset(record["seen"]), list(_held(home, day))
        for folder, entry in held:
            if folder not in new and (now := fingerprint(home.store, entry)) not in seen:
                why.append(f"{folder}/{entry.name} came or changed after the folder was taken in")
                parts.append(now)
                folders.add(folder)
        if not record["finished"]:
            why.append("its intake did not come to its end")
            parts.append("unfinished")
        why += record["again"]
        parts += map(code_of, record["again"])
        if record["unmeasured"] and record["version"] != (now := version()):
            why += [f"{item}: what measures has changed since" for item in record["unmeasured"]]
            parts.append(now)
    content = hashlib.sha256("\n".join(sorted(map(printable, parts))).encode()).hexdigest()[:16]
    return Waiting(day, tuple(sorted(folders)), tuple(map(printable, why)), content)


def _held(home: Home, day: str) -> Iterable[tuple[str, Entry]]:
    for _, folder in list_deliveries(home.store, day):
        for entry in entries(home.store, day, folder):
            yield folder, entry


def _key(day: str) -> str:
    return f"{RECORDS}/{day}.json"


def _read(home: Home, day: str) -> dict[str, Any] | None:
    return json.loads(home.store.get(_key(day))) if home.store.exists(_key(day)) else None


def _write(home: Home, day: str, record: dict[str, Any]) -> None:
    home.store.put(_key(day), json.dumps(record, sort_keys=True).encode())


# -- nothing lost ----------------------------------------------------------------------------------------------------


@dataclass
class Recount:
    """Files of a day's registered deliveries: received = accepted + quarantined, or `differences` say which is not.

    Manifests and the consent files whose events were taken are counted apart: they are papers, not footage.
    """

    received: int = 0
    accepted: int = 0
    quarantined: int = 0
    consent_files: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        return not self.differences and self.received == self.accepted + self.quarantined


def recount(home: Home, day: str, rows: Iterable[Mapping[str, Any]]) -> Recount:
    """Look for every file of the day in `rows`: items of the day with `delivery_id`, `file_name` and `state`.

    Folders that are not registered yet are left out, and so are files that came or changed after the intake of the day
    began: the next look takes them up.
    """
    deliveries = {row["folder"]: row["delivery_id"] for row in home.lake.rows("deliveries", day)}
    events = {(row["delivery_id"], row["event_sha256"]) for row in home.lake.rows("consent_submissions", day)}
    states: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        states.setdefault((row["delivery_id"], _plain(row["file_name"])), set()).add(row["state"])
    count, late = Recount(), arrived_since(home, day)
    for _, folder in list_deliveries(home.store, day):
        if (delivery := deliveries.get(printable(folder))) is None:
            continue
        for entry in entries(home.store, day, folder):
            if entry.name == MANIFEST or late(entry):
                continue
            state = states.get((delivery, _plain(printable(entry.name))))
            if state is None and _taken_as_consent(home, entry, delivery, events):
                count.consent_files += 1
                continue
            count.received += 1
            if state is None:
                count.differences.append(f"{printable(folder)}/{printable(entry.name)} is in no row")
            elif "accepted" in state:
                count.accepted += 1
            else:
                count.quarantined += 1
    return count


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _taken_as_consent(home: Home, entry: Entry, delivery: str, events: set[tuple[str, str]]) -> bool:
    if not entry.name.startswith(CONSENT_FOLDER):
        return False
    try:
        digests = consent_digests(home.store, entry)
    except (OSError, ValueError):
        return False
    return all((delivery, digest) in events for digest in digests)
