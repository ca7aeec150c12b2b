"""The sample world with fewer good clips, up to the sealed snapshot: every case ends in the verdict it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import pytest

from assets.ingestion.delivery_items import item_id
from orchestration.demo.deliveries import DELIVERIES, REQUESTS
from orchestration.demo.people import REVIEWERS, enrol_everybody, review_everything
from orchestration.demo.story import CASES, Case, outcome
from orchestration.demo.world import build_world
from orchestration.status import mart
from tests.orchestration.graph import Graph, instance_in, settings_in

# clips of the deliveries that have more good ones than it takes; every case is among the rest
ENOUGH = {"d-skyline": 1, "d-street": 1, "d-scenes-1": 4, "d-scenes-2": 2, "d-scenes-3": 2, "d-snow": 2, "d-lava": 1}
WORLD = [replace(each, clips=each.clips[: ENOUGH.get(each.delivery_id)]) for each in DELIVERIES]
BLOCKED = {case.item_id for case in CASES}
DELIVERED = {item_id(d.delivery_id, place): clip for d in WORLD for place, clip in enumerate(d.clips)}
QUARANTINED = {case.item_id for case in CASES if case.fate.value == "quarantined"}
CUTS_WITHIN = 1  # towers.mp4 holds two shots

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """What `make demo` does before it trains: intake, enrolment, refresh, two reviewers, refresh, snapshot."""
    base = tmp_path_factory.mktemp("demo")
    settings = settings_in(base)
    if not settings.vendor.is_dir():
        pytest.skip(f"there is no sample footage in {settings.vendor}: make setup")
    with instance_in(base / "dagster") as instance:
        graph = Graph(settings, instance)
        world = build_world(graph.home, WORLD)
        for day in world.days:
            graph.run("intake", day)
        enrol_everybody(graph.home)
        graph.run("refresh")
        review_everything(graph.home)
        graph.run("refresh")
        graph.run("retrain", assets=["training_snapshot"])
        yield graph


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_ends_in_the_verdict_it_should(graph: Graph, case: Case) -> None:
    ended = outcome(graph.home.lake, case)
    assert ended.as_expected, f"{case.wrong}: {ended.rows}"


def test_the_snapshot_holds_every_good_clip_and_no_other(graph: Graph) -> None:
    members = graph.home.lake.rows("snapshot_members")
    assert {row["item_id"] for row in members} == DELIVERED.keys() - BLOCKED
    assert len(members) == len(DELIVERED) - len(BLOCKED) + CUTS_WITHIN
    assert {row["split"] for row in members} == {"train", "heldout"}


def test_nobody_who_could_be_recognised_is_in_the_snapshot(graph: Graph) -> None:
    shown = {
        item
        for item, clip in DELIVERED.items()
        if clip.identifiable or any(identifiable for _, identifiable in clip.persons)
    }
    assert shown, "somebody is, in what was delivered"
    assert not shown & {row["item_id"] for row in graph.home.lake.rows("snapshot_members")}


def test_no_contributor_and_no_group_of_duplicates_is_on_both_sides_of_the_split(graph: Graph) -> None:
    members = graph.home.lake.rows("snapshot_members")
    for column in ("contributor_id", "dup_group"):
        sides: dict[str, set[str]] = {}
        for row in members:
            sides.setdefault(row[column], set()).add(row["split"])
        assert {len(values) for values in sides.values()} == {1}, column


def test_nothing_that_was_delivered_is_lost(graph: Graph) -> None:
    lake = graph.home.lake
    assert lake.read("deliveries").num_rows == len(WORLD)
    assert {row["item_id"] for row in lake.rows("delivery_items")} == DELIVERED.keys()
    media = {row["item_id"]: row["state"] for row in lake.rows("media")}
    assert media.keys() == DELIVERED.keys()
    assert {item for item, state in media.items() if state == "quarantined"} == QUARANTINED
    clips = len(DELIVERED) - len(QUARANTINED) + CUTS_WITHIN
    for table in ("shots", "signals", "duplicates", "embeddings", "eligibility"):
        assert lake.read(table).num_rows == clips, table
    verdicts = Counter((row["item_id"], row["shot_index"]) for row in lake.rows("verdicts"))
    assert len(verdicts) == clips
    assert len(set(verdicts.values())) == 1, "every clip has a verdict for every check"


def test_every_consent_that_came_is_in_the_ledger_and_only_the_forged_release_was_refused(graph: Graph) -> None:
    events = Counter(row["type"] for row in graph.home.lake.rows("consent_events"))
    contributors = {delivery.contributor_id for delivery in WORLD}
    assert events["register_key"] == len(contributors) + 1, "and the platform's own"
    assert events["enrol"] == len(contributors)
    assert events["revoke"] == sum(bool(clip.revoked_by) for clip in DELIVERED.values()) > 0
    refused = sorted(row["rule"] for row in graph.home.lake.rows("consent_refusals"))
    assert refused == ["key_not_enrolled", "unknown_key"], "the key that nobody verified, and what it signed"


def test_two_people_reviewed_every_clip_that_people_may_look_at(graph: Graph) -> None:
    reviewers: dict[str, set[str]] = {}
    for row in graph.home.lake.rows("reviews"):
        reviewers.setdefault(row["clip_id"], set()).add(row["reviewer_id"])
    assert {row["clip_id"] for row in graph.home.lake.rows("snapshot_members")} <= reviewers.keys()
    assert all(names == set(REVIEWERS) for names in reviewers.values())


def test_the_warehouse_agrees_with_the_lake(graph: Graph) -> None:
    members = {row["clip_id"] for row in graph.home.lake.rows("snapshot_members")}
    assert {row["clip_id"] for row in mart(graph.home, "mart_training_eligibility") if row["eligible"]} == members
    assert len(mart(graph.home, "fct_items")) == len(DELIVERED)
    assert {row["request_id"] for row in mart(graph.home, "fct_request_fulfilment")} == REQUESTS.keys()


def test_no_asset_check_failed(graph: Graph) -> None:
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    runs = [graph.instance.get_records_for_run(run.run_id, of_type=kind) for run in graph.instance.get_runs()]
    events = [record.event_log_entry.dagster_event for run in runs for record in run.records]
    checks = [event.asset_check_evaluation_data for event in events if event]
    assert {"media", "fct_clips", "training_snapshot"} <= {check.asset_key.to_user_string() for check in checks}
    severe = [check for check in checks if check.severity == dg.AssetCheckSeverity.ERROR and not check.passed]
    assert [f"{check.asset_key.to_user_string()}.{check.check_name}" for check in severe] == []
