"""Whether a clip can have been taken where it was declared, by the position that its file names.

Positions are read as containers write them (ISO 6709) and compared with the gazetteer's places.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from assets.curation.policy.gazetteer import Place, Position, distance_km, gazetteer, nearest

LONGEST = 120  # characters; a longer text is no position
_COMPACT = re.compile(
    r"(?P<lat>[+-]\d{1,6}(?:[.,]\d+)?)(?P<lon>[+-]\d{1,7}(?:[.,]\d+)?)(?P<alt>[+-]\d+(?:[.,]\d+)?)?"
    r"(?:CRS(?P<crs>[^/]*))?/?"
)
_SIDE = (
    r"(\d{1,3}(?:[.,]\d+)?)\s*°\s*(?:(\d{1,2}(?:[.,]\d+)?)\s*[′'’]\s*)?(?:(\d{1,2}(?:[.,]\d+)?)\s*(?:″|\"|”|'')\s*)?"
)
_FOR_PEOPLE = re.compile(rf"{_SIDE}([NS])[\s,]*{_SIDE}([EW])(?:[\s,]*(-?\d+(?:[.,]\d+)?)\s*m)?", re.IGNORECASE)
_WGS84 = re.compile(r"(?i)wgs[_ ]?84(?:[_ ]?g?3?d?)?|epsg:+(?:4326|4979)|")  # an empty one means the same


def read_position(text: str | None) -> Position | None:
    """The position in ISO 6709; None where the text is none that is understood.

    Exactly 0, 0 is what devices write that do not know where they are: None. So is another reference system.
    """
    words = (text or "").strip().replace("\u2212", "-")
    if not words.isprintable() or len(words) > LONGEST:
        return None
    position = _compact(words) or _for_people(words)
    if position is None or not (abs(position.latitude) <= 90 and abs(position.longitude) <= 180):
        return None
    return position if (position.latitude, position.longitude) != (0.0, 0.0) else None


def _compact(words: str) -> Position | None:
    match = _COMPACT.fullmatch(words)
    if match is None or not _WGS84.fullmatch((match["crs"] or "").strip()):
        return None
    latitude, longitude = _degrees(match["lat"], 2), _degrees(match["lon"], 3)
    if latitude is None or longitude is None:
        return None
    return Position(latitude, longitude, _number(match["alt"]) if match["alt"] else None)


def _degrees(written: str, digits: int) -> float | None:
    """`±DD.D`, `±DDMM.M` or `±DDMMSS.S` as degrees; `digits` is how many the degrees take, fewer before a point alone."""
    whole, _, fraction = written[1:].replace(",", ".").partition(".")
    if len(whole) <= digits:
        parts = [whole]
    elif len(whole) in (digits + 2, digits + 4):
        parts = [whole[:digits], *(whole[at : at + 2] for at in range(digits, len(whole), 2))]
    else:
        return None
    values = [float(part) for part in parts[:-1]] + [float(f"{parts[-1]}.{fraction or 0}")]
    return _sexagesimal(values, negative=written[0] == "-")


def _for_people(words: str) -> Position | None:
    match = _FOR_PEOPLE.fullmatch(words)
    if match is None:
        return None
    groups = match.groups()
    latitude, longitude = (
        _sexagesimal([_number(part) for part in groups[at : at + 3] if part], groups[at + 3].upper() in "SW")
        for at in (0, 4)
    )
    if latitude is None or longitude is None:
        return None
    return Position(latitude, longitude, _number(groups[8]) if groups[8] else None)


def _sexagesimal(values: list[float], negative: bool) -> float | None:
    """Degrees, minutes and seconds as degrees; None where a minute has 60 of them."""
    if any(value >= 60 for value in values[1:]):
        return None
    degrees = sum(value / 60**power for power, value in enumerate(values))
    return -degrees if negative else degrees


def _number(written: str) -> float:
    return float(written.replace(",", "."))


Row = Mapping[str, Any]
Found = tuple[str, str | None, str | None, str]  # verdict, value, threshold, detail


def location(item: Row, own_position: str | None, allowed_km: float) -> Found:
    """`own_position` is what the file's metadata says, as worded there."""
    place, declared = (item["declared_location"] or "").strip(), _declared_position(item)
    own = read_position(own_position)
    threshold = place or (str(declared) if declared else None)
    away, notes = _compared(place, declared, own or declared, "file's" if own else "declared", own is not None)
    if own is None:
        notes.append(
            f"the file's position {own_position!r} is not understood"
            if own_position
            else "the file carries no position"
        )
    detail = "; ".join(notes)
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
    away, notes = [], []
    if not place:
        notes.append("no place is declared")
    elif position is None:
        notes.append(f"{place} declared")
    elif match := _nearest(place, position):
        candidate, distance = match
        description = f"{candidate.name}, {candidate.country}"
        if candidate.kind == "city":
            description += f" at {candidate.position}"
        away.append(distance)
        notes.append(f"{place} declared ({description}); the {whose} position {position} is {distance:.0f} km away")
    else:
        notes.append(f"{place} declared, which the gazetteer does not know")
    if own and declared is not None and position is not None:
        away.append(distance := distance_km(declared, position))
        notes.append(f"{declared} declared; the file's position {position} is {distance:.0f} km away")
    return away, notes


@functools.lru_cache(maxsize=1 << 16)  # the clips of a file, and those of a day, share places
def _nearest(place: str, position: Position) -> tuple[Place, float] | None:
    candidates = gazetteer().find(place)
    return nearest(candidates, position) if candidates else None


def _declared_position(item: Row) -> Position | None:
    latitude, longitude = item["latitude"], item["longitude"]
    if latitude is None or longitude is None or not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return Position(latitude, longitude)
