"""How far a contributor's claim to footage is verified, from what the ledger and the reviewers said."""

from __future__ import annotations

from typing import Any

import pytest

from assets.curation.dedup.ownership import Standing, standings

KEY = ("clip", "item", 0)
NAMED = dict(zip(("clip_id", "item_id", "shot_index"), KEY, strict=True))


def event(kind: str, **more: Any) -> dict[str, Any]:
    empty = {"role": "", "party_id": "", "assets": [], "dispute_id": None, "outcome": None}
    return empty | {"type": kind} | more


GRANT = event("grant", role="contributor", party_id="c-1", assets=["bytes"])
DISPUTE = event("dispute", party_id="c-2", dispute_id="d-1", assets=["frames"])


def review(reviewer: str, verdict: str = "approve", **more: Any) -> dict[str, Any]:
    given = {"reviewer_id": reviewer, "organisation": f"org-{reviewer}", "independent": True, "verdict": verdict}
    return NAMED | given | {"reasons": [], "round": 1, "reviewed_at": "2026-11-02T08:00:00Z"} | more


APPROVED = [review("v-1"), review("v-2")]


def standing(
    events: list[dict], reviews: list[dict], item_state: str = "accepted", media_state: str = "accepted"
) -> Standing:
    item = {"item_id": "item", "contributor_id": "c-1", "state": item_state}
    file = {"item_id": "item", "frames_sha256": "frames", "state": media_state}
    return standings([NAMED | {"bytes_sha256": "bytes"}], [item], [file], events, reviews)[KEY]


def test_signed_for_and_approved_by_two_organisations_is_verified() -> None:
    assert standing([GRANT], APPROVED) is Standing.VERIFIED


@pytest.mark.parametrize("digest", ["clip", "bytes", "frames"])
def test_a_consent_may_name_the_clip_the_file_or_its_frames(digest: str) -> None:
    assert standing([GRANT | {"assets": [digest]}], APPROVED) is Standing.VERIFIED


@pytest.mark.parametrize(
    "reviews",
    [
        [],
        [review("v-1")],
        [review("v-1"), review("v-2", organisation="ORG-v-1 ")],
        [review("v-1"), review("v-2", independent=False)],
        [*APPROVED, review("v-3", "reject", reasons=["quality.focus"])],
        [*APPROVED, review("v-2", "reject", round=2)],
    ],
    ids=["nobody", "one", "one organisation", "not independent", "refused by another", "taken back"],
)
def test_signed_for_and_not_approved_by_enough_is_a_claim(reviews: list[dict]) -> None:
    assert standing([GRANT], reviews) is Standing.CLAIMED


@pytest.mark.parametrize(
    "events",
    [[], [GRANT | {"party_id": "c-2"}], [GRANT | {"role": "depicted"}], [GRANT | {"assets": ["other"]}]],
    ids=["nothing signed", "another's", "in another role", "for other footage"],
)
def test_what_its_contributor_never_signed_for_is_doubted(events: list[dict]) -> None:
    assert standing(events, APPROVED) is Standing.DOUBTED


@pytest.mark.parametrize("reason", ["fraud.stolen", "fraud.screen_recapture", "legal.third_party_ip"])
def test_what_a_reviewer_finds_to_be_anothers_is_doubted(reason: str) -> None:
    assert standing([GRANT], [*APPROVED, review("v-3", "reject", reasons=[reason])]) is Standing.DOUBTED


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [(None, Standing.VERIFIED), ("dismissed", Standing.VERIFIED), ("upheld", Standing.DOUBTED)],
)
def test_an_open_dispute_takes_no_claim_away_an_upheld_one_ends_it(outcome: str | None, expected: Standing) -> None:
    events = [GRANT, DISPUTE, *([event("adjudicate", dispute_id="d-1", outcome=outcome)] if outcome else [])]
    assert standing(events, APPROVED) is expected


def test_a_withdrawal_does_not_give_the_footage_away() -> None:
    assert standing([GRANT, event("revoke", role="contributor", party_id="c-1")], APPROVED) is Standing.VERIFIED


@pytest.mark.parametrize("states", [("quarantined", "accepted"), ("accepted", "quarantined")])
def test_what_is_quarantined_is_doubted(states: tuple[str, str]) -> None:
    assert standing([GRANT], APPROVED, *states) is Standing.DOUBTED
