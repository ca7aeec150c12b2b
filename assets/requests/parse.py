"""Reads a request line in plain English into a `Spec`; YAML documents (`document`) use the same rules.

Nothing is dropped: every word of the text is part of something understood, or comes back in `not_understood`. That
holds by construction: rules claim spans of the text, and what no rule claimed is what was not understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from assets.requests import terms
from assets.requests.description import describe
from assets.requests.spec import Spec, problems

Span = tuple[int, int]
MAX_TEXT = 2_000


class RequestError(ValueError):
    """A request that cannot be ordered; the message says why and what to do."""


@dataclass(frozen=True)
class Parsed:
    """What a text asks for.

    `understood` maps a field to the words it came from; `assumed` says what was filled in without being asked.
    """

    text: str
    spec: Spec
    said: dict[str, Any]  # what was read, before defaults
    understood: dict[str, str]
    not_understood: tuple[str, ...]
    assumed: tuple[str, ...] = ()

    def checked(self) -> Parsed:
        """Itself, or RequestError where it cannot be ordered."""
        if found := problems(self.spec):
            raise RequestError(f"{self.text!r} cannot be ordered: " + "; ".join(found))
        return self


def parse_line(text: str) -> Parsed:
    """Read one line such as `sunset over Paris, 4K, 16:9, 30 seconds, 20 clips, EUR 5 per clip, by 2026-12-31`.

    Raises RequestError where the line is too long or mixes currencies.
    """
    if len(text) > MAX_TEXT:
        raise RequestError(f"a request is at most {MAX_TEXT} characters, this has {len(text)}")
    said, claims, taken = _terms(text)
    for name, value, spans in describe(text, taken):
        said[name] = value
        claims.setdefault(name, []).extend(spans)
    spec, assumed = complete(said)
    understood = {name: " ".join(text[a:b] for a, b in spans) for name, spans in claims.items()}
    return Parsed(text, spec, said, understood, _unclaimed(text, claims), assumed)


def read_terms(text: str) -> tuple[dict[str, Any], dict[str, list[Span]], tuple[str, ...]]:
    """The measurable parts alone: what was said, the spans it came from, and the words that nothing was read from."""
    said, claims, _ = _terms(text)
    return said, claims, _unclaimed(text, claims)


def _terms(text: str) -> tuple[dict[str, Any], dict[str, list[Span]], list[Span]]:
    """Apply every rule: what was said, the spans it came from, and all spans that some rule matched.

    Words that match a rule without meaning anything to it, or against what was said before, are claimed by nobody (so
    they are said back) and are no description either.
    """
    said: dict[str, Any] = {}
    claims: dict[str, list[Span]] = {}
    taken: list[Span] = []
    for rule in terms.RULES:
        for match in rule.pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            taken.append(match.span())
            found = rule.read(match)
            if found is not None and all(said.get(name, value) == value for name, value in found.items()):
                said |= found
                claims.setdefault(rule.field, []).append(match.span())
    return said, claims, taken


def complete(values: Mapping[str, Any]) -> tuple[Spec, tuple[str, ...]]:
    """The spec of what was said, with what follows from it: money, and a named size at the asked shape.

    Raises RequestError where price and budget are in different currencies.
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
