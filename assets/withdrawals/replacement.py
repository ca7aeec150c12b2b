"""Asking for footage in the place of what was withdrawn: one proposal a clip, in the words of its delivery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from assets.home import Home

DECLARED = (
    *("declared_subject", "declared_location", "declared_time_of_day", "declared_aspect_ratio"),
    "declared_duration_s",
)


def replace_clips(home: Home, items: Mapping[str, str], reasons: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Keep a proposal for every clip (`items`: its delivered item); a clip is asked for once. Their identities."""
    from assets.requests.store import propose

    table = home.lake.read("delivery_items", columns=["item_id", *DECLARED])
    wanted = pa.array(sorted(set(items.values())), pa.string())
    declared = {row["item_id"]: row for row in table.filter(pc.is_in(table["item_id"], wanted)).to_pylist()}
    proposals = [
        propose(
            home.database_url,
            origin="revocation_backfill",
            origin_ref=clip_id,
            text=request_line(declared.get(items[clip_id], {})),
            reason=f"clip {clip_id[:16]} left the training set: {', '.join(reasons[clip_id])}",
            target_units=1,
        )
        for clip_id in sorted(items)
    ]
    return [str(row["proposal_id"]) for row in proposals]


def request_line(item: Mapping[str, Any]) -> str:
    """A line that asks for what was declared of the lost footage."""
    subject, place = item.get("declared_subject") or "footage", item.get("declared_location")
    parts = [
        f"{subject} in {place}" if place else subject,
        item.get("declared_time_of_day"),
        item.get("declared_aspect_ratio"),
        f"{item['declared_duration_s']:g} seconds" if item.get("declared_duration_s") else None,
        "1 clip",
    ]
    return ", ".join(part for part in parts if part)
