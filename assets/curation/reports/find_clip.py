"""Which clip people mean: by the identity of a clip or an item, by the start of one, or by the name of a file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from assets.home import Home

Row = Mapping[str, Any]
SHORTEST = 4  # characters of an identity that may name a clip
CANDIDATES = 5


def find_shot(home: Home, name: str, shot_index: int | None = None) -> dict[str, Any]:
    """The row of `shots` that a clip's or an item's identity (or the start of one) or a file's name means.

    Where the same pictures came more than once, it is the original. Raises LookupError for none, and for several, with
    what it could be.
    """
    items = {row["item_id"]: row for row in home.lake.rows("delivery_items")}
    shots = home.lake.rows("shots")
    for test in (_is_called, _begins_with):
        found = [shot for shot in shots if test(shot, items.get(shot["item_id"], {}), name)]
        if found:
            break
    else:
        raise LookupError(_unknown(name, items, shots))
    wanted = [shot for shot in found if shot_index in (None, shot["shot_index"])]
    if not wanted:
        raise LookupError(f"{name!r} has shots {', '.join(str(s['shot_index']) for s in found)}, not {shot_index}")
    if len({shot["clip_id"] for shot in wanted}) > 1:
        raise LookupError(f"{name!r} could be {_listed(wanted, items)}; give more of it, or --shot")
    originals = {(row["clip_id"], row["item_id"]) for row in home.lake.rows("duplicates") if row["verdict"] == "pass"}
    return min(wanted, key=lambda shot: ((shot["clip_id"], shot["item_id"]) not in originals, shot["received_day"]))


def _is_called(shot: Row, item: Row, name: str) -> bool:
    file = item.get("file_name")
    return name in (shot["clip_id"], shot["item_id"], file, f"{item.get('delivery_id')}/{file}")


def _begins_with(shot: Row, item: Row, name: str) -> bool:
    return len(name) >= SHORTEST and (shot["clip_id"].startswith(name) or shot["item_id"].startswith(name))


def _unknown(name: str, items: Mapping[str, Row], shots: Sequence[Row]) -> str:
    for item in items.values():
        if name in (item["item_id"], item["file_name"]) and item["state"] != "accepted":
            return f"{name!r} was quarantined and has no clips: {'; '.join(item['reasons'])}"
    files = sorted({item["file_name"] for item in items.values()})
    if near := difflib.get_close_matches(name, files, 3):
        return f"no clip or file {name!r}; did you mean {', '.join(near)}?"
    return f"no clip or file {name!r}; there are " + (_listed(shots, items) if shots else "none yet")


def _listed(shots: Sequence[Row], items: Mapping[str, Row]) -> str:
    named = [
        f"{shot['clip_id'][:12]} (shot {shot['shot_index']} of {items.get(shot['item_id'], {}).get('file_name')})"
        for shot in shots[:CANDIDATES]
    ]
    more = len(shots) - CANDIDATES
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
