"""Whether a declared place can be true: the file's own position against the declared place and the declared position.

What belongs here: the judgement, each with both values and the distance between them. Two declarations that contradict
each other are a mismatch as well; two that agree prove nothing, so without a position of the file's own nothing passes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from assets.curation.policy.gazetteer import Place, gazetteer, nearest
from assets.curation.policy.geolocation import Position, distance_km, read_position

Row = Mapping[str, Any]
Found = tuple[str, str | None, str | None, str]  # verdict, value, threshold, detail


def location(item: Row, own_position: str | None, allowed_km: float) -> Found:
    """`own_position` is what the file's metadata says, as worded there."""
    place, declared = (item["declared_location"] or "").strip(), _declared_position(item)
    own = read_position(own_position)
    threshold = place or (str(declared) if declared else None)
    away, said = _compared(place, declared, own or declared, "file's" if own else "declared", own is not None)
    if own is None:
        said.append(
            f"the file's position {own_position!r} is not understood"
            if own_position
            else "the file carries no position"
        )
    detail = "; ".join(said)
    value = f"{max(away):.0f} km" if away else None
    if away and max(away) > allowed_km:
        return "fail", value, threshold, f"{detail}; {allowed_km:g} km allowed"
    if own is None or not away:
        return "unmeasurable", value, threshold, detail
    return "pass", value, threshold, detail


def _compared(
    place: str, declared: Position | None, position: Position | None, whose: str, own: bool
) -> tuple[list[float], list[str]]:
    """Distances in km between what is declared and a position, and what to say about each."""
    away, said = [], []
    if not place:
        said.append("no place is declared")
    elif position is None:
        said.append(f"{place} declared")
    elif found := _nearest(place, position):
        candidate, distance = found
        known = f"{candidate.name}, {candidate.country}"
        if candidate.kind == "city":
            known += f" at {candidate.position}"
        away.append(distance)
        said.append(f"{place} declared ({known}); the {whose} position {position} is {distance:.0f} km away")
    else:
        said.append(f"{place} declared, which the gazetteer does not know")
    if own and declared is not None and position is not None:
        away.append(distance := distance_km(declared, position))
        said.append(f"{declared} declared; the file's position {position} is {distance:.0f} km away")
    return away, said


@functools.lru_cache(maxsize=1 << 16)  # the clips of a file, and those of a day, share places
def _nearest(place: str, position: Position) -> tuple[Place, float] | None:
    candidates = gazetteer().find(place)
    return nearest(candidates, position) if candidates else None


def _declared_position(item: Row) -> Position | None:
    latitude, longitude = item["latitude"], item["longitude"]
    if latitude is None or longitude is None or not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return Position(latitude, longitude)
