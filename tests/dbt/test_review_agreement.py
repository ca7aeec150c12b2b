"""Reviews by many people on many clips: rule, a naive recount and the models count the same, clip by clip."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from assets.consent.clips import Clip, digest, read_clips
from assets.consent.platform import appoint_guardian, export
from assets.consent.reviewer_agreement import rows
from assets.consent.reviews import submit_review
from assets.home import Home
from assets.tables import TABLES
from tests.dbt.models import PlainModels
from tests.dbt.small_lake import SmallLake
from tests.worlds import enrol_reviewers

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 5, tzinfo=UTC)
ORGANISATIONS = {"v-1": "org-a", "v-2": "Org-B", "v-3": "org-c", "v-4": "ORG-A", "v-5": "org-1", "c-2": "org-d"}
CODES = ["legal.privacy", "quality.focus", "spec.aspect", "metadata.subject_mismatch"]


def judge_at_random(home: Home, clip: Clip, draw: random.Random) -> None:
    """Reviews of one clip by whoever happens to come by: colleagues, the payer's people, people in it, of old states too.

    What c-0 delivers, the same two approve again and again.
    """
    pair = clip.facts.contributor_id == "c-0"
    anybody = draw.choices([*ORGANISATIONS, "p-kid", "g-eve", "o-own"], k=draw.randint(0, 6))
    for name in ("v-1", "v-2") if pair else anybody:
        reject = not pair and draw.random() < 0.25
        clip_id, item_id, shot_index = clip.key
        submit_review(
            home.database_url, clip_id=clip_id, item_id=item_id, shot_index=shot_index, reviewer_id=name,
            digest="0" * 64 if draw.random() < 0.15 else digest(clip), verdict="reject" if reject else "approve",
            reasons=draw.sample(CODES, draw.randint(1, 3)) if reject else (), persons_counted=draw.randint(0, 3),
            non_identifiable=draw.randint(0, 3), now=NOW,
        )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with 120 clips and what people said of them, exported for SQL."""
    home, draw, lake = Home.local(tmp_path_factory.mktemp("reviews")), random.Random(7), SmallLake()
    lake.request("r-1")
    for number in range(120):
        people = (("p-kid", True, True),) if number % 5 == 0 else ()
        lake.clip(
            f"{number}",
            contributor=f"c-{number % 3}",
            request="r-1" if number % 2 else None,
            persons=people,
            reviews=(),
        )
        owners = [{"owner_id": "o-own", "what": "a house"}] if number % 7 == 0 else []
        lake.rows["delivery_items"][-1]["properties_json"] = json.dumps(owners)
    lake.rows.pop("consent_events")
    lake.write(home.lake)
    appoint_guardian(home, "p-kid", "g-eve", officer="o-ida", evidence_sha256="e" * 64)
    export(home)
    for name in (*ORGANISATIONS, "p-kid", "g-eve", "o-own"):
        enrol_reviewers(home.database_url, name, organisation=ORGANISATIONS.get(name))
    for clip in read_clips(home):
        judge_at_random(home, clip, draw)
    home.lake.write("reviews", rows(home))
    return home


def recounted(clip: Clip, reviews: list[dict[str, Any]]) -> tuple[int, int, int, int]:
    """(approvals, rejections, people counted, people marked as nobody), counted as naively as it can be said."""
    concerned = {"p-kid", "g-eve"} if clip.facts.persons else set()
    concerned |= {clip.facts.contributor_id, *clip.facts.properties, *(["org-1"] if clip.payer else [])}
    latest = {row["reviewer_id"]: row for row in sorted(reviews, key=lambda row: row["round"])}
    binding = [
        row
        for row in latest.values()
        if row["digest"] == digest(clip) and not concerned & {row["reviewer_id"], row["organisation"].lower()}
    ]
    approving = {row["organisation"].lower() for row in binding if row["verdict"] == "approve"}
    third_needed = any(row["why_not"] == "review.third_needed" for row in reviews)
    marked: dict[str, int] = {}
    for row in binding:
        organisation = row["organisation"].lower()
        marked[organisation] = max(marked.get(organisation, 0), row["non_identifiable"])
    return (
        1 if third_needed else len(approving),
        sum(row["verdict"] == "reject" for row in binding),
        max((row["persons_counted"] for row in binding), default=0),
        sorted([0, 0, *marked.values()])[-2],
    )


def test_rule_and_models_count_the_reviews_that_a_naive_recount_does(home: Home) -> None:
    models = PlainModels({name: home.lake.read(name) for name in TABLES})
    counted = {row["clip_key"]: row for row in models.rows("int_clip_reviews")}
    seen = set()
    for clip in read_clips(home):
        facts, key = clip.facts, dict(zip(("clip_id", "item_id", "shot_index"), clip.key, strict=True))
        reviews = [row for row in home.lake.rows("reviews") if key.items() <= row.items()]
        numbers = recounted(clip, reviews)
        assert (facts.approvals, facts.rejections, facts.persons_counted or 0, facts.non_identifiable) == numbers
        row = counted.get("/".join(map(str, clip.key)), {"approvals": 0, "rejections": 0})
        assert (row["approvals"], row["rejections"]) == numbers[:2]
        seen |= {*clip.count.why_not.values(), *clip.count.codes}
    whys = ("outdated", "superseded", "not_independent", "same_organisation", "third_needed")
    assert seen == {f"review.{why}" for why in whys}
