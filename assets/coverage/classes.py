"""The class of a clip in each dimension: the names, their edges, and how words become names.

A missing value is `UNKNOWN`, which is not a class: nobody is asked for more of it, and it is never seen more often for
being rare.

Subjects are grouped by meaning: declared words whose embeddings are near each other are one subject. The clustering is
pure and deterministic. In leader clustering (Hartigan, "Clustering Algorithms", 1975, ch. 3) a text joins, in order of
arrival, the nearest leader that is near enough, or leads a subject of its own. Later texts never move earlier ones, so a
new delivery cannot re-weigh unrelated footage; k-means would. A subject is named after its leader for the same reason.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assets import vocabulary
from assets.curation.captioning.structured import is_simulated
from assets.home import Home
from assets.lake import ClipKey

UNKNOWN = "unknown"
Row = Mapping[str, Any]

# MiniLM's cosine: "city street" and "a busy street in the city" 0.75, "tram in the city" 0.57, and "people cooking" and
# "chef in a kitchen" 0.58 are one subject; "mountain peak" and "snow on mountains" 0.53, "sea" and "harbour" 0.45 two
NEAR = 0.55
MOST = 512  # subjects; what comes later joins the nearest, however far, so that the cost stays linear
_BLOCK = 4096

Embed = Callable[[Sequence[str]], np.ndarray]
KEY = ("clip_id", "item_id", "shot_index")
JUDGED = ("subject", "location", "time_of_day")  # checks of what is declared


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
    times: tuple[str, ...] = vocabulary.TIMES_OF_DAY
    cameras: tuple[str, ...] = vocabulary.CAMERA_MOTIONS
    motion: Tiers = field(default_factory=lambda: Tiers(vocabulary.MOTIONS, (0.005, 0.02, 0.06, 0.12)))
    aspect: Tiers = field(default_factory=lambda: Tiers(vocabulary.ASPECTS, (0.95, 1.05, 1.9)))
    length: Tiers = field(default_factory=lambda: Tiers(vocabulary.LENGTHS, (3.0, 10.0)))

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
    """A declared value, unless its check failed: a false declaration counts for no class."""
    return None if verdict == "fail" else value


def classes_of(item: Row, signals: Row, length_s: float, verdicts: Mapping[str, str], subject: str) -> dict[str, str]:
    """The class in every dimension, of a clip's rows of `delivery_items` and `signals` (empty if not measured)."""
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
    """The subject that each item declares, as a name; `UNKNOWN` if its check failed."""
    return [words(declared(item.get("declared_subject"), verdict)) for item, verdict in items]


def leaders(vectors: np.ndarray, near: float = NEAR, most: int = MOST) -> np.ndarray:
    """For each unit vector f32 [N, width], in order of arrival, the index of its leader: int64 [N]."""
    leading: list[int] = []
    chosen = np.empty(len(vectors), np.int64)
    heads = np.empty((min(most, len(vectors)), vectors.shape[1]), vectors.dtype)
    for start in range(0, len(vectors), _BLOCK):
        block, before = vectors[start : start + _BLOCK], len(leading)
        nearest, cosine = _nearest(block, heads[:before])
        for offset, vector in enumerate(block):
            index = start + offset
            best, score = nearest[offset], cosine[offset]
            if len(leading) > before:  # leaders that this block brought
                fresh = heads[before : len(leading)] @ vector
                if fresh.max() > score:
                    best, score = before + int(fresh.argmax()), fresh.max()
            if score < near and len(leading) < most:
                heads[len(leading)] = vector
                best = len(leading)
                leading.append(index)
            chosen[index] = leading[best]
    return chosen


def _nearest(block: np.ndarray, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(heads):
        return np.zeros(len(block), np.int64), np.full(len(block), -2.0)
    cosines = block @ heads.T
    best = cosines.argmax(axis=1)
    return best, cosines[np.arange(len(block)), best]


def subjects(texts: Sequence[str], embed: Embed | None) -> dict[str, str]:
    """The subject's name for each distinct text, `texts` being in order of arrival.

    Without an encoder every wording is a subject of its own: coarser truth, but the same in every run.
    """
    distinct = [text for text in dict.fromkeys(texts) if text != UNKNOWN]
    named = {UNKNOWN: UNKNOWN} | {text: text for text in distinct}
    if embed is None or not distinct:
        return named
    vectors = np.asarray(embed(distinct), np.float32)
    return named | {text: distinct[leader] for text, leader in zip(distinct, leaders(vectors), strict=True)}


def class_rows(home: Home, embed: Embed | None, left_out: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The rows of table `clip_classes`, for all clips but those left out, in order of arrival."""
    left_out = set(left_out)
    shots = _read(home, "shots", (*KEY, "received_day", "start_s", "end_s"))
    shots = [row for row in shots if row["clip_id"] not in left_out]
    shots.sort(key=lambda row: (row["received_day"], row["item_id"], row["shot_index"], row["clip_id"]))
    declarations = ("declared_subject", "declared_location", "declared_time_of_day", "device", "source_name")
    items = {row["item_id"]: row for row in _read(home, "delivery_items", ("item_id", "contributor_id", *declarations))}
    measured = (*KEY, "width", "height", "motion_diag_per_s", "camera_motion")
    signals = {key_of(row): row for row in _read(home, "signals", measured)}
    verdicts = _verdicts(home)
    texts = subject_words(
        (items.get(row["item_id"], {}), verdicts.get(key_of(row), {}).get("subject")) for row in shots
    )
    names = subjects(texts, embed)
    rows = []
    for shot, text in zip(shots, texts, strict=True):
        key, length_s = key_of(shot), shot["end_s"] - shot["start_s"]
        item = items.get(shot["item_id"], {})
        classes = classes_of(item, signals.get(key, {}), length_s, verdicts.get(key, {}), names[text])
        clip = {name: shot[name] for name in KEY}
        rows.append(clip | classes | {"length_s": length_s, "classes_version": POLICY.version})
    return rows


def _read(home: Home, table: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    return home.lake.read(table, columns=list(columns)).to_pylist()


def key_of(row: Row) -> ClipKey:
    """The key of a clip's row, wherever it stands."""
    return row["clip_id"], row["item_id"], row["shot_index"]


def _verdicts(home: Home) -> dict[ClipKey, dict[str, str]]:
    verdicts: dict[ClipKey, dict[str, str]] = {}
    for row in _read(home, "verdicts", (*KEY, "check", "verdict")):
        if row["check"] in JUDGED:
            verdicts.setdefault(key_of(row), {})[row["check"]] = row["verdict"]
    return verdicts
