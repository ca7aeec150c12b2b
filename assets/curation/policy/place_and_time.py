"""Whether a clip can have been taken where and when it was declared.

Place: the position that the file names, read as containers write it (ISO 6709), is compared with the gazetteer's places.

Time of day: where the sun stood at the place and time, and what the pictures look like. The sun's height comes from
astral, which needs no sunrise and so has an answer in polar days and nights. A time without a zone says nothing: the same
wall clock means other suns in other zones, and two of them in the hour that summer time repeats.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from assets.curation.policy.gazetteer import Place, Position, distance_km, gazetteer, nearest
from assets.curation.policy.policy import LIGHT, SUN, Finding, SunRule

Row = Mapping[str, Any]

# -- place -----------------------------------------------------------------------------------------------------------


LONGEST = 120  # characters; a longer text is not a position
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
    """The position in ISO 6709; None where the text is not understood.

    None also for exactly 0, 0, which devices write that do not know where they are, and for other reference systems.
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


def location(item: Row, own_position: str | None, allowed_km: float) -> Finding:
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
        return Finding("fail", value, threshold, f"{detail}; {allowed_km:g} km allowed")
    if own is None or not away:
        return Finding("unmeasurable", value, threshold, detail)
    return Finding("pass", value, threshold, detail)


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


# -- time of day -----------------------------------------------------------------------------------------------------


WHITE_NIGHT_DEG = -6.0  # where the sun stays above this around midnight, evenings end and mornings begin beyond it
WHITE_NIGHT_H = 3.0


def sun_position(latitude: float, longitude: float, at: str) -> tuple[float, float]:
    """(degrees above the horizon, hours of solar time) at an RFC 3339 time.

    Raises ValueError for an invalid time or one without a zone, and for a place that is not on Earth.
    """
    from astral import Observer
    from astral.sun import elevation

    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise ValueError(f"no place: {latitude}, {longitude}")
    when = datetime.fromisoformat(at.upper().replace("Z", "+00:00"))
    if when.tzinfo is None:
        raise ValueError(f"a time without a zone: {at!r}")
    try:
        utc = when.utctimetuple()
        height = elevation(Observer(latitude, longitude), when)
    except OverflowError as error:
        raise ValueError(f"a time out of reach: {at!r}") from error
    if not math.isfinite(height):
        raise ValueError(f"no height of the sun at {latitude}, {longitude}")
    return height, (utc.tm_hour + utc.tm_min / 60 + utc.tm_sec / 3600 + longitude / 15) % 24


def sun_contradicts(rule: SunRule, height_deg: float, hour: float) -> bool:
    """Whether the sun cannot stand there at the time of day of the rule."""
    hours = [hour]
    if height_deg > WHITE_NIGHT_DEG:  # a midnight sun sets after midnight and rises before it
        hours += [hour + 24] if hour < WHITE_NIGHT_H else [hour - 24] if hour > 24 - WHITE_NIGHT_H else []
    earliest = rule.from_hour or -WHITE_NIGHT_H
    latest = rule.to_hour if rule.to_hour < 24 else 24 + WHITE_NIGHT_H
    in_time = any(earliest <= round(candidate, 2) <= latest for candidate in hours)
    return not (in_time and rule.low_deg <= height_deg <= rule.high_deg)


def time_of_day(item: Row, own_position: str | None, shots: Sequence[Row]) -> Finding:
    """The sun, where place and time are known, and the light of every shot. Either can contradict.

    `own_position` is the file's own, as its metadata words it: used where none is declared. `shots` are the
    signals of all shots of the file, at least one.
    """
    declared = item["declared_time_of_day"]
    if declared not in SUN:
        why = f"no rule for the declared time of day {declared!r}; known are {', '.join(SUN)}"
        return Finding("unmeasurable", None, declared, why)
    notes, contradicted = [], False
    place, whose = _place(item, own_position)
    if place is not None and item["captured_at"] is not None:
        try:
            height, hour = sun_position(*place, item["captured_at"])
        except ValueError as error:
            return Finding("unmeasurable", None, declared, f"the sun's position cannot be computed: {error}")
        contradicted |= sun_contradicts(SUN[declared], height, hour)
        notes.append(f"sun at {height:.1f} degrees, {hour:.1f} h solar time at the {whose} position")
    contradicted |= any(light_contradicts(declared, shot) for shot in shots)
    darkest, brightest = (pick(shot["luma_p50"] for shot in shots) for pick in (min, max))
    notes.append(f"median luma {darkest:.2f} to {brightest:.2f}")
    value = "; ".join(notes)
    return Finding("fail" if contradicted else "pass", value, declared, f"{declared} declared; {value}")


def _place(item: Row, own_position: str | None) -> tuple[tuple[float, float] | None, str]:
    """(latitude, longitude) as declared, else the file's own; and which it is."""
    if item["latitude"] is not None and item["longitude"] is not None:
        return (item["latitude"], item["longitude"]), "declared"
    own = read_position(own_position)
    return ((own.latitude, own.longitude), "file's own") if own else (None, "")


def light_contradicts(declared: str, signals: Row) -> bool:
    """Whether a shot with these signals cannot be of the declared time of day."""
    rule = LIGHT.get(declared)
    if rule is None:
        return False
    p50 = signals["luma_p50"]
    lamps = signals["luma_p95"] - p50 >= rule.lit_rise and signals["shadow_saturation"] >= rule.lit_shadow_saturation
    return (
        (rule.darkest_p50 is not None and p50 <= rule.darkest_p50)
        or (rule.lit_p50 is not None and p50 <= rule.lit_p50 and lamps)
        or (rule.brightest_p50 is not None and p50 >= rule.brightest_p50)
    )
