"""The form of captions: declared words made fit to stand in a sentence, and clauses put together in several ways.

Declared words become clean and short, and lose what a check refutes. Nothing is translated: words that may not be English
are told apart, so that no sentence mixes two grammars. The same clauses are put into several orders and sentences, picked
by the clip's identity alone. `structured` chooses the clauses and knows their sources.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from assets.vocabulary import OPPOSITES

# -- declared words --------------------------------------------------------------------------------------------------


LONGEST_SUBJECT, LONGEST_PLACE = 160, 80  # characters; a text encoder reads about 250 of a caption
# they turn the reading order of what stands around them; joiners that some scripts need are not among them
_ORDER_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSEEN = frozenset("\u200b\u2060\ufeff\u00ad") | _ORDER_MARKS
_JOINERS = frozenset("\u200c\u200d")
_EDGES = " \t.,;:!?…·-–—_/\\|*#~。、，！？"
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "`": "`", "(": ")", "[": "]"}
_ARTICLES = frozenset(  # a first word that tells that the rest is not English
    ("un", "une", "le", "les", "des", "der", "das", "ein", "eine", "el", "los", "las", "una", "het", "een", "il", "lo",
     "gli", "um", "uma", "os", "en", "ett", "et")
)  # fmt: skip
_PLACED = re.compile(r"(?i)(?:in|at|on|near|by|off|outside|inside|above|below|along|around|between|over)\s")
_AT = re.compile(r"(?i)\b(?:airport|station|beach|stadium|harbou?r|zoo|university|square|market|museum)$")
_THE = re.compile(r"(?i)(?:usa?|uk|uae|united .*|netherlands|philippines|bahamas|maldives|alps|czech republic)\b")

TIME_WORDS = {
    "night": ("night", "nighttime", "night-time", "midnight", "nightfall"),
    "dawn": ("dawn", "daybreak", "sunrise"),
    "morning": ("morning",),
    "day": ("day", "daytime", "daylight", "midday", "noon"),
    "evening": ("evening",),
    "sunset": ("sunset", "sundown"),
    "dusk": ("dusk", "twilight"),
}
_TIME_OF = {word: time for time, words in TIME_WORDS.items() for word in words}
_TIMES = re.compile(rf"(?i)\b({'|'.join(sorted(_TIME_OF, key=len, reverse=True))})\b")
_TIME_PHRASE = re.compile(
    rf"(?i),?\s*\b(?:at|by|in|during|before|after)\s+(?:the\s+)?(?:early\s+|late\s+)?{_TIMES.pattern[4:]}(?!\s+(?!(?:in|at|on|by|near|with|under|over|outside)\b)\w)"
)


def clean(text: str, longest: int) -> str:
    """One line without control characters, marks of reading order, outer quotes, closing marks or shouting.

    Longer texts end at the last whole word. May be empty.
    """
    kept = "".join(" " if _is_control(sign) else sign for sign in unicodedata.normalize("NFC", text))
    words = " ".join("".join(sign for sign in kept if sign not in _UNSEEN).split())
    if len(words) > longest:
        words = words[: longest + 1].rsplit(" ", 1)[0][:longest]
    words = _unquoted(words)
    # capitals throughout are somebody's keyboard, not names; short ones are abbreviations
    return words.lower() if words.isupper() and sum(map(str.isalpha, words)) > 5 else words


def _is_control(sign: str) -> bool:
    return sign not in _JOINERS | _UNSEEN and unicodedata.category(sign) in {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}


def misleading_signs(text: str) -> bool:
    """Whether a text holds control characters or marks that turn its reading order."""
    return any(sign in _UNSEEN or (_is_control(sign) and sign not in "\n\t") for sign in text)


def _unquoted(words: str) -> str:
    before = None
    while words != before:
        before, words = words, words.strip(_EDGES)
        if len(words) > 1 and _QUOTES.get(words[0]) == words[-1]:
            words = words[1:-1]
    return words.replace('"', "") if words.count('"') % 2 else words


def place_phrase(declared: str) -> str:
    """`Brussels` as `in Brussels`; empty where the words name no place that can be said, as with bare coordinates."""
    place = clean(declared, LONGEST_PLACE)
    if not any(map(str.isalpha, place)) or sum(map(str.isdigit, place)) > len(place) / 2:
        return ""
    if declared.strip().isupper() and place.islower():
        place = place.title()
    if _PLACED.match(place):
        return place[0].lower() + place[1:]
    return f"{'at' if _AT.search(place) else 'in'} {'the ' if _THE.match(place) else ''}{place}"


def times_named(words: str) -> set[str]:
    """Times of day that a text speaks of."""
    return {_TIME_OF[word.lower()] for word in _TIMES.findall(words)}


def without_times(words: str) -> str:
    """The text without its phrases of time; empty where a time is woven into the rest."""
    rest = _TIME_PHRASE.sub("", words).strip(_EDGES)
    return "" if times_named(rest) else rest


def times_conflict(first: str, second: str) -> bool:
    """Whether nothing can be of both times of day."""
    return any((first in a and second in b) or (first in b and second in a) for a, b in OPPOSITES)


def stands_apart(words: str) -> bool:
    """Whether our own English clauses must not be joined to these words: another language, or several sentences."""
    letters = [sign for sign in words if sign.isalpha()]
    latin = sum("LATIN" in unicodedata.name(sign, "") for sign in letters)
    if letters and latin < len(letters) / 2:
        return True
    return words.split(" ", 1)[0].lower() in _ARTICLES or bool(re.search(r"[.!?…]\s", words))


# -- templates -------------------------------------------------------------------------------------------------------


Clause = tuple[str, str]  # words, source; the words between clauses have none
Clauses = list[Clause]


class Choice:
    """Picks that depend on the clip's identity alone, a new one each time."""

    def __init__(self, clip_id: str) -> None:
        self._clip_id, self._count = clip_id, 0

    def below(self, limit: int) -> int:
        self._count += 1
        return int(hashlib.sha256(f"{self._clip_id}/{self._count}".encode()).hexdigest(), 16) % limit

    def of(self, options: Sequence[str]) -> str:
        return options[self.below(len(options))]


