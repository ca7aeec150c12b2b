"""Every clip of the lake as the comparison for duplicates takes it, read day by day.

What belongs here: joining tables. A clip whose hashes are missing, or of an older version of the pass, has none: it is
told apart from others by its frames alone and stays unresolved until its day is measured again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assets.curation.dedup.groups import Clip, Found, find_duplicates, known_from
from assets.curation.dedup.ownership import Key, standings
from assets.home import Home
from assets.signals.phash import StaleHash, pack

_SHOT = ["clip_id", "item_id", "shot_index", "bytes_sha256"]


def resolve(home: Home) -> Found:
    """Compare what is new with everything, and write tables `duplicates` and `near_pairs`."""
    known = known_from(home.lake.rows("duplicates"), home.lake.rows("near_pairs"))
    found = find_duplicates(clips(home), known)
    home.lake.write("near_pairs", found.pairs)
    return found


def clips(home: Home) -> Iterator[Clip]:
    """Every clip, with its place in the order of arrival and how far its owner's claim was verified."""
    arrived = {
        row["delivery_id"]: row["received_at"] for row in _rows(home, "deliveries", "delivery_id", "received_at")
    }
    standing = standings(  # once: who signed for what is read from the whole ledger
        _rows(home, "shots", *_SHOT),
        _rows(home, "delivery_items", "item_id", "contributor_id", "state"),
        _rows(home, "media", "item_id", "frames_sha256", "state"),
        home.lake.rows("consent_events"),
        home.lake.rows("reviews"),
    )
    for day in home.lake.partitions("shots"):
        shots = _rows(home, "shots", *_SHOT, day=day)
        items = home.lake.rows("delivery_items", day)
        hashes = dict(_hashes(home, day))
        of_item = {row["item_id"]: row for row in items}
        for shot in shots:
            key, item = _key(shot), of_item[shot["item_id"]]
            yield Clip(
                *key,
                contributor_id=item["contributor_id"],
                order=(item["received_day"], arrived[item["delivery_id"]], item["delivery_id"], item["position"]),
                hashes=hashes.get(key),
                standing=standing[key],
            )


def _hashes(home: Home, day: str) -> Iterator[tuple[Key, bytes]]:
    for row in _rows(home, "signals", *_SHOT[:3], "frame_phashes", day=day):
        try:
            yield _key(row), pack(row["frame_phashes"])
        except StaleHash:
            continue


def _key(row: dict[str, Any]) -> Key:
    return row["clip_id"], row["item_id"], row["shot_index"]


def _rows(home: Home, table: str, *columns: str, day: str | None = None) -> list[dict[str, Any]]:
    return home.lake.read(table, day, list(columns)).to_pylist()
