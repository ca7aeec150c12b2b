"""Where a file itself says that it was filmed: ISO 6709 as cameras and phones write it, and distances on the globe.

What belongs here: reading positions. Whether one agrees with what was declared is `verdicts`' business. Understood are
`±DD.D±DDD.D`, `±DDMM.M±DDDMM.M` and `±DDMMSS.S±DDDMMSS.S`, each with altitude, coordinate reference system and solidus or
without (ISO 6709:2022, annex H), and the form for people (annex D: `50°40′46″N 95°48′26″W`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

EARTH_KM = 6371.0088  # mean radius
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


@dataclass(frozen=True)
class Position:
    """Degrees north and east of WGS 84; metres above its surface where they were given."""

    latitude: float
    longitude: float
    altitude_m: float | None = None

    def __str__(self) -> str:
        return f"{self.latitude:.4f}, {self.longitude:.4f}"


def read_position(text: str | None) -> Position | None:
    """The position in ISO 6709; None where the text is none that is understood.

    Exactly 0, 0 is what devices write that do not know where they are: None. So is another reference system.
    """
    words = (text or "").strip().replace("\u2212", "-")
    if not words.isprintable() or len(words) > LONGEST:
        return None
    found = _compact(words) or _for_people(words)
    if found is None or not (abs(found.latitude) <= 90 and abs(found.longitude) <= 180):
        return None
    return found if (found.latitude, found.longitude) != (0.0, 0.0) else None


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


def distance_km(one: Position, other: Position) -> float:
    """Along a great circle, by the haversine formula: within 0.6 % of the ellipsoid's."""
    south, north = math.radians(one.latitude), math.radians(other.latitude)
    across = math.radians(other.longitude - one.longitude)
    chord = math.sin((north - south) / 2) ** 2 + math.cos(south) * math.cos(north) * math.sin(across / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, chord)))
