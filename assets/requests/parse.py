"""Reads a request line in plain English into a `Spec`; YAML documents (`document`) use the same rules.

No word is dropped: each is part of something understood, or comes back in `not_understood`. That holds by construction:
rules claim spans of the text, and what no rule claimed is what was not understood. The measurable parts are read first
(`terms`). The first phrase that they leave over describes the picture; later phrases count only if they name a place or a
time of day.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from assets.requests import terms
from assets.requests.spec import Spec, problems

Span = tuple[int, int]
Reading = tuple[str, str, list[Span]]  # field, value, spans of the text
MAX_TEXT = 2_000

_TIMES = {
    **dict.fromkeys(("night", "nighttime", "midnight"), "night"),
    **dict.fromkeys(("dawn", "sunrise"), "dawn"),
    "morning": "morning",
    **dict.fromkeys(("daytime", "daylight", "midday", "noon", "afternoon"), "day"),
    "evening": "evening",
    **dict.fromkeys(("sunset", "golden hour"), "sunset"),
    **dict.fromkeys(("dusk", "twilight"), "dusk"),
}
_TIME_WORDS = "|".join(sorted(_TIMES, key=len, reverse=True))
_TIME = re.compile(rf"\b({_TIME_WORDS})\b", re.IGNORECASE)
_TIME_PHRASE = re.compile(rf"\b(?:at|by|in|during|before|after)\s+(?:the\s+)?(?:{_TIME_WORDS}|day)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\s,;]+")
_BEFORE_PLACES = frozenset(["over", "in", "at", "near", "from", "around", "above", "of", "across", "outside"])
_INSIDE_PLACES = frozenset("de la le du des sur of upon am del di da do el al the van den".split())  # noqa: SIM905
_LOOSE = frozenset(["and", "with", "for", "in", "at", "of", "by", "a", "an", "the", "or", "to", "from", "on", "please"])
_COURTESY = re.compile(
    r"\b(?:please|(?:we|i)(?:'d|\s+would)?\s+(?:need|want|like)(?:\s+to\s+(?:see|buy|have))?|looking\s+for|wanted)\b:?",
    re.IGNORECASE,
)


class RequestError(ValueError):
    """A request that cannot be ordered; the message says why and what to do."""


@dataclass(frozen=True)
class Parsed:
    """What a text asks for.

    `understood` maps a field to the words it came from; `assumed` says what was filled in without being asked.
    """

    text: str
    spec: Spec
    values: dict[str, Any]  # what was read, before defaults
    understood: dict[str, str]
    not_understood: tuple[str, ...]
    assumed: tuple[str, ...] = ()

    def checked(self) -> Parsed:
        """Itself. Raises RequestError if it cannot be ordered."""
        if faults := problems(self.spec):
            raise RequestError(f"{self.text!r} cannot be ordered: " + "; ".join(faults))
        return self


def parse_line(text: str) -> Parsed:
    """Read one line such as `sunset over Paris, 4K, 16:9, 30 seconds, 20 clips, EUR 5 per clip, by 2026-12-31`.

    Raises RequestError if the line is too long or mixes currencies.
    """
    if len(text) > MAX_TEXT:
        raise RequestError(f"a request is at most {MAX_TEXT} characters, this has {len(text)}")
    values, claims, taken = _terms(text)
    for name, value, spans in describe(text, taken):
        values[name] = value
        claims.setdefault(name, []).extend(spans)
    spec, assumed = complete(values)
    understood = {name: " ".join(text[a:b] for a, b in spans) for name, spans in claims.items()}
    return Parsed(text, spec, values, understood, _unclaimed(text, claims), assumed)


def read_terms(text: str) -> tuple[dict[str, Any], dict[str, list[Span]], tuple[str, ...]]:
    """The measurable parts alone: their values, the spans they came from, and the words that nothing was read from."""
    values, claims, _ = _terms(text)
    return values, claims, _unclaimed(text, claims)


def _terms(text: str) -> tuple[dict[str, Any], dict[str, list[Span]], list[Span]]:
    """Apply every rule: values, the spans they came from, and all spans that some rule matched.

    Words that match a rule but mean nothing to it, or contradict an earlier value, are claimed by nobody, so that they are
    reported as not understood; they are no description either.
    """
    values: dict[str, Any] = {}
    claims: dict[str, list[Span]] = {}
    taken: list[Span] = []
    for rule in terms.RULES:
        for match in rule.pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            taken.append(match.span())
            fields = rule.read(match)
            if fields is not None and all(values.get(name, value) == value for name, value in fields.items()):
                values |= fields
                claims.setdefault(rule.field, []).append(match.span())
    return values, claims, taken


def complete(values: Mapping[str, Any]) -> tuple[Spec, tuple[str, ...]]:
    """The spec with these values and what follows from them: money, and a named size at the requested shape.

    Raises RequestError if price and budget are in different currencies.
    """
    values, assumed = dict(values), []
    if "resolution" in values:
        values["min_width"], values["min_height"] = terms.sides(values.pop("resolution"), values.get("aspect_ratio"))
    currencies = {values.pop(key) for key in ("price_currency", "budget_currency") if key in values}
    if len(currencies) > 1:
        raise RequestError(f"price and budget are in different currencies: {', '.join(sorted(currencies))}")
    values.setdefault("currency", next(iter(currencies), "EUR"))
    if "target_units" not in values:
        assumed.append("no number of clips was given: one clip")
    if "price_minor" not in values:
        assumed.append("no price was given: nothing is paid per clip")
    spec = Spec(**values)
    if "budget_minor" not in values:
        spec = replace(spec, budget_minor=spec.price_minor * spec.target_units)
        if spec.price_minor:
            assumed.append("no budget was given: price times clips")
    return spec, tuple(assumed)


def _unclaimed(text: str, claims: Mapping[str, list[Span]]) -> tuple[str, ...]:
    """The runs of text that hold a word and that nothing was read from."""
    free = bytearray(b"\x01" * len(text))
    for start, end in (span for spans in claims.values() for span in spans):
        free[start:end] = bytes(end - start)
    runs = (text[match.start() : match.end()] for match in re.finditer(rb"\x01+", bytes(free)))
    pieces = (piece.strip(" \t\r.!?\"'()[]") for run in runs for piece in re.split(r"[,;\n]", run))
    return tuple(piece for piece in pieces if re.search(r"\w|[^\x00-\x7f]", piece))


def describe(text: str, taken: list[Span]) -> list[Reading]:
    """Subject, location and time of day in the parts of `text` outside `taken`."""
    readings: dict[str, Reading] = {}
    for phrase in _phrases(text, [*taken, *(match.span() for match in _COURTESY.finditer(text))]):
        first = not readings
        time = _time(text, phrase)
        place = _place(text, phrase, alone=not first)
        if first:
            readings |= {item[0]: item for item in (time, place) if item}
            if subject := _subject(text, phrase, time, place):
                readings["subject"] = subject
        else:
            for item in (time, place):
                if item and item[0] not in readings and _fills(text, phrase, item):
                    readings[item[0]] = item
    return list(readings.values())


def _phrases(text: str, taken: list[Span]) -> list[Span]:
    """Free stretches between separators and claimed spans, without loose words at their ends, in order."""
    marks = list(re.sub(r"[,;\n]", "\0", text))
    for start, end in taken:
        marks[start:end] = "\0" * (end - start)
    stretches = (match.span() for match in re.finditer(r"[^\0]+", "".join(marks)))
    trimmed = (_trim(text, span) for span in stretches)
    return [span for span in trimmed if span]


def _trim(text: str, span: Span) -> Span | None:
    """Drop words at the ends that mean nothing alone. A leading preposition may announce a place and stays."""
    words = _words(text, span)
    while words and text[slice(*words[-1])].lower().strip(".!?") in _LOOSE:
        words.pop()
    while words and text[slice(*words[0])].lower() in _LOOSE - _BEFORE_PLACES - {"a", "an", "the", "by"}:
        words.pop(0)
    if not any(re.search(r"\w", text[a:b]) for a, b in words):
        return None
    return words[0][0], words[-1][1]


def _words(text: str, span: Span) -> list[Span]:
    return [match.span() for match in _WORD.finditer(text, *span)]


def _time(text: str, phrase: Span) -> Reading | None:
    with_preposition = _TIME_PHRASE.search(text, *phrase)
    match = with_preposition or _TIME.search(text, *phrase)
    if match is None:
        return None
    word = match[0].lower().split()[-1] if with_preposition else match[0].lower()
    word = "golden hour" if word == "hour" else word
    return "time_of_day", _TIMES.get(word, "day"), [match.span()]


def _place(text: str, phrase: Span, alone: bool) -> Reading | None:
    """A capitalised name after a preposition, or (in a later phrase, `alone`) by itself."""
    words = _words(text, phrase)
    for index, (start, _) in enumerate(words):
        name = _name(text, words[index + 1 :]) if text[slice(*words[index])].lower() in _BEFORE_PLACES else []
        if name:
            return "location", text[name[0][0] : name[-1][1]].rstrip(".!?"), [(start, name[-1][1])]
    if alone and (name := _name(text, words)) and name == words:
        return "location", text[slice(*phrase)].rstrip(".!?"), [phrase]
    return None


def _name(text: str, words: list[Span]) -> list[Span]:
    """The leading words that form a proper name: capitalised, with small words only between capitalised ones."""
    name: list[Span] = []
    for index, span in enumerate(words):
        word = text[slice(*span)]
        if word[0].isupper():
            name = words[: index + 1]
        elif word.lower() not in _INSIDE_PLACES:
            break
    return name


def _subject(text: str, phrase: Span, time: Reading | None, place: Reading | None) -> Reading | None:
    """The first phrase without its place and without `at night`; a bare `sunset` is part of what is to be seen."""
    apart = [*(place[2] if place else []), *(time[2] if time and _TIME_PHRASE.fullmatch(text, *time[2][0]) else [])]
    words = [word for word in _words(text, phrase) if not any(a <= word[0] and word[1] <= b for a, b in apart)]
    if not any(re.search(r"\w", text[slice(*word)]) for word in words):
        return None
    return "subject", " ".join(text[a:b] for a, b in words).strip(" .!?"), words


def _fills(text: str, phrase: Span, item: Reading) -> bool:
    """A later phrase must be the place or the time as a whole: half a phrase would be guesswork."""
    return [text[slice(*phrase)].strip(" .!?")] == [text[a:b].strip(" .!?") for a, b in item[2]]
