"""Structured captions: sentences from verified facts and measured signals, each clause with its source.

This module chooses the clauses and puts them together. A declared fact is used unless a check failed
on it; a declared time of day only when its check passed, wherever the words stand. Real footage is phrased in several
ways, chosen by the clip's identity, so that a model does not learn one template; simulated scenes keep the wording of
their own captions, which prompts are written in. What a captioner sees in the
pictures has rows of its own (see `vlm`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.curation.captioning.phrasing import (
    LONGEST_SUBJECT,
    TEMPLATES,
    Choice,
    Clause,
    Clauses,
    Parts,
    clean,
    place_phrase,
    plain,
    setting_first,
    stands_apart,
    text_of,
    times_conflict,
    times_named,
    without_times,
)
from assets.vocabulary import DAYLIGHT

CAPTIONER = "structured/2"
VARIANTS = 4  # phrasings of each kind, at most; training draws one for every clip and step
SLOW_DIAG_PER_S, FAST_DIAG_PER_S = 0.02, 0.15
CALM_DIAG_PER_S, LIVELY_DIAG_PER_S = 0.02, 0.12
DARK_P50, BRIGHT_P50 = 0.2, 0.6

Row = Mapping[str, Any]

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
_UNKNOWN: Clause = ("a scene", "none")


@dataclass(frozen=True)
class Facts:
    """A clip's rows of `shots`, `delivery_items`, `signals` (where measured) and its verdicts by check."""

    shot: Row
    item: Row
    signals: Row | None
    verdicts: Mapping[str, str]

    @property
    def simulated(self) -> bool:
        return is_simulated(self.item)


def is_simulated(item: Row) -> bool:
    """Whether a row of `delivery_items` says that its pictures were rendered and not filmed."""
    source = item.get("source_name") or ""
    return item.get("device") == "simulator" or source.startswith("simulated scene")


def caption_rows(facts: Facts) -> list[dict[str, Any]]:
    """The rows of table `captions` for one clip: up to `VARIANTS` different phrasings of a short and a long caption."""
    named = {key: facts.shot[key] for key in ("clip_id", "item_id", "shot_index", "received_day")}
    rows = []
    for kind, phrasings in zip(
        ("short", "long"), _simulated(facts) if facts.simulated else _filmed(facts), strict=True
    ):
        texts: dict[str, Clauses] = {}
        for clauses in phrasings:
            texts.setdefault(text_of(clauses), clauses)
        rows += [
            named | caption_row(kind, variant, text, CAPTIONER, [clause for clause in clauses if clause[1]])
            for variant, (text, clauses) in enumerate(texts.items())
        ]
    return rows


def caption_row(
    kind: str, variant: int, text: str, captioner: str, clauses: Iterable[Clause], refused: Sequence[str] = ()
) -> dict[str, Any]:
    """The columns of a caption besides those that name its clip."""
    sources = [{"clause": words.strip(" ,.;:"), "source": source} for words, source in clauses]
    return {
        "kind": kind,
        "variant": variant,
        "text": text,
        "sources_json": json.dumps(sources),
        "captioner": captioner,
        "refused": list(refused),
    }


def structured(row: Row) -> bool:
    """Whether a caption is made of facts, rather than by a model that looked at the pictures."""
    return row["captioner"].split("/", 1)[0] == "structured"


def _simulated(facts: Facts) -> tuple[list[Clauses], list[Clauses]]:
    """A scene's subject may hold its whole caption; what it says already is not said again."""
    subject = _subject(facts)
    if "camera" in subject[0]:
        return [[subject]], [[subject]]
    long = [subject]
    if when := _when(facts):
        long.append((f" {when[0][0]}", when[1]))
    if camera := _camera(facts):
        long.append((f", {camera[0][0]}", camera[1]))
    return [[subject]], [long]


