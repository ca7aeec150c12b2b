"""The free part of a request line: what is seen, where, and when in the day.

It works on what the measurable rules left over. The first free phrase describes the picture; later phrases count only
when they name a place or a time of day, and otherwise stay unclaimed, so that they are said back.
"""

from __future__ import annotations

import re

Span = tuple[int, int]
Found = tuple[str, str, list[Span]]  # field, value, where it stands in the text

_TIMES = {
    "night": "night",
    "nighttime": "night",
    "midnight": "night",
    "dawn": "dawn",
    "sunrise": "dawn",
    "morning": "morning",
    "daytime": "day",
    "daylight": "day",
    "midday": "day",
    "noon": "day",
    "afternoon": "day",
    "evening": "evening",
    "sunset": "sunset",
    "golden hour": "sunset",
    "dusk": "dusk",
    "twilight": "dusk",
}
_TIME = re.compile(r"\b(" + "|".join(sorted(_TIMES, key=len, reverse=True)) + r")\b", re.IGNORECASE)
_TIME_PHRASE = re.compile(
    r"\b(?:at|by|in|during|before|after)\s+(?:the\s+)?(?:"
    + "|".join(sorted(_TIMES, key=len, reverse=True))
    + r"|day)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\s,;]+")
_BEFORE_PLACES = frozenset(["over", "in", "at", "near", "from", "around", "above", "of", "across", "outside"])
_INSIDE_PLACES = frozenset("de la le du des sur of upon am del di da do el al the van den".split())  # noqa: SIM905
_LOOSE = frozenset(["and", "with", "for", "in", "at", "of", "by", "a", "an", "the", "or", "to", "from", "on", "please"])
_COURTESY = re.compile(
    r"\b(?:please|(?:we|i)(?:'d|\s+would)?\s+(?:need|want|like)(?:\s+to\s+(?:see|buy|have))?|looking\s+for|wanted)\b:?",
    re.IGNORECASE,
)


def describe(text: str, taken: list[Span]) -> list[Found]:
    """Subject, location and time of day in the parts of `text` outside `taken`."""
    found: dict[str, Found] = {}
    for phrase in _phrases(text, [*taken, *(match.span() for match in _COURTESY.finditer(text))]):
        first = not found
        time = _time(text, phrase)
        place = _place(text, phrase, alone=not first)
        if first:
            found |= {item[0]: item for item in (time, place) if item}
            if subject := _subject(text, phrase, time, place):
                found["subject"] = subject
        else:
            for item in (time, place):
                if item and item[0] not in found and _fills(text, phrase, item):
                    found[item[0]] = item
    return list(found.values())


def _phrases(text: str, taken: list[Span]) -> list[Span]:
    """Free stretches between separators and claimed spans, without loose words at their ends, in order."""
    marks = list(re.sub(r"[,;\n]", "\0", text))
    for start, end in taken:
        marks[start:end] = "\0" * (end - start)
    stretches = (match.span() for match in re.finditer(r"[^\0]+", "".join(marks)))
    trimmed = (_trim(text, span) for span in stretches)
    return [span for span in trimmed if span]


def _trim(text: str, span: Span) -> Span | None:
    """Drop words at the ends that mean nothing alone; a leading preposition may announce a place and stays."""
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


def _time(text: str, phrase: Span) -> Found | None:
    with_preposition = _TIME_PHRASE.search(text, *phrase)
    match = with_preposition or _TIME.search(text, *phrase)
    if match is None:
        return None
    word = match[0].lower().split()[-1] if with_preposition else match[0].lower()
    word = "golden hour" if word == "hour" else word
    return "time_of_day", _TIMES.get(word, "day"), [match.span()]


def _place(text: str, phrase: Span, alone: bool) -> Found | None:
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


def _subject(text: str, phrase: Span, time: Found | None, place: Found | None) -> Found | None:
    """The first phrase without its place and without `at night`; a bare `sunset` is part of what is to be seen."""
    apart = [*(place[2] if place else []), *(time[2] if time and _TIME_PHRASE.fullmatch(text, *time[2][0]) else [])]
    words = [word for word in _words(text, phrase) if not any(a <= word[0] and word[1] <= b for a, b in apart)]
    if not any(re.search(r"\w", text[slice(*word)]) for word in words):
        return None
    return "subject", " ".join(text[a:b] for a, b in words).strip(" .!?"), words


def _fills(text: str, phrase: Span, item: Found) -> bool:
    """A later phrase must be the place or the time as a whole: half a phrase would be guesswork."""
    return [text[slice(*phrase)].strip(" .!?")] == [text[a:b].strip(" .!?") for a, b in item[2]]
