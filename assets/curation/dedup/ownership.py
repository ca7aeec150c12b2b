"""Who may own footage that several people delivered: how far each one's claim to a clip was verified.

Pure functions of lake rows. That the earliest of the best claims owns a group is in `groups`.

Arriving first proves little: whoever copies a clip before its maker delivers it would own it. What can be verified here
is that the contributor signed for the footage (the ledger admits nothing that is not signed by a registered key) and
that independent people looked at it. So:

- VERIFIED: signed for, approved by reviewers of enough organisations and refused by none. An open dispute changes
  nothing: anybody may open one, a copier too, and it holds the clip until an officer has decided.
- CLAIMED: signed for, and not yet looked at by enough people, or one of them refused it.
- DOUBTED: never signed for, quarantined, found stolen or to be another's by a reviewer, or a dispute was upheld.

Neither a withdrawal nor the end of a consent changes a standing: the footage does not pass to a copier when its owner
withdraws it. Nor do reviews become void here by an edit; whether a clip may be used is decided elsewhere, every time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

from training.consent.eligibility import APPROVALS_NEEDED

Row = Mapping[str, Any]
Key = tuple[str, str, int]  # clip_id, item_id, shot_index

NOT_THEIRS = frozenset({"fraud.stolen", "fraud.screen_recapture", "legal.third_party_ip"})  # a reviewer's reasons


class Standing(IntEnum):
    """How good a claim is; lower goes first."""

    VERIFIED = 0
    CLAIMED = 1
    DOUBTED = 2


def standings(
    shots: Iterable[Row], items: Iterable[Row], media: Iterable[Row], events: Iterable[Row], reviews: Iterable[Row]
) -> dict[Key, Standing]:
    """By clip, from tables `shots`, `delivery_items`, `media`, `consent_events` and `reviews`."""
    item_of, media_of = ({row["item_id"]: row for row in rows} for rows in (items, media))
    events = list(events)
    signed, disputed = _signed(events), _disputed(events)
    opinions = _opinions(reviews)
    standing = {}
    for shot in shots:
        key = (shot["clip_id"], shot["item_id"], shot["shot_index"])
        item, file = item_of.get(shot["item_id"], {}), media_of.get(shot["item_id"], {})
        digests = {shot["clip_id"], shot["bytes_sha256"], file.get("frames_sha256")}
        taken = item.get("state") == "accepted" and file.get("state") == "accepted"
        claimed = taken and bool(digests & signed.get(item.get("contributor_id") or "", set()))
        disputes = set().union(*(disputed.get(digest or "", ()) for digest in digests))
        standing[key] = _standing(claimed, disputes, *opinions.get(key, (set(), set())))
    return standing


def _standing(claimed: bool, disputes: set[str], approving: set[str], refusing: set[str]) -> Standing:
    """`disputes` are what became of those that were not dismissed; see `_opinions` for the others."""
    if not claimed or "upheld" in disputes or refusing & NOT_THEIRS:
        return Standing.DOUBTED
    if refusing or len(approving) < APPROVALS_NEEDED:
        return Standing.CLAIMED
    return Standing.VERIFIED


def _signed(events: Iterable[Row]) -> dict[str, set[str]]:
    """By contributor, the digests that they ever signed for."""
    signed: defaultdict[str, set[str]] = defaultdict(set)
    for event in events:
        if event["type"] in ("grant", "amend") and event["role"] == "contributor":
            signed[event["party_id"]].update(event["assets"])
    return dict(signed)


def _disputed(events: Iterable[Row]) -> dict[str, set[str]]:
    """By digest, what became of the disputes about it that were not dismissed: open or upheld."""
    about: dict[str, list[str]] = {}
    outcome: dict[str, str] = {}
    for event in events:
        if event["type"] == "dispute":
            about[event["dispute_id"]] = event["assets"]
        elif event["type"] == "adjudicate":
            outcome[event["dispute_id"]] = event["outcome"]
    disputed: defaultdict[str, set[str]] = defaultdict(set)
    for dispute, digests in about.items():
        if (result := outcome.get(dispute, "open")) != "dismissed":
            for digest in digests:
                disputed[digest].add(result)
    return dict(disputed)


def _opinions(reviews: Iterable[Row]) -> dict[Key, tuple[set[str], set[str]]]:
    """By clip: the organisations whose reviewers approve it, and the reasons of those who refuse it.

    Of independent reviewers the last word counts, whatever was edited since.
    """
    last: dict[tuple[Key, str], Row] = {}
    for review in sorted(
        (row for row in reviews if row["independent"]), key=lambda row: (row["round"], row["reviewed_at"])
    ):
        last[(review["clip_id"], review["item_id"], review["shot_index"]), review["reviewer_id"]] = review
    opinions: defaultdict[Key, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for (key, _), review in last.items():
        approving, refusing = opinions[key]
        if review["verdict"] == "approve":
            approving.add(review["organisation"].strip().casefold())
        else:
            refusing.update(review["reasons"] or ["refused"])
    return dict(opinions)
