"""What is short, and which requests would fill it: of open requests, of the classes of footage that may be trained on, and
beside whoever has too much.

Targets and the rows of table `coverage_gaps` follow from counts alone. A gap of a class says how much of it open requests
ask for already, so that nothing is asked for twice. `proposals` words a gap as a request line that `requests.parse` reads;
people decide. Motion and camera work cannot be ordered in words yet, so their gaps are shown only.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.coverage.classes import POLICY as CLASSES
from assets.coverage.classes import UNKNOWN, words
from assets.coverage.sampling_weights import POLICY as WEIGHTS
from assets.requests.store import proposal

Row = Mapping[str, Any]
Counts = Mapping[str, Mapping[str, int]]  # eligible clips by dimension and class
PAIRS = "subject x time_of_day"

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


@dataclass(frozen=True)
class Targets:
    """How much of each class is enough.

    An even share of everything is not wanted, only no class far below it: `fair_share` of an even share, and at least
    `least` clips. A pair of subject and time is missed only if the subject has clips enough to be expected at other
    times too, `expected` a time of day; the `pairs` widest gaps of that kind are named.
    """

    fair_share: float = 0.25
    least: int = 2
    expected: float = 2.0
    pairs: int = 20


TARGETS = Targets()


def gap_rows(fulfilment: Iterable[Row], requests: Iterable[Row], coverage: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of `coverage_gaps`: every open request, and every class, pair and cap that falls short."""
    fulfilment, counts = list(fulfilment), eligible_counts(coverage)
    asked = _asked(fulfilment, requests)
    return [
        *_of_requests(fulfilment),
        *_of_classes(counts, asked),
        *_of_pairs(counts),
        *_of_caps(counts),
    ]


