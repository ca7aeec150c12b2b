"""What a model may be told about a clip: sentences from verified facts and measured signals, each clause with its source.

What belongs here: the words. A declared fact is used unless a check failed on it; a declared time of day only when its
check passed. Real footage is phrased in several ways, chosen by the clip's identity, so that a model does not learn one
template; simulated scenes keep the wording of their own captions, which prompts are written in. A captioner that looks
at the pictures can stand beside this one: it gives the same rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CAPTIONER = "structured/1"
SLOW_DIAG_PER_S, FAST_DIAG_PER_S = 0.02, 0.15
CALM_DIAG_PER_S, LIVELY_DIAG_PER_S = 0.02, 0.12
DARK_P50, BRIGHT_P50 = 0.2, 0.6

Row = Mapping[str, Any]
Clause = tuple[str, str]  # words, source

TIMES = {
    "night": ("at night", "by night"),
    "dawn": ("at dawn", "at daybreak"),
    "morning": ("in the morning",),
    "day": ("by day", "in daylight"),
    "evening": ("in the evening",),
    "sunset": ("at sunset", "as the sun sets"),
    "dusk": ("at dusk", "in the dusk"),
}
CAMERAS = {  # the first of each is what simulated scenes say
    "static": ("static camera", "the camera stands still", "locked-off shot"),
    "pan left": ("camera pans left", "panning left", "the camera turns to the left"),
    "pan right": ("camera pans right", "panning right", "the camera turns to the right"),
    "tilt up": ("camera tilts up", "tilting up"),
    "tilt down": ("camera tilts down", "tilting down"),
    "zoom in": ("camera moves in", "zooming in", "a push in"),
    "zoom out": ("camera moves out", "zooming out", "a pull back"),
    "roll clockwise": ("picture turns clockwise", "a clockwise roll"),
    "roll counterclockwise": ("picture turns counterclockwise", "a counterclockwise roll"),
    "handheld": ("handheld camera", "handheld shot", "a moving, handheld camera"),
}
_DIRECTIONS = {
    "pan": ("left", "right"),
    "tilt": ("down", "up"),
    "zoom": ("out", "in"),
    "roll": ("counterclockwise", "clockwise"),
}


@dataclass(frozen=True)
class Facts:
    """A clip's rows of `shots`, `delivery_items`, `signals` (where measured) and its verdicts by check."""

    shot: Row
    item: Row
    signals: Row | None
    verdicts: Mapping[str, str]

    @property
    def simulated(self) -> bool:
        source = self.item["source_name"] or ""
        return self.item["device"] == "simulator" or source.startswith("simulated scene")


def caption_rows(facts: Facts) -> list[dict[str, Any]]:
    """The rows of table `captions` for one clip: short and long."""
    short, long = _simulated(facts) if facts.simulated else _filmed(facts)
    named = {key: facts.shot[key] for key in ("clip_id", "item_id", "shot_index", "received_day")}
    return [
        named
        | {
            "kind": kind,
            "text": "".join(words for words, _ in clauses).strip(),
            "sources_json": json.dumps(
                [{"clause": words.strip(" ,.;"), "source": source} for words, source in clauses if source]
            ),
            "captioner": CAPTIONER,
        }
        for kind, clauses in (("short", short), ("long", long))
    ]


def _simulated(facts: Facts) -> tuple[list[Clause], list[Clause]]:
    """A scene's subject may hold its whole caption; what it says already is not said again."""
    subject = _subject(facts)
    if "camera" in subject[0]:
        return [subject], [subject]
    long = [subject]
    if when := _when(facts):
        long.append((f" {when[0][0]}", when[1]))
    if camera := _camera(facts):
        long.append((f", {camera[0][0]}", camera[1]))
    return [subject], long


def _filmed(facts: Facts) -> tuple[list[Clause], list[Clause]]:
    chosen = _Choice(facts.shot["clip_id"])
    subject, when, camera = _subject(facts), _when(facts), _camera(facts)
    short: list[Clause] = [subject]
    if when:
        short.append((f" {chosen.of(when[0])}", when[1]))
    long = list(short)
    if where := _where(facts):
        long.insert(chosen.below(2) % len(long) + 1, (f" {where[0]}", where[1]))
    tail = [(chosen.of(words), source) for words, source in [camera, *_looks(facts)] if words]
    if chosen.below(2):
        tail.reverse()
    joint = chosen.of((", ", "; ", ". "))
    long += [(joint + (words[0].upper() + words[1:] if joint == ". " else words), source) for words, source in tail]
    return short, long


class _Choice:
    """Picks that depend on the clip's identity alone, a new one each time."""

    def __init__(self, clip_id: str) -> None:
        self._clip_id, self._count = clip_id, 0

    def below(self, limit: int) -> int:
        self._count += 1
        return int(hashlib.sha256(f"{self._clip_id}/{self._count}".encode()).hexdigest(), 16) % limit

    def of(self, options: Sequence[str]) -> str:
        return options[self.below(len(options))]


def _subject(facts: Facts) -> Clause:
    words = facts.item["declared_subject"]
    if not words or facts.verdicts.get("subject") == "fail":
        return "a scene", "none"
    return words.strip().rstrip("."), "declared.subject"


def _when(facts: Facts) -> tuple[Sequence[str], str] | None:
    declared = facts.item["declared_time_of_day"]
    if declared not in TIMES or facts.verdicts.get("time_of_day") != "pass":
        return None
    return TIMES[declared], "declared.time_of_day, verified by check time_of_day"


def _where(facts: Facts) -> Clause | None:
    place = facts.item["declared_location"]
    if not place or facts.verdicts.get("location") == "fail":
        return None
    return f"in {place.strip()}", "declared.location"


def _camera(facts: Facts) -> tuple[Sequence[str], str]:
    if facts.signals is None:
        return (), ""
    return camera_words(facts.signals), "signals.camera_motion"


def camera_words(signals: Row) -> Sequence[str]:
    """Ways to say what the camera does, the plain one first."""
    move = signals["camera_motion"]
    if move not in _DIRECTIONS:
        return CAMERAS[move]
    value = signals[f"camera_{move}_diag_per_s"]
    plain = CAMERAS[f"{move} {_DIRECTIONS[move][value > 0]}"]
    if abs(value) < SLOW_DIAG_PER_S:
        return *plain, f"{plain[0]} slowly"
    return (*plain, f"{plain[0]} fast") if abs(value) > FAST_DIAG_PER_S else plain


def _looks(facts: Facts) -> Iterable[tuple[Sequence[str], str]]:
    """Movement and light, where they are worth a word."""
    if facts.signals is None:
        return
    motion, light = facts.signals["motion_diag_per_s"], facts.signals["luma_p50"]
    if motion < CALM_DIAG_PER_S:
        yield ("calm", "little movement"), "signals.motion_diag_per_s"
    elif motion > LIVELY_DIAG_PER_S:
        yield ("fast movement", "much movement"), "signals.motion_diag_per_s"
    if light < DARK_P50:
        yield ("low light", "dark picture"), "signals.luma_p50"
    elif light > BRIGHT_P50:
        yield ("bright light", "bright picture"), "signals.luma_p50"
