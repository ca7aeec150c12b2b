"""How clauses become a caption: the same facts in several orders and sentences, and picks that depend on the clip alone.

Only form is decided here; `structured` chooses the clauses and knows their sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

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