def eligible_counts(coverage: Iterable[Row]) -> dict[str, dict[str, int]]:
    """Eligible clips by dimension and class, of the rows of `mart_coverage`."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for row in coverage:
        counts[row["dimension"]][row["slice"]] = row["eligible_clips"]
    return dict(counts)


def _of_requests(fulfilment: Iterable[Row]) -> Iterator[dict[str, Any]]:
    for row in fulfilment:
        if row["request_status"] == "open":
            missing, target, have = row["missing_units"], row["target_units"], row["accepted_units"]
            yield {
                "dimension": "request",
                "cell": row["request_id"],
                "have_units": have,
                "want_units": target,
                "missing_units": missing,
                "asked_units": missing,
                "eligible_units": row["eligible_units"],
                "reason": "request.unfilled",
                "detail": f"{have} of {target} clips are accepted, {row['eligible_units']} of them may be trained on today",
            }


def _of_classes(counts: Counts, asked: Mapping[tuple[str, str], int]) -> Iterator[dict[str, Any]]:
    """Classes of closed lists far below an even share. Where nothing is eligible nothing is uneven."""
    for dimension in CLASSES.closed():
        classes = {name: clips for name, clips in counts.get(dimension, {}).items() if name != UNKNOWN}
        total = sum(classes.values())
        if not total:
            continue
        even = total / len(classes)
        want = max(TARGETS.least, math.ceil(TARGETS.fair_share * even))
        for name, have in sorted(classes.items()):
            if have < want:
                detail = f"{have} of {total} eligible clips are {dimension} {name}; an even share would be {even:.1f}"
                requested = min(want - have, asked.get((dimension, name), 0))
                yield (
                    _of_class(dimension, name, have, want)
                    | {"asked_units": requested}
                    | _why("class.below_fair_share", detail)
                )


def _of_pairs(counts: Counts) -> list[dict[str, Any]]:
    """Times of day at which a common subject was never shot: the widest gaps, by what would be expected there."""
    gaps = []
    for cell, have in counts.get(PAIRS, {}).items():
        subject, _, time = cell.rpartition(" | ")
        of_subject = counts.get("subject", {}).get(subject, 0)
        expected = of_subject / len(CLASSES.times)
        if have == 0 and time in CLASSES.times and expected >= TARGETS.expected:
            want = max(1, math.ceil(TARGETS.fair_share * expected))
            detail = f"none of {of_subject} eligible clips of {subject} is from {time}; {expected:.1f} would be even"
            gaps.append((-expected, cell, _of_class(PAIRS, cell, 0, want) | _why("pair.empty", detail)))
    return [row for _, _, row in sorted(gaps, key=lambda gap: gap[:2])[: TARGETS.pairs]]


def _of_class(dimension: str, cell: str, have: int, want: int) -> dict[str, Any]:
    units = {"have_units": have, "want_units": want, "missing_units": want - have, "eligible_units": have}
    return {"dimension": dimension, "cell": cell, "asked_units": 0, **units}


def _why(reason: str, detail: str) -> dict[str, Any]:
    return {"reason": reason, "detail": detail}


def _of_caps(counts: Counts) -> Iterator[dict[str, Any]]:
    """Where training cannot keep a cap however often it sees the rest: what is short is clips of others."""
    for dimension, cap in sorted(WEIGHTS.caps.items()):
        of_class = counts.get(dimension, {})
        classes = {name: clips for name, clips in of_class.items() if name != UNKNOWN and clips}
        if not classes:
            continue
        total, (name, largest) = sum(of_class.values()), min(classes.items(), key=lambda item: (-item[1], item[0]))
        missing = clips_to_reach(cap, WEIGHTS.most, list(classes.values()), of_class.get(UNKNOWN, 0))
        if missing:
            others = total - largest
            detail = (
                f"{largest} of {total} eligible clips are of {dimension} {name}: with no {dimension} above {cap:.0%} of "
                f"what is seen and no clip seen more than {WEIGHTS.most:g} times an epoch, the others do not fill it"
            )
            yield _of_class(dimension, name, others, others + missing) | _why("share.over_cap", detail)


def clips_to_reach(cap: float, most: float, sizes: Sequence[int], uncapped: int = 0) -> int:
    """How many more clips, each of a new class, bring every class to the cap; 0 if the cap can be kept already.

    An epoch of n + m clips is filled when every class gives all that it may, n_g times `most` or the cap if that is
    less: sum of min(cap (n + m), most n_g) + m min(cap (n + m), most) >= n + m. Found by bisection.
    """
    total = sum(sizes) + uncapped

    def filled(more: int) -> bool:
        length = total + more
        seen = sum(min(cap * length, most * size) for size in sizes) + more * min(cap * length, most) + most * uncapped
        return seen >= length * (1 - 1e-12)

    low, high = -1, max(total, math.ceil(1 / cap))  # so many fill any epoch, since most >= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if filled(middle) else (middle, high)
    return high


def _asked(fulfilment: Iterable[Row], requests: Iterable[Row]) -> Counter[tuple[str, str]]:
    """Clips that open requests still miss, by the classes that they name."""
    missing = {row["request_id"]: row["missing_units"] for row in fulfilment if row["request_status"] == "open"}
    asked: Counter[tuple[str, str]] = Counter()
    for row in requests:
        for cell in _named(row):
            asked[cell] += missing.get(row["request_id"], 0)
    return asked


def _named(request: Row) -> Iterator[tuple[str, str]]:
    """The classes that a request asks for by name; a range of lengths only if it lies in one class."""
    if request["time_of_day"]:
        yield "time_of_day", words(request["time_of_day"])
    if request["aspect_ratio"]:
        width, _, height = request["aspect_ratio"].partition(":")
        yield "aspect", CLASSES.aspect.of(float(width) / float(height or 1))
    shortest, longest = request["duration_min_s"], request["duration_max_s"]
    if shortest and longest:
        inside = CLASSES.length.of(math.nextafter(longest, 0))  # "3 to 10 seconds" ends where the next class begins
        if CLASSES.length.of(shortest) == inside:
            yield "length", inside


def proposals(gaps: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `request_proposals` for what is missing and not requested yet."""
    rows = []
    for row in gaps:
        units = min(MOST_AT_ONCE, row["missing_units"] - row["asked_units"])
        phrase = _phrase(row["dimension"], row["cell"])
        if units > 0 and phrase:
            clips = f"{units} clip{'s' if units > 1 else ''}"
            limit = f", at most {min(EACH, units)} per contributor" if row["dimension"] == "contributor" else ""
            cause = f"{row['dimension']}={row['cell']}"
            rows.append(proposal("bias_gap", cause, f"{phrase}, {clips}{limit}", row["detail"], units))
    return rows


def _phrase(dimension: str, cell: str) -> str | None:
    if dimension == PAIRS:
        subject, _, time = cell.rpartition(" | ")
        return f"{subject} {_AT[time]}" if subject != UNKNOWN and time in _AT else None
    if dimension == "contributor":
        return "any subject"
    return _PHRASES.get(dimension, {}).get(cell)
