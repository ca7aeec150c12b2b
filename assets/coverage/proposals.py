"""What the platform would ask for by itself: classes without enough footage to train on. People decide.

What belongs here: the words of a request for a row of `coverage_gaps`, in the language that `parse` reads. Which gaps
there are is `gaps`' business. Motion and camera work cannot be ordered in words yet, so their gaps are shown only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from assets.coverage.classes import UNKNOWN
from assets.coverage.gaps import PAIRS
from assets.requests.store import proposal

_AT = {
    "night": "at night",
    "dawn": "at dawn",
    "morning": "in the morning",
    "day": "by day",
    "evening": "in the evening",
    "sunset": "at sunset",
    "dusk": "at dusk",
}
_PHRASES = {
    "time_of_day": {name: f"any subject {when}" for name, when in _AT.items()},
    "aspect": {
        "portrait": "any subject, 9:16",
        "square": "any subject, 1:1",
        "landscape": "any subject, 16:9",
        "wide": "any subject, 2.39:1",
    },
    "length": {
        "under 3 s": "any subject, 1 to 3 seconds",
        "3 to 10 s": "any subject, 3 to 10 seconds",
        "over 10 s": "any subject, 10 to 30 seconds",
    },
}
MOST_AT_ONCE = 20  # clips in one proposal
EACH = 5  # clips that one contributor may fill of a proposal for more contributors


def proposals(gaps: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `request_proposals` for what is missing and nobody asks for yet."""
    found = []
    for row in gaps:
        units = min(MOST_AT_ONCE, row["missing_units"] - row["asked_units"])
        phrase = _phrase(row["dimension"], row["cell"])
        if units > 0 and phrase:
            clips = f"{units} clip{'s' if units > 1 else ''}"
            limit = f", at most {min(EACH, units)} per contributor" if row["dimension"] == "contributor" else ""
            cause = f"{row['dimension']}={row['cell']}"
            found.append(proposal("bias_gap", cause, f"{phrase}, {clips}{limit}", row["detail"], units))
    return found


def _phrase(dimension: str, cell: str) -> str | None:
    if dimension == PAIRS:
        subject, _, time = cell.rpartition(" | ")
        return f"{subject} {_AT[time]}" if subject != UNKNOWN and time in _AT else None
    if dimension == "contributor":
        return "any subject"
    return _PHRASES.get(dimension, {}).get(cell)