def _filmed(facts: Facts) -> tuple[list[Clauses], list[Clauses]]:
    chosen = Choice(facts.shot["clip_id"])
    first = chosen.below(len(TEMPLATES))
    short, long = [], []
    for variant in range(VARIANTS):
        parts = _parts(facts, chosen)
        long.append(TEMPLATES[(first + variant) % len(TEMPLATES)](parts))
        brief = Parts(parts.subject, parts.when, parts.where if variant % 2 else None, [], parts.apart)
        short.append((plain, setting_first)[variant // 2 % 2](brief))
    return short, long


def _parts(facts: Facts, chosen: Choice) -> Parts:
    subject, when = _subject(facts), _when(facts)
    if when and times_named(subject[0]):  # said already, or the subject would have been changed
        when = None
    tail = [(chosen.of(words), source) for words, source in [_camera(facts), *_looks(facts)] if words]
    if chosen.below(2):
        tail.reverse()
    return Parts(
        subject=subject,
        when=(chosen.of(when[0]), when[1]) if when else None,
        where=_where(facts, subject[0]),
        tail=tail,
        apart=stands_apart(subject[0]),
    )


def _subject(facts: Facts) -> Clause:
    """The declared subject, without a place or time that a check refuted or did not verify."""
    words = clean(facts.item["declared_subject"] or "", LONGEST_SUBJECT)
    place = clean(facts.item["declared_location"] or "", LONGEST_SUBJECT)
    if facts.verdicts.get("subject") == "fail":
        return _UNKNOWN
    if place and place.casefold() in words.casefold():
        if facts.verdicts.get("location") == "fail":
            return _UNKNOWN
        if not place.islower() and words.islower():
            words = words.replace(place.lower(), place.title() if place.isupper() else place)
    if _time_unverified(facts, words):
        words = without_times(words)
    return (words, "declared.subject") if any(map(str.isalnum, words)) else _UNKNOWN


def _time_unverified(facts: Facts, words: str) -> bool:
    """Whether the words speak of a time of day that the facts do not bear out. A simulated scene knows its own."""
    named, declared = times_named(words), facts.item["declared_time_of_day"]
    verdict = facts.verdicts.get("time_of_day")
    if verdict == "pass":
        return any(times_conflict(time, declared) for time in named)
    return bool(named) and (verdict == "fail" or not facts.simulated)


def _when(facts: Facts) -> tuple[Sequence[str], str] | None:
    declared = facts.item["declared_time_of_day"]
    if declared not in TIMES or facts.verdicts.get("time_of_day") != "pass":
        return None
    return TIMES[declared], "declared.time_of_day, verified by check time_of_day"


def _where(facts: Facts, subject: str) -> Clause | None:
    """The declared place, unless a check refuted it or the subject names it already."""
    place = facts.item["declared_location"]
    if not place or facts.verdicts.get("location") == "fail" or clean(place, 80).casefold() in subject.casefold():
        return None
    verified = ", verified by check location" if facts.verdicts.get("location") == "pass" else ""
    words = place_phrase(place)
    return (words, f"declared.location{verified}") if words else None


def _camera(facts: Facts) -> tuple[Sequence[str], str]:
    if facts.signals is None:
        return (), ""
    return camera_words(facts.signals), "signals.camera_motion"


def camera_words(signals: Row) -> Sequence[str]:
    """Ways to say what the camera does, the plain one first; none for a move that has no words."""
    move = signals["camera_motion"]
    if move not in _DIRECTIONS:
        return CAMERAS.get(move, ())
    value = signals[f"camera_{move}_diag_per_s"]
    plain = CAMERAS[f"{move} {_DIRECTIONS[move][value > 0]}"]
    if abs(value) < SLOW_DIAG_PER_S:
        return *plain, f"{plain[0]} slowly"
    return (*plain, f"{plain[0]} fast") if abs(value) > FAST_DIAG_PER_S else plain


def _looks(facts: Facts) -> Iterable[tuple[Sequence[str], str]]:
    """Movement and light, where they are worth a word and do not contradict the declared time."""
    if facts.signals is None:
        return
    motion, light = facts.signals["motion_diag_per_s"], facts.signals["luma_p50"]
    if motion < CALM_DIAG_PER_S:
        yield ("calm", "little movement"), "signals.motion_diag_per_s"
    elif motion > LIVELY_DIAG_PER_S:
        yield ("fast movement", "much movement"), "signals.motion_diag_per_s"
    if light < DARK_P50:
        if facts.item["declared_time_of_day"] not in DAYLIGHT or facts.verdicts.get("time_of_day") != "pass":
            yield ("low light", "dark picture"), "signals.luma_p50"
    elif light > BRIGHT_P50:
        yield ("bright light", "bright picture"), "signals.luma_p50"
