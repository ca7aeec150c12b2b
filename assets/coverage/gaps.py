"""What is short: of open requests, of the classes of footage that may be trained on, and beside whoever has too much.

What belongs here: targets and the rows of table `coverage_gaps`, from counts alone. What a gap is asked for with is
`proposing`'s. A gap of a class says how much of it open requests ask for already, so that nothing is asked for twice.
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

Row = Mapping[str, Any]
Counts = Mapping[str, Mapping[str, int]]  # eligible clips by dimension and class
PAIRS = "subject x time_of_day"


@dataclass(frozen=True)
class Targets:
    """How much of each class is enough.

    An even share of everything is not wanted, only no class far below it: `fair_share` of an even share, and at least
    `least` clips. A pair of subject and time is missed only where the subject has clips enough to be expected at other
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
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in coverage:
        found[row["dimension"]][row["slice"]] = row["eligible_clips"]
    return dict(found)


def _of_requests(fulfilment: Iterable[Row]) -> Iterator[dict[str, Any]]:
    for row in fulfilment:
        if row["request_status"] == "open":
            missing, target, have = row["missing_units"], row["target_units"], row["accepted_units"]
            yield _gap(
                "request", row["request_id"], have, target, missing, "request.unfilled",
                f"{have} of {target} clips are accepted, {row['eligible_units']} of them may be trained on today",
                asked=missing, eligible=row["eligible_units"],
            )  # fmt: skip


def _of_classes(counts: Counts, asked: Mapping[tuple[str, str], int]) -> Iterator[dict[str, Any]]:
    """Classes of closed lists far below an even share. Where nothing is eligible nothing is uneven."""
    for dimension in CLASSES.closed():
        known = {name: clips for name, clips in counts.get(dimension, {}).items() if name != UNKNOWN}
        total = sum(known.values())
        if not total:
            continue
        even = total / len(known)
        want = max(TARGETS.least, math.ceil(TARGETS.fair_share * even))
        for name, have in sorted(known.items()):
            if have < want:
                yield _gap(
                    dimension, name, have, want, want - have, "class.below_fair_share",
                    f"{have} of {total} eligible clips are {dimension} {name}; an even share would be {even:.1f}",
                    asked=min(want - have, asked.get((dimension, name), 0)),
                )  # fmt: skip


def _of_pairs(counts: Counts) -> list[dict[str, Any]]:
    """Times of day at which a common subject was never shot: the widest gaps, by what would be expected there."""
    found = []
    for cell, have in counts.get(PAIRS, {}).items():
        subject, _, time = cell.rpartition(" | ")
        of_subject = counts.get("subject", {}).get(subject, 0)
        expected = of_subject / len(CLASSES.times)
        if have == 0 and time in CLASSES.times and expected >= TARGETS.expected:
            want = max(1, math.ceil(TARGETS.fair_share * expected))
            detail = f"none of {of_subject} eligible clips of {subject} is from {time}; {expected:.1f} would be even"
            found.append((-expected, cell, _gap(PAIRS, cell, 0, want, want, "pair.empty", detail)))
    return [row for _, _, row in sorted(found, key=lambda one: one[:2])[: TARGETS.pairs]]


def _of_caps(counts: Counts) -> Iterator[dict[str, Any]]:
    """Where training cannot keep a cap however often it sees the rest: what is short is clips of others."""
    for dimension, cap in sorted(WEIGHTS.caps.items()):
        of_class = counts.get(dimension, {})
        known = {name: clips for name, clips in of_class.items() if name != UNKNOWN and clips}
        if not known:
            continue
        total, (name, largest) = sum(of_class.values()), min(known.items(), key=lambda one: (-one[1], one[0]))
        missing = clips_to_reach(cap, WEIGHTS.most, list(known.values()), of_class.get(UNKNOWN, 0))
        if missing:
            others = total - largest
            yield _gap(
                dimension, name, others, others + missing, missing, "share.over_cap",
                f"{largest} of {total} eligible clips are of {dimension} {name}: with no {dimension} above {cap:.0%} of "
                f"what is seen and no clip seen more than {WEIGHTS.most:g} times an epoch, the others do not fill it",
                eligible=others,
            )  # fmt: skip


def clips_to_reach(cap: float, most: float, sizes: Sequence[int], uncapped: int = 0) -> int:
    """How many more clips, each of a class not there yet, bring every class to the cap; 0 where it can be kept already.

    An epoch of n + m clips is filled when every class gives all that it may, n_g times `most` or the cap if that is
    less: sum of min(cap (n + m), most n_g) + m min(cap (n + m), most) >= n + m. Found by bisection.
    """
    total = sum(sizes) + uncapped

    def filled(more: int) -> bool:
        length = total + more
        given = sum(min(cap * length, most * size) for size in sizes) + more * min(cap * length, most) + most * uncapped
        return given >= length * (1 - 1e-12)

    low, high = -1, max(total, math.ceil(1 / cap))  # so many fill any epoch, since most >= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if filled(middle) else (middle, high)
    return high


def _asked(fulfilment: Iterable[Row], requests: Iterable[Row]) -> Counter[tuple[str, str]]:
    """Clips that open requests still miss, by the classes that they name."""
    missing = {row["request_id"]: row["missing_units"] for row in fulfilment if row["request_status"] == "open"}
    found: Counter[tuple[str, str]] = Counter()
    for row in requests:
        for named in _named(row):
            found[named] += missing.get(row["request_id"], 0)
    return found


def _named(request: Row) -> Iterator[tuple[str, str]]:
    """The classes that a request asks for by name; a range of lengths only where it lies in one class."""
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


def _gap(
    dimension: str, cell: str, have: int, want: int, missing: int, reason: str, detail: str, *,
    asked: int = 0, eligible: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "dimension": dimension,
        "cell": cell,
        "have_units": have,
        "want_units": want,
        "missing_units": missing,
        "asked_units": asked,
        "eligible_units": have if eligible is None else eligible,
        "reason": reason,
        "detail": detail,
    }
