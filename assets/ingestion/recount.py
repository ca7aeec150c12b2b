"""Nothing lost: the inbox counted again, file by file, against what the tables say came of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from assets.home import Home
from assets.ingestion.deliveries import consent_digests
from assets.ingestion.inbox import MANIFEST, Entry, entries, list_deliveries
from assets.ingestion.manifests import CONSENT_FOLDER
from assets.ingestion.progress import arrived_since
from assets.reasons import printable


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
