"""Which class a clip belongs to in each dimension: names, edges and how words become names. The one place for them.

What belongs here: the typed policy and pure functions from declared and measured values to names. What cannot be told
is `UNKNOWN`, and that is never a class of its own: nobody is asked for more of it, and it is never seen more often for
being rare. Subjects are grouped by meaning in `subjects`; what uneven classes lead to is `weights`' and the requests'.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from assets.curation.telling.captions import is_simulated

UNKNOWN = "unknown"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Tiers:
    """Names for the ranges between ascending edges; a value on an edge belongs to the range above it."""

    names: tuple[str, ...]
    edges: tuple[float, ...]

    def of(self, value: float | None) -> str:
        if value is None or value != value:
            return UNKNOWN
        return self.names[sum(value >= edge for edge in self.edges)]


@dataclass(frozen=True)
class ClassPolicy:
    """Closed lists and edges. Change `version` with any of them.

    Motion is the median optical flow in frame diagonals per second; its edges are those at which captions begin to say
    "calm" (0.02) and "fast movement" (0.12), halved below and between. Aspect is width over height; 1.9 parts 16:9
    from the cinema's 2:1 and wider. Lengths part single gestures, usual training clips and long takes.
    """

    version: str = "classes/2"
    times: tuple[str, ...] = ("night", "dawn", "morning", "day", "evening", "sunset", "dusk")
    cameras: tuple[str, ...] = ("static", "pan", "tilt", "zoom", "roll", "handheld")
    motion: Tiers = field(
        default_factory=lambda: Tiers(("still", "calm", "moderate", "lively", "fast"), (0.005, 0.02, 0.06, 0.12))
    )
    aspect: Tiers = field(default_factory=lambda: Tiers(("portrait", "square", "landscape", "wide"), (0.95, 1.05, 1.9)))
    length: Tiers = field(default_factory=lambda: Tiers(("under 3 s", "3 to 10 s", "over 10 s"), (3.0, 10.0)))

    def closed(self) -> dict[str, tuple[str, ...]]:
        """Dimensions whose classes are known before any clip is: an empty class is a finding."""
        return {
            "time_of_day": self.times,
            "motion": self.motion.names,
            "camera_motion": self.cameras,
            "aspect": self.aspect.names,
            "length": self.length.names,
        }


POLICY = ClassPolicy()
DIMENSIONS = ("subject", "place", "country", *POLICY.closed(), "contributor")


def words(text: str | None) -> str:
    """Declared words as a name: lower case, compatible characters alike, single spaces, no full stop at the end."""
    plain = unicodedata.normalize("NFKC", text or "").casefold()
    return re.sub(r"\s+", " ", plain).strip(" .,;") or UNKNOWN


def place_and_country(text: str | None) -> tuple[str, str]:
    """`"Rue Haute, Brussels, Belgium"` is `("rue haute, brussels", "belgium")`; one name alone is a place."""
    parts = [part for part in (words(part) for part in (text or "").split(",")) if part != UNKNOWN]
    if not parts or all(re.fullmatch(r"[-+\d.°\s]+", part) for part in parts):  # nothing, or bare coordinates
        return UNKNOWN, UNKNOWN
    return ", ".join(parts[:-1] or parts), parts[-1] if len(parts) > 1 else UNKNOWN


def declared(value: str | None, verdict: str | None) -> str | None:
    """A declared value, unless its check failed: what is known to be false counts for no class."""
    return None if verdict == "fail" else value


def classes_of(item: Row, signals: Row, length_s: float, verdicts: Mapping[str, str], subject: str) -> dict[str, str]:
    """The class in every dimension, of a clip's rows of `delivery_items` and `signals` (empty where not measured)."""
    location = None if is_simulated(item) else item.get("declared_location")  # a rendered scene is nowhere
    place, country = place_and_country(declared(location, verdicts.get("location")))
    time = declared(item.get("declared_time_of_day"), verdicts.get("time_of_day"))
    width, height = signals.get("width"), signals.get("height")
    camera = signals.get("camera_motion")
    return {
        "subject": subject,
        "place": place,
        "country": country,
        "time_of_day": time if time in POLICY.times else UNKNOWN,
        "motion": POLICY.motion.of(signals.get("motion_diag_per_s")),
        "camera_motion": camera if camera in POLICY.cameras else UNKNOWN,
        "aspect": POLICY.aspect.of(width / height if width and height else None),
        "length": POLICY.length.of(length_s),
        "contributor": item.get("contributor_id") or UNKNOWN,
    }


def subject_words(items: Iterable[tuple[Row, str | None]]) -> list[str]:
    """The subject that each item declares, as a name; `UNKNOWN` where its check failed."""
    return [words(declared(item.get("declared_subject"), verdict)) for item, verdict in items]
