"""Which prompts the platform answers: a short list of refusals by words, each with its reason.

Thin by intent: a word list stops the plain cases and says why. It is not a classifier, and never the only guard: every video
that leaves is marked, whatever the prompt.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

LONGEST = 500  # characters

_SEXUAL = r"(?:porn\w*|nude|naked|nudity|sex|sexual\w*|erotic\w*|hentai|nsfw)"
_MINOR = r"(?:child(?:ren)?|kids?|minors?|toddlers?|bab(?:y|ies)|schoolgirls?|schoolboys?|teen\w*|infants?|underage)"
RULES: dict[str, re.Pattern[str]] = {
    "policy.minor_sexual": re.compile(rf"(?=.*\b{_SEXUAL}\b)(?=.*\b{_MINOR}\b)", re.S),
    "policy.sexual": re.compile(rf"\b{_SEXUAL}\b"),
    "policy.gore": re.compile(r"\b(?:gore|gory|beheading|decapitat\w*|dismember\w*|torture\w*|massacre\w*)\b"),
    "policy.likeness": re.compile(r"\b(?:deepfakes?|face ?swap\w*|in the likeness of|looks? exactly like)\b"),
}


class PromptRefused(ValueError):
    """A prompt that is not answered, with every reason."""


@dataclass(frozen=True)
class Screened:
    """`text` is the prompt as the model gets it; `refused` has every reason against it, none if it may pass."""

    text: str
    refused: tuple[str, ...]


def screen(prompt: str) -> Screened:
    """Normalise a prompt (NFKC, one line, no invisible characters) and judge it."""
    text = unicodedata.normalize("NFKC", prompt)
    text = "".join(c if unicodedata.category(c)[0] != "C" else " " if c in "\n\r\t" else "" for c in text)
    text = " ".join(text.split())
    reasons = []
    if not text:
        reasons.append("prompt.empty")
    if len(text) > LONGEST:
        reasons.append("prompt.too_long")
    plain = _without_accents(text.casefold())
    reasons += [reason for reason, pattern in RULES.items() if pattern.search(plain)]
    return Screened(text, tuple(reasons))


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
