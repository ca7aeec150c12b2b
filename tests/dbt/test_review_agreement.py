"""Reviews by many people on many clips: what Python counts and what SQL counts is the same, clip by clip."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assets.consent.clip import Clip, digest
from assets.consent.clip_facts import read_clips
from assets.consent.platform import appoint_guardian
from assets.consent.reviewer_agreement import rows
from assets.consent.reviews import submit_review
from assets.consent.submissions import export
from assets.home import Home
from tests.dbt.running import dbt, rows_of
from tests.dbt.small_lake import SmallLake
from tests.reviewers import enrol_reviewers

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


def test_python_and_sql_count_the_same_reviews(home: Home) -> None:
    root = Path(home.state)
    home.lake.mirror(root / "mirror")
    done = dbt("run", root, "--select", "+int_clip_reviews")
    assert done.returncode == 0, done.stdout[-3000:]
    counted = {(row["clip_id"], row["item_id"], row["shot_index"]): row for row in rows_of(root)("int_clip_reviews")}
    seen = set()
    for clip in read_clips(home):
        row, facts = counted.get(clip.key), clip.facts
        valid = any(clip.count.valid(review.id) for review in clip.reviews)
        said = (facts.approvals, facts.rejections, facts.persons_counted or 0, facts.non_identifiable)
        if row is None:  # nobody who may judge it has said anything
            assert said == (0, 0, 0, 0)
            continue
        assert (row["approvals"], row["rejections"], row["persons_counted"], row["non_identifiable"]) == said
        assert valid or said == (0, 0, 0, 0)
        seen |= {*clip.count.why_not.values(), *clip.count.codes}
    whys = ("outdated", "superseded", "not_independent", "same_organisation", "third_needed")
    assert seen == {f"review.{why}" for why in whys}
