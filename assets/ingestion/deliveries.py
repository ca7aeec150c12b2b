"""Delivery folders turned into rows: what was declared, what came, and what is refused before any video is opened.

A broken delivery gives rows with all its reasons, never an exception, and never touches its neighbours. Every file
that came is a row, also those that no manifest names. The manifest's own rules are in `manifests`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from assets.ingestion.delivery_items import Item, declared_items, other_items
from assets.ingestion.inbox import MANIFEST, Entry, entries, list_deliveries, open_entry, unfinished
from assets.ingestion.manifests import (
    CONSENT_FOLDER,
    MAX_MANIFEST_BYTES,
    NotJson,
    is_unicode,
    manifest_reasons,
    strict_json,
    strings,
)
from assets.lake import Lake
from assets.reasons import Code, printable
from assets.store import Store
from training.consent.canonical import file_sha256


@dataclass
class Delivery:
    """One delivery folder as read: rows for tables `deliveries`, `delivery_items` and `consent_submissions`."""

    row: dict[str, Any]
    items: list[Item] = field(default_factory=list)
    consents: list[dict[str, Any]] = field(default_factory=list)
    received_claim: str | None = None  # `received_at` as claimed, where it is not on the folder's day


@dataclass(frozen=True)
class Day:
    """Everything that arrived on a day. `unfinished` names what is not a delivery yet."""

    deliveries: list[Delivery]
    unfinished: list[str]

    @property
    def items(self) -> list[Item]:
        return [item for delivery in self.deliveries for item in delivery.items]


STAND_IN = "unidentified-"  # begins the identity of a delivery whose own cannot be used


def read_delivery(
    store: Store,
    day: str,
    folder: str,
    taken: Set[str] = frozenset(),
    stored: Mapping[str, Entry] = MappingProxyType({}),
) -> Delivery:
    """One delivery folder as rows. `taken` holds the delivery ids of other deliveries, which cannot be used again;
    `stored` is what `taken_before` gives."""
    files = {entry.name: entry for entry in entries(store, day, folder)}
    document, digest, reasons = _read_manifest(store, files.pop(MANIFEST, None))
    named = document if isinstance(document, dict) else {}
    if not reasons:
        reasons = manifest_reasons(document)
    if not reasons and named["delivery_id"] in taken:
        reasons = [Code.MANIFEST_DUPLICATE_ID.because(f"{named['delivery_id']} was delivered before")]
    elif not reasons and named["delivery_id"].startswith(STAND_IN):
        reasons = [
            Code.MANIFEST_DUPLICATE_ID.because(f"names that begin with {STAND_IN!r} are not given by contributors")
        ]
    valid = not reasons
    received_at, claim = _received_at(named.get("received_at") if valid else None, day)
    clips = named.get("clips")
    delivery = Delivery(
        row={
            # an unusable identity is replaced by one that nobody can choose
            "delivery_id": named["delivery_id"] if valid else _stand_in(day, folder, digest),
            "received_day": day,
            "received_at": received_at,
            "folder": printable(folder),
            "contributor_id": named["contributor_id"] if valid else None,
            "request_id": named.get("request_id") if valid else None,
            "manifest_sha256": digest,
            "items_declared": len(clips) if isinstance(clips, list) else 0,
            "state": "accepted" if valid else "quarantined",
            "reasons": reasons,
        },
        received_claim=claim,
    )
    bad_papers = _take_consents(store, delivery, files)
    declared = declared_items(delivery.row, clips, files, stored) if valid and isinstance(clips, list) else []
    delivery.items = declared + other_items(store, delivery.row, declared, files, bad_papers)
    return delivery


def read_day(store: Store, lake: Lake, day: str) -> Day:
    """Every delivery of a day. Where two deliveries claim one id, the registered one has it, whatever is put before it
    afterwards; among new ones the first by day and folder, so that the order of materialising days plays no part.

    What was taken in stays, also where somebody cleared the inbox since: a folder as its rows say, a file by its bytes
    in the store."""
    registered = {(r["received_day"], r["folder"]): r["delivery_id"] for r in lake.rows("deliveries")}
    holders = {registered[where]: where for where in sorted(registered, reverse=True)}
    taken = set(holders)
    stored = taken_before(store, lake, day)
    deliveries = []
    for received, folder in list_deliveries(store):
        if received > day:
            break
        where = received, printable(folder)
        if received < day and where in registered:
            continue
        if holders.get(own := registered.get(where, "")) == where:
            taken.discard(own)
        delivery = read_delivery(store, received, folder, taken, stored if received == day else {})
        taken.add(delivery.row["delivery_id"])
        if received == day:
            deliveries.append(delivery)
    there = {delivery.row["folder"] for delivery in deliveries}
    deliveries += [
        _cleared_away(lake, row, stored) for row in lake.rows("deliveries", day) if row["folder"] not in there
    ]
    return Day(deliveries, unfinished(store, day))


def taken_before(store: Store, lake: Lake, day: str) -> dict[str, Entry]:
    """Where the store holds the files of the day that were taken in, by item."""
    names = {row["item_id"]: row["file_name"] for row in lake.rows("delivery_items", day)}
    rows = lake.read("media", day, ["item_id", "media_key"]).to_pylist()
    return {
        row["item_id"]: Entry(names[row["item_id"]], row["media_key"], "file")
        for row in rows
        if row["media_key"] and row["item_id"] in names and store.exists(row["media_key"])
    }


def _cleared_away(lake: Lake, row: dict[str, Any], stored: Mapping[str, Entry]) -> Delivery:
    """A delivery whose folder is gone."""
    own, day = row["delivery_id"], row["received_day"]
    items = [stored_row for stored_row in lake.rows("delivery_items", day) if stored_row["delivery_id"] == own]
    consents = [stored_row for stored_row in lake.rows("consent_submissions", day) if stored_row["delivery_id"] == own]
    return Delivery(row, [Item(stored_row, stored.get(stored_row["item_id"])) for stored_row in items], consents)


def _read_manifest(store: Store, entry: Entry | None) -> tuple[Any, str, list[str]]:
    """(document, SHA-256 of its bytes, reasons); the document is None where there are reasons."""
    nothing = hashlib.sha256(b"").hexdigest()
    if entry is None or not entry.is_file:
        kind = entry.kind if entry else "folder"
        return None, nothing, [Code.MANIFEST_NOT_A_FILE.because(f"{MANIFEST} is a {kind}, not a file")]
    try:
        path = open_entry(store, entry)
        digest, size = file_sha256(path), path.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            detail = f"{size} bytes; at most {MAX_MANIFEST_BYTES} are read"
            return None, digest, [Code.MANIFEST_TOO_LARGE.because(detail)]
        return strict_json(path.read_bytes()), digest, []
    except NotJson as error:
        return None, digest, [Code.MANIFEST_NOT_JSON.because(str(error))]
    except OSError as error:
        return (
            None,
            nothing,
            [Code.MANIFEST_NOT_A_FILE.because(f"{MANIFEST} cannot be read: {error.strerror or error}")],
        )


def _stand_in(day: str, folder: str, digest: str) -> str:
    name = json.dumps([day, folder, digest])  # escapes what is not valid Unicode
    return STAND_IN + hashlib.sha256(name.encode()).hexdigest()[:16]


def _received_at(claimed: str | None, day: str) -> tuple[str, str | None]:
    """(time of arrival, the claim where it is not believed).

    A time on another day than the folder's is not believed; the day's last second stands in, so that a wrong claim
    never makes anyone's footage the earlier one.
    """
    if claimed is not None and claimed.startswith(day):
        return claimed, None
    return f"{day}T23:59:59Z", claimed


def _take_consents(store: Store, delivery: Delivery, files: dict[str, Entry]) -> dict[str, str]:
    """Move consent/*.json out of `files` into the delivery; returns {name: what is wrong} of those that stay."""
    bad: dict[str, str] = {}
    seen: set[str] = set()
    for name in [name for name in files if name.startswith(CONSENT_FOLDER) and name.endswith(".json")]:
        try:
            envelopes = _envelopes(open_entry(store, files[name]))
        except (NotJson, OSError) as error:
            bad[name] = str(error)
            continue
        del files[name]
        for text in envelopes:
            if (digest := hashlib.sha256(text.encode()).hexdigest()) not in seen:
                seen.add(digest)
                delivery.consents.append(
                    {
                        "delivery_id": delivery.row["delivery_id"],
                        "received_day": delivery.row["received_day"],
                        "event_sha256": digest,
                        "envelope_json": text,
                    }
                )
    return bad


def consent_digests(store: Store, entry: Entry) -> list[str]:
    """SHA-256 of every envelope in a consent file. Raises NotJson or OSError where it cannot be read."""
    return [hashlib.sha256(text.encode()).hexdigest() for text in _envelopes(open_entry(store, entry))]


def _envelopes(path: Path) -> list[str]:
    """The signed envelopes of a consent file (a list, or one alone), as JSON texts. Raises NotJson."""
    if (size := path.stat().st_size) > MAX_MANIFEST_BYTES:
        raise NotJson(f"{size} bytes; at most {MAX_MANIFEST_BYTES} are read")
    document = strict_json(path.read_bytes())
    envelopes = document if isinstance(document, list) else [document]
    if not all(isinstance(envelope, dict) for envelope in envelopes):
        raise NotJson("a consent file holds a list of signed envelopes")
    if not all(is_unicode(text) for _, text in strings(document)):
        raise NotJson("a text in it is not valid Unicode")
    return [json.dumps(envelope, ensure_ascii=False, separators=(",", ":")) for envelope in envelopes]
