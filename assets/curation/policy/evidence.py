"""What the lake knows of the clips of a day, as `verdicts.decide` takes it. Stored rows only: nothing is decoded here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from assets.curation.policy.verdicts import Evidence
from assets.home import Home
from assets.tables import TABLES

Row = Mapping[str, Any]
Key = tuple[str, int]

# the longest columns of `signals` by far: no check asks for them, and a replay of a corpus would only read them
UNASKED = frozenset({"frame_phashes", "faces_json"})


def by_clip(rows: Sequence[Row]) -> dict[Key, Row]:
    """Rows of a day by (item_id, shot_index)."""
    return {(row["item_id"], row["shot_index"]): row for row in rows}


def rows_by_clip(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """The same for tables with several rows a clip; none is an empty list."""
    found: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["item_id"], row["shot_index"]].append(row)
    return found


def read_evidence(home: Home, day: str) -> Iterator[Evidence]:
    """The evidence on every clip of a day, in the order of table `shots`."""
    items = {row["item_id"]: row for row in home.lake.rows("delivery_items", day)}
    media = {row["item_id"]: row for row in home.lake.rows("media", day)}
    asked = [column.name for column in TABLES["signals"].columns if column.name not in UNASKED]
    measured = by_clip(home.lake.read("signals", day, asked).to_pylist())
    siblings: dict[str, list[Row]] = defaultdict(list)
    for (item_id, _), row in measured.items():
        siblings[item_id].append(row)
    seen = rows_by_clip(home.lake.rows("visual_captions", day))
    for shot in home.lake.rows("shots", day):
        yield Evidence(
            shot=shot,
            item=items[shot["item_id"]],
            media=media[shot["item_id"]],
            signals=measured.get((shot["item_id"], shot["shot_index"])),
            siblings=siblings[shot["item_id"]],
            seen=seen[shot["item_id"], shot["shot_index"]],
        )
