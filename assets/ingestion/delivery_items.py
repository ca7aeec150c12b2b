"""The files of a delivery as items: those that its manifest declares, and those that nobody named.

Every file that came is a row, with every reason that speaks against it before it is opened.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assets.ingestion.inbox import Entry, open_entry
from assets.ingestion.manifests import unsafe_name
from assets.reasons import Code, printable
from assets.store import Store
from training.consent.canonical import file_sha256


@dataclass(frozen=True)
class Item:
    """One delivered file: its row, and where its bytes are (None where nothing readable was received)."""

    row: dict[str, Any]
    entry: Entry | None


def item_id(delivery_id: str, position: int) -> str:
    """The identity of a delivered file; its name plays no part."""
    return hashlib.sha256(f"rushes.item/1\n{delivery_id}\n{position}".encode()).hexdigest()[:32]


def declared_items(
    delivery: dict[str, Any], clips: list[dict[str, Any]], files: dict[str, Entry], stored: Mapping[str, Entry]
) -> list[Item]:
    """One item a clip of the manifest; takes the files that are named out of `files`.

    `stored` holds, by item, the bytes that were taken in before: a file that was cleared away since is read from there.
    """
    names = [clip["file"] for clip in clips]
    items, used = [], set()
    for position, clip in enumerate(clips):
        name, entry = clip["file"], None
        reasons = [Code.REPEATED_NAME.because(f"{name!r} is named more than once")] if names.count(name) > 1 else []
        if wrong := unsafe_name(name):
            reasons.append(Code.UNSAFE_NAME.because(wrong))
        elif not (same := _files_named(name, files)):
            entry = stored.get(item_id(delivery["delivery_id"], position))
            if entry is None:
                reasons.append(Code.MISSING_FILE.because(f"{name!r} is not in the delivery"))
        elif len(same) > 1:
            reasons.append(Code.AMBIGUOUS_NAME.because(f"{name!r} could be any of {len(same)} files"))
        elif same[0] not in used:
            used.add(same[0])
            entry = files[same[0]]
            if not entry.is_file:
                reasons.append(Code.NOT_A_FILE.because(f"{name!r} is a {entry.kind}"))
        elif not reasons:  # a file is received once, however often it is named
            reasons.append(Code.REPEATED_NAME.because(f"{name!r} is named by another spelling too"))
        items.append(_item(delivery, position, name, reasons, entry, clip))
    for taken in used:
        del files[taken]
    return items


def _files_named(name: str, files: dict[str, Entry]) -> list[str]:
    """Files that `name` can mean: the same letters may be composed in one place and decomposed in the other."""
    if name in files:
        return [name]
    form = unicodedata.normalize("NFC", name)
    return [other for other in files if unicodedata.normalize("NFC", other) == form]


def other_items(
    store: Store, delivery: dict[str, Any], declared: list[Item], files: dict[str, Entry], bad_papers: dict[str, str]
) -> list[Item]:
    """Files that no item took: quarantined, in the order of their content, so that names play no part."""
    ranked = sorted(((_content_rank(store, entry), name, entry) for name, entry in files.items()), key=lambda r: r[:2])
    clips = {_stem(item.entry.name): item.entry for item in declared if item.entry and item.entry.is_file}
    items = []
    for position, (_, name, entry) in enumerate(ranked, len(declared)):
        reasons = []
        if name in bad_papers:
            reasons.append(Code.CONSENT_UNREADABLE.because(f"{name!r}: {bad_papers[name]}"))
        elif delivery["state"] == "quarantined":
            reasons.append(Code.DELIVERY_QUARANTINED.because("the delivery's manifest was refused"))
        else:
            reasons.append(Code.NOT_IN_MANIFEST.because(f"no clip of the manifest names {name!r}"))
        if not entry.is_file:
            reasons.append(Code.NOT_A_FILE.because(f"{name!r} is a {entry.kind}"))
        elif name not in bad_papers and (wrong := unsafe_name(name)):
            reasons.append(Code.UNSAFE_NAME.because(wrong))
        if entry.is_file and (beside := clips.get(_stem(name))):
            reasons += _oversized(store, entry, beside)
        items.append(_item(delivery, position, name, reasons, entry, {}))
    return items


def _stem(name: str) -> str:
    """What a clip and the files that go with it share: all of the path but the ending."""
    folder, _, last = name.rpartition("/")
    return f"{folder}/{last.split('.')[0]}"


def _oversized(store: Store, sidecar: Entry, beside: Entry) -> list[str]:
    """Words about a film are shorter than the film: a longer file hides something else."""
    try:
        size, film = (open_entry(store, entry).stat().st_size for entry in (sidecar, beside))
    except (OSError, ValueError):
        return []
    detail = f"{sidecar.name!r} has {size} bytes, the clip {beside.name!r} beside it {film}"
    return [Code.SIDECAR_TOO_LARGE.because(detail)] if size > film else []


def _content_rank(store: Store, entry: Entry) -> str:
    try:
        return file_sha256(open_entry(store, entry))
    except (OSError, ValueError):
        return ""


def _item(
    delivery: dict[str, Any], position: int, name: str, reasons: list[str], entry: Entry | None, clip: dict[str, Any]
) -> Item:
    width, height = (int(side) for side in clip["resolution"].split("x")) if clip else (None, None)
    source = clip.get("source") or {}
    row = {
        "item_id": item_id(delivery["delivery_id"], position),
        "delivery_id": delivery["delivery_id"],
        "received_day": delivery["received_day"],
        "position": position,
        "file_name": printable(name),
        "contributor_id": delivery["contributor_id"],
        "request_id": delivery["request_id"],
        "declared_subject": clip.get("subject"),
        "declared_location": clip.get("location"),
        "declared_time_of_day": clip.get("time_of_day"),
        "declared_width": width,
        "declared_height": height,
        "declared_aspect_ratio": clip.get("aspect_ratio"),
        "declared_duration_s": float(clip["length_s"]) if clip else None,
        "declared_sha256": clip.get("sha256"),
        "captured_at": clip.get("captured_at"),
        "latitude": clip.get("latitude"),
        "longitude": clip.get("longitude"),
        "device": clip.get("device"),
        "persons_json": json.dumps(clip.get("persons", []), sort_keys=True, separators=(",", ":")),
        "properties_json": json.dumps(clip.get("properties", []), sort_keys=True, separators=(",", ":")),
        "source_name": source.get("name"),
        "source_licence": source.get("licence"),
        "state": "quarantined" if reasons else "accepted",
        "reasons": reasons,
    }
    return Item(row, entry)