@dataclass(frozen=True)
class Parts:
    """What one caption tells, in words already chosen. `apart` says that nothing may be joined to the subject."""

    subject: Clause
    when: Clause | None
    where: Clause | None
    tail: Clauses
    apart: bool = False

    @property
    def setting(self) -> Clauses:
        return [clause for clause in (self.where, self.when) if clause]


def text_of(clauses: Clauses) -> str:
    return "".join(words for words, _ in clauses).strip()


def _chain(clauses: Iterable[Clause], between: str) -> Clauses:
    chained: Clauses = []
    for clause in clauses:
        chained += [(between, ""), clause] if chained else [clause]
    return chained


def _capital(clauses: Clauses) -> Clauses:
    """The same with a capital at the start."""
    (words, source), *rest = clauses
    return [(words[:1].upper() + words[1:], source), *rest]


def _scene(parts: Parts, turned: bool = False) -> Clauses:
    """Subject, place and time as one phrase."""
    setting = parts.setting[::-1] if turned else parts.setting
    return _chain([parts.subject, *setting], "; " if parts.apart else " ")


def plain(parts: Parts) -> Clauses:
    """`a bicycle at a wall in Brussels by day, static camera`"""
    return _appended(_scene(parts), parts.tail, ", ")


def _turned(parts: Parts) -> Clauses:
    return _appended(_scene(parts, turned=True), parts.tail, ", ")


def _listed(parts: Parts) -> Clauses:
    return _appended(_scene(parts), parts.tail, "; ")


def _sentences(parts: Parts) -> Clauses:
    """Sentences, each with its capital and its full stop."""
    clauses = _capital(_scene(parts))
    for clause in parts.tail:
        clauses += [(". ", ""), *_capital([clause])]
    return [*clauses, (".", "")]


def setting_first(parts: Parts) -> Clauses:
    """`In Brussels at night, a bicycle at a wall; static camera`"""
    if not parts.setting:
        return _listed(parts)
    between = ": " if parts.apart else ", "
    return _appended([*_capital(_chain(parts.setting, " ")), (between, ""), parts.subject], parts.tail, "; ")


def _camera_first(parts: Parts) -> Clauses:
    """`Static camera, low light: a bicycle at a wall in Brussels`"""
    if not parts.tail:
        return _turned(parts)
    return [*_capital(_chain(parts.tail, ", ")), (": ", ""), *_scene(parts)]


def _camera_sentence(parts: Parts) -> Clauses:
    """`Static camera, low light. In Brussels, a bicycle at a wall`"""
    if not parts.tail:
        return setting_first(parts)
    alone = Parts(parts.subject, parts.when, parts.where, [], parts.apart)
    return [*_capital(_chain(parts.tail, ", ")), (". ", ""), *_capital(setting_first(alone))]


def _appended(clauses: Clauses, tail: Clauses, between: str) -> Clauses:
    for clause in tail:
        clauses = [*clauses, (between, ""), clause]
    return clauses


TEMPLATES: tuple[Callable[[Parts], Clauses], ...] = (
    *(plain, setting_first, _sentences, _camera_first),
    *(_listed, _camera_sentence, _turned),
)
