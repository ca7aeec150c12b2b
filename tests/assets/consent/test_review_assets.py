"""What Dagster shows of reviews and eligibility: numbers, tables, the plot, and checks that notice an edited table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from assets.consent.assets import eligibility, reviews, reviews_are_counted_by_the_rule
from assets.consent.clip import digest
from assets.consent.clip_facts import read_clips
from assets.consent.reviewer_agreement import agreement, differences, pairs, rows, void_reviews
from assets.consent.reviews import submit_review
from tests.worlds import enrol_reviewers


@pytest.fixture
def judged(world: Any) -> Any:
    """Six clips of three contributors; v-1 and v-2 approve all of them, v-3 rejects one, v-4 is a colleague of v-1."""
    for contributor in ("c-1", "c-2", "c-3"):
        world.deliver(contributor)
    world.settle()
    enrol_reviewers(world.home.database_url, "v-3")
    enrol_reviewers(world.home.database_url, "v-4", organisation="org-of-v-1")
    first, second = read_clips(world.home)[:2]
    for clip, reviewer, codes in ((first, "v-3", ["legal.privacy"]), (second, "v-3", []), (second, "v-4", [])):
        submit_review(
            world.home.database_url, clip_id=clip.key[0], item_id=clip.key[1], shot_index=0, reviewer_id=reviewer,
            digest=digest(clip), verdict="reject" if codes else "approve", reasons=codes, persons_counted=0,
            now=datetime.now(UTC),
        )  # fmt: skip
    return world


def test_agreement_is_measured_per_pair_and_corrected_for_chance(judged: Any) -> None:
    found = {pair["pair"]: pair for pair in pairs(rows(judged.home))}
    assert (found["v-1 and v-2"]["clips"], found["v-1 and v-2"]["agreed"]) == (6, 1.0)
    assert found["v-1 and v-2"]["kappa"] is None  # both always approve: chance explains all of it
    assert found["v-1 and v-2"]["note"] == "always the same"
    assert (found["v-1 and v-3"]["agreed"], found["v-1 and v-3"]["expected"]) == (0.5, 0.5)
    assert found["v-1 and v-3"]["kappa"] == 0
    assert agreement(rows(judged.home)) == {"reviewed_twice": 6, "agreement": pytest.approx(5 / 6)}


def test_cohens_kappa_of_a_textbook_table() -> None:
    """20 both yes, 5 yes/no, 10 no/yes, 15 both no: 0.7 observed, 0.5 by chance, kappa 0.4."""
    said = [("approve", "approve")] * 20 + [("approve", "reject")] * 5 + [("reject", "approve")] * 10
    said += [("reject", "reject")] * 15
    given = [
        {"clip_id": str(n), "item_id": "i", "shot_index": 0, "reviewer_id": who, "verdict": verdict, "valid": True}
        for n, verdicts in enumerate(said)
        for who, verdict in zip(("a", "b"), verdicts, strict=True)
    ]
    assert [(p["agreed"], p["expected"], p["kappa"]) for p in pairs(given)] == [(0.7, 0.5, 0.4)]


def test_what_does_not_count_is_listed_with_the_reason(judged: Any) -> None:
    (found,) = void_reviews(rows(judged.home))
    assert (found["why"], found["reviews"]) == ("review.same_organisation", 1)
    assert found["example"].startswith("v-4 on ")


def test_both_assets_show_numbers_tables_and_a_plot(judged: Any) -> None:
    done = dg.materialize([reviews, eligibility], resources={"home": judged.home})
    assert done.success
    (shown,) = (event.metadata for event in done.asset_materializations_for_node("reviews"))
    assert shown["queue_length"].value == 0
    assert shown["pairs_that_always_agree"].value == 1
    assert "v-1 and v-2" in shown["pairs"].value
    assert "review.same_organisation" in shown["do_not_count"].value
    (shown,) = (event.metadata for event in done.asset_materializations_for_node("eligibility"))
    assert (shown["eligible"].value, shown["not_eligible"].value) == (5, 1)
    assert "| review.rejected | 1 | 16.7% | a reviewer rejects it |" in shown["reasons"].value
    assert shown["plot"].value.startswith("![eligible clips over time](data:image/png;base64,")
    today = datetime.now(UTC).date().isoformat()
    assert judged.home.lake.partitions("eligibility_history") == [today]


def test_a_review_that_somebody_wrote_into_the_table_is_noticed(judged: Any) -> None:
    judged.home.lake.write("reviews", rows(judged.home))
    assert differences(judged.home) == []
    edited = judged.home.lake.rows("reviews")
    edited[0] |= {"verdict": "approve", "counts": True, "reviewer_id": "v-invented"}
    judged.home.lake.write("reviews", edited)
    assert len(differences(judged.home)) == 2
    result = reviews_are_counted_by_the_rule(judged.home)
    assert not result.passed
