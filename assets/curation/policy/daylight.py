"""Whether a declared time of day can be true: where the sun stood at the place and time, and what the pictures look like.

What belongs here: the sun, and light. The sun's height comes from astral, which needs no sunrise and so has an answer in
polar days and nights. A time without a zone says nothing: the same wall clock means other suns in other zones, and two
of them in the hour that summer time repeats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from assets.curation.policy.location import read_position
from assets.curation.policy.policy import LIGHT, SUN, SunRule

Row = Mapping[str, Any]
Found = tuple[str, str | None, str | None, str]  # verdict, value, threshold, detail
WHITE_NIGHT_DEG = -6.0  # where the sun stays above this around midnight, evenings end and mornings begin beyond it
WHITE_NIGHT_H = 3.0


def sun_position(latitude: float, longitude: float, at: str) -> tuple[float, float]:
    """(degrees above the horizon, hours of solar time) at an RFC 3339 time.

    Raises ValueError for a time that is none or has no zone, and for a place that is not on Earth.
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


def time_of_day(item: Row, own_position: str | None, shots: Sequence[Row]) -> Found:
    """The sun, where place and time are known, and the light of every shot. Either can contradict.

    `own_position` is the file's own, as its metadata words it: used where none is declared. `shots` are the
    signals of all shots of the file, at least one.
    """
    declared = item["declared_time_of_day"]
    if declared not in SUN:
        why = f"no rule for the declared time of day {declared!r}; known are {', '.join(SUN)}"
        return "unmeasurable", None, declared, why
    notes, contradicted = [], False
    place, whose = _place(item, own_position)
    if place is not None and item["captured_at"] is not None:
        try:
            height, hour = sun_position(*place, item["captured_at"])
        except ValueError as error:
            return "unmeasurable", None, declared, f"the sun's position cannot be computed: {error}"
        contradicted |= sun_contradicts(SUN[declared], height, hour)
        notes.append(f"sun at {height:.1f} degrees, {hour:.1f} h solar time at the {whose} position")
    contradicted |= any(light_contradicts(declared, shot) for shot in shots)
    darkest, brightest = (pick(shot["luma_p50"] for shot in shots) for pick in (min, max))
    notes.append(f"median luma {darkest:.2f} to {brightest:.2f}")
    value = "; ".join(notes)
    return "fail" if contradicted else "pass", value, declared, f"{declared} declared; {value}"


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
