"""Table `reviews`, and statistics on the reviewers: who agrees with whom, and whether more often than by chance.

Belongs here: rows and statistics for people to look at. No number of this module decides anything about a clip.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from assets.consent.clips import read_clips
from assets.consent.reviews import all_reviews, read_register
from assets.home import Home
from assets.lake import ClipKey, clip_key
from assets.reasons import fit_for_catalogue

UNKNOWN_CLIP = "review.unknown_clip"
ALWAYS = 5  # clips that two people judged alike, without exception, before that is worth a look


def rows(home: Home) -> list[dict[str, Any]]:
    """Rows of table `reviews`, those of clips that are no longer known included (never valid)."""
    clips = {clip.key: clip for clip in read_clips(home)}
    register = read_register(home.database_url)
    table = []
    for row in all_reviews(home.database_url):
        clip = clips.get(clip_key(row))
        why_not = clip.count.why_not.get(row["id"]) if clip else UNKNOWN_CLIP
        independent = clip is not None and not clip.judged().bars(row["reviewer_id"], row["organisation"])
        table.append(
            {name: row[name] for name in _KEPT}
            | {
                "valid": clip is not None and clip.count.valid(row["id"]),
                "independent": independent and register.knows(row["reviewer_id"], row["organisation"]),
                "counts": why_not is None,
                "why_not": why_not,
                "fit_for_catalogue": fit_for_catalogue(row["reasons"]),
            }
        )
    return table


_KEPT = (
    *("clip_id", "item_id", "shot_index", "reviewer_id", "organisation", "round", "digest", "verdict", "reasons"),
    *("persons_counted", "non_identifiable", "reviewed_at"),
)


def differences(home: Home) -> list[str]:
    """Reviews of which table `reviews` says something that cannot be, in words; empty when it is sound.

    Asked of the kept records and of what a counted review must be, not of the rule that wrote the table.
    """
    kept = {_identity(row): [row[name] for name in _KEPT] for row in all_reviews(home.database_url)}
    table = {_identity(row): row for row in home.lake.rows("reviews")}
    altered = {
        key for key in kept.keys() | table.keys() if key not in table or [table[key][n] for n in _KEPT] != kept.get(key)
    }
    counted = [key for key, row in table.items() if row["counts"]]
    unsound = {key for key in counted if not (table[key]["valid"] and table[key]["independent"])}
    unsound |= {key for key, row in table.items() if row["counts"] == bool(row["why_not"])}
    return [f"round {key[4]} of {key[3]} on {key[0][:16]}" for key in sorted(altered | unsound)]


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return *clip_key(row), row["reviewer_id"], row["round"]


def void_reviews(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many reviews do not count, by why; {why, reviews, example}."""
    void: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["why_not"]:
            void[row["why_not"]].append(f"{row['reviewer_id']} on {row['clip_id'][:12]}")
    return [{"why": why, "reviews": len(who), "example": who[0]} for why, who in sorted(void.items())]


def agreement(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Over clips with two or more valid reviews: how many, and the share with one verdict."""
    shared = [judged for judged in _by_clip(rows).values() if len(judged) > 1]
    numbers: dict[str, Any] = {"reviewed_twice": len(shared)}
    return numbers | ({"agreement": sum(len(set(j.values())) == 1 for j in shared) / len(shared)} if shared else {})


def pairs(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every pair that judged clips together: {pair, clips, agreed, expected, kappa, note}, most clips first.

    Cohen's kappa is (agreed - expected) / (1 - expected), with the agreement that two people of their habits would
    reach by chance; it has no value (None) where both always say the same, since then chance explains everything.
    """
    together: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for judged in _by_clip(rows).values():
        for first, other in combinations(sorted(judged), 2):
            together[first, other].append((judged[first], judged[other]))
    rows_of_pairs = [_pair(" and ".join(names), verdicts) for names, verdicts in together.items()]
    return sorted(rows_of_pairs, key=lambda row: (-row["clips"], row["pair"]))


def _pair(names: str, verdicts: list[tuple[str, str]]) -> dict[str, Any]:
    n = len(verdicts)
    agreed = sum(first == other for first, other in verdicts) / n
    habits = [Counter(verdicts_of) for verdicts_of in zip(*verdicts, strict=True)]
    expected = sum(habits[0][verdict] * habits[1][verdict] for verdict in ("approve", "reject")) / n**2
    return {
        "pair": names,
        "clips": n,
        "agreed": round(agreed, 3),
        "expected": round(expected, 3),
        "kappa": round((agreed - expected) / (1 - expected), 3) if expected < 1 else None,
        "note": "always the same" if agreed == 1 and n >= ALWAYS else "",
    }


def _by_clip(rows: Iterable[dict[str, Any]]) -> dict[ClipKey, dict[str, str]]:
    """Verdict by reviewer, of valid reviews, by clip."""
    by_clip: dict[ClipKey, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row["valid"]:
            by_clip[clip_key(row)][row["reviewer_id"]] = row["verdict"]
    return by_clip
