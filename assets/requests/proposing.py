"""What the platform would ask for by itself: slices without enough footage to train on. People decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from assets.requests.store import proposal

# slices that are compared with each other, and the words that ask for one
_PHRASES = {
    "time_of_day": {
        "night": "any subject at night",
        "dawn": "any subject at dawn",
        "morning": "any subject in the morning",
        "day": "any subject by day",
        "evening": "any subject in the evening",
        "sunset": "any subject at sunset",
        "dusk": "any subject at dusk",
    },
    "shape": {
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
FAIR_SHARE = 0.25  # a slice below this part of an even share is under-covered
MOST_AT_ONCE = 20  # clips in one proposal


def bias_gaps(coverage: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Proposals for the slices of `mart_coverage` that have too little that may be trained on.

    Nothing is proposed for a dimension in which nothing is eligible: there is no bias in nothing.
    """
    slices: dict[str, dict[str, int]] = defaultdict(dict)
    for row in coverage:
        if row["slice"] in _PHRASES.get(row["dimension"], {}):
            slices[row["dimension"]][row["slice"]] = row["eligible_clips"]
    found = []
    for dimension, counts in sorted(slices.items()):
        even = sum(counts.values()) / len(counts)
        for name, count in sorted(counts.items()):
            if count < FAIR_SHARE * even:
                units = max(1, min(MOST_AT_ONCE, round(FAIR_SHARE * even + 0.5) - count))
                found.append(
                    proposal(
                        "bias_gap",
                        f"{dimension}={name}",
                        f"{_PHRASES[dimension][name]}, {units} clip{'s' if units > 1 else ''}",
                        f"{count} of {sum(counts.values())} eligible clips are {dimension} {name}; "
                        f"an even share would be {even:.1f}",
                        units,
                    )
                )
    return found


def open_gaps(fulfilment: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of table `coverage_gaps` for the open requests."""
    return [
        {
            name: row[name]
            for name in ("request_id", "target_units", "accepted_units", "eligible_units", "missing_units")
        }
        for row in fulfilment
        if row["request_status"] == "open"
    ]
