"""The three assets over small tables: what they write and show, what their checks notice, and what the mart makes of it."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assets.consent import assets as stage
from assets.consent.assets import eligibility, reviews, reviews_are_counted_by_the_rule
from assets.consent.clips import read_clips
from assets.consent.ledger import Ledger
from assets.consent.platform import enrol, platform_key
from assets.consent.reviewer_agreement import agreement, differences, pairs, rows, void_reviews
from assets.home import Home
from assets.tables import TABLES
from tests.dbt.models import PlainModels
from tests.worlds import enrol_reviewers
from training.consent import events as ev
from training.consent.canonical import sha256_hex
from training.consent.keys import CHECKPOINT_KEY, checkpoint_holds, key_id_of, load_or_create, public_bytes

ASSETS = [stage.consent_ledger, stage.reviews, stage.eligibility]
CHECKS = [
    stage.ledger_root_recomputes,
    stage.table_agrees_with_ledger,
    stage.reviews_are_counted_by_the_rule,
    stage.default_deny_holds,
    stage.decided_on_a_whole_ledger,
]
SHA = "0" * 64


def materialise(home: Home, *only: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [*(only or ASSETS), *(check for check in CHECKS if not only)], resources={"home": home}, raise_on_error=False
    )


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def submit(home: Home, day: str, *envelopes: Any) -> None:
    texts = [envelope if isinstance(envelope, str) else json.dumps(envelope) for envelope in envelopes]
    home.lake.write(
        "consent_submissions",
        [
            {
                "delivery_id": "d-1",
                "received_day": day,
                "event_sha256": sha256_hex(text.encode()),
                "envelope_json": text,
            }
            for text in texts
        ],
        day,
    )


def key_of(party: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(party.encode().ljust(32, b"."))


@pytest.fixture
def enrolled(home: Home) -> Home:
    """A home in which an officer has verified who holds ann's key."""
    enrol(home, "c-ann", key_id_of(public_bytes(key_of("c-ann"))), officer="o-ida", evidence_sha256=SHA)
    return home


def signed(party: str = "c-ann", **more: Any) -> list[ev.Envelope]:
    """A key registration and a grant of one party."""
    key = key_of(party)
    at = datetime(2026, 11, 2, 8, tzinfo=UTC)
    grant = ev.grant(party, "contributor", ["e" * 64], ["train"], at, notice_sha256=SHA, terms_sha256=SHA, **more)
    return [ev.sign(ev.register_key(party, key, at), key), ev.sign(grant, key)]


def test_everything_materialises_over_an_empty_home(home: Home) -> None:
    result = materialise(home)
    assert result.success
    assert set(checks(result).values()) == {True}
    assert len(checks(result)) == len(CHECKS)


def test_events_of_all_days_enter_the_ledger_whatever_order_they_are_stored_in(enrolled: Home) -> None:
    home = enrolled
    key, grant = signed()
    submit(home, "2026-11-02", grant)
    submit(home, "2026-11-03", key, "{broken", signed("c-late")[1])
    result = materialise(home)
    assert result.success
    types = [row["type"] for row in home.lake.rows("consent_events")]
    assert types == ["register_key", "enrol", "register_key", "grant"]  # the platform's key, and what it attests, first
    assert sorted(row["rule"] for row in home.lake.rows("consent_refusals")) == ["malformed", "unknown_key"]
    shown = metadata(result, "consent_ledger")
    assert shown["ledger_size"] == 4
    assert shown["ledger_root"] == Ledger(home.database_url).head().root
    assert "unknown_key" in shown["refused_by_rule"]
    assert checkpoint_holds(shown["checkpoint"], public_bytes(load_or_create(home.signing / CHECKPOINT_KEY)))


def test_the_second_time_appends_nothing_and_writes_the_same_bytes(home: Home) -> None:
    submit(home, "2026-11-02", *signed(), "{broken")
    keys = ["lake/consent_events/part.parquet", "lake/consent_refusals/part.parquet", "lake/eligibility/part.parquet"]
    assert materialise(home).success
    first, head = [home.store.get(key) for key in keys], Ledger(home.database_url).head()
    result = materialise(home)
    assert result.success
    assert [home.store.get(key) for key in keys] == first
    assert Ledger(home.database_url).head() == head
    assert metadata(result, "consent_ledger")["admitted_now"] == 0


def test_a_refused_event_leaves_the_table_once_what_it_lacked_has_come(enrolled: Home) -> None:
    home = enrolled
    key, grant = signed()
    submit(home, "2026-11-02", grant)
    assert materialise(home, stage.consent_ledger).success
    assert len(home.lake.rows("consent_refusals")) == 1
    submit(home, "2026-11-03", key)
    assert materialise(home, stage.consent_ledger).success
    assert home.lake.rows("consent_refusals") == []
    assert len(home.lake.rows("consent_events")) == 4


def test_a_tampered_ledger_fails_the_blocking_check_and_stops_eligibility(small_world: Any) -> None:
    home: Home = small_world.home
    assert materialise(home).success
    raw = sqlite3.connect(home.state / "rushes.db", isolation_level=None)
    raw.execute("DROP TRIGGER consent_leaf_no_update")
    raw.execute("UPDATE consent_leaf SET recorded_at = '2026-01-01T00:00:00Z' WHERE seq = 3")
    result = materialise(home)
    assert not result.success
    assert checks(result)["ledger_root_recomputes"] is False
    assert result.asset_materializations_for_node("eligibility") == []


def test_an_edited_export_fails_its_check(small_world: Any) -> None:
    home: Home = small_world.home
    assert materialise(home).success
    rows = home.lake.rows("consent_events")
    rows[1]["leaf_hash"] = SHA
    home.lake.write("consent_events", rows)
    assert not stage.table_agrees_with_ledger(home).passed


def test_reviewed_and_consented_clips_are_eligible_and_the_rest_says_why(world: Any) -> None:
    good = world.deliver("c-1")
    unconsented = world.deliver("c-2", consent=False)
    world.settle()
    result = materialise(world.home)
    assert result.success
    rows = {row["clip_id"]: row for row in world.home.lake.rows("eligibility")}
    assert {clip for clip, row in rows.items() if row["eligible"]} == set(good)
    assert all(rows[clip]["reasons"] == ["consent.none"] for clip in unconsented)
    shown = metadata(result, "eligibility")
    assert (shown["eligible"], shown["not_eligible"]) == (2, 2)
    assert "| consent.none | 2 |" in shown["reasons"]
    assert shown["plot"].startswith("![eligible clips over time](data:image/png;base64,")
    assert metadata(result, "reviews")["agreement"] == 1.0
    assert metadata(result, "reviews")["queue_length"] == 0


def test_what_is_not_reviewed_waits_in_the_queue_and_is_not_eligible(world: Any) -> None:
    world.deliver("c-1")
    world.settle(review=False)
    result = materialise(world.home)
    assert result.success
    assert metadata(result, "reviews")["queue_length"] == 2
    assert {tuple(row["reasons"]) for row in world.home.lake.rows("eligibility")} == {("review.pending",)}


def test_a_revocation_shows_at_the_next_materialisation(small_world: Any) -> None:
    home: Home = small_world.home
    gone = sorted(small_world.grants)[0]
    assert materialise(home).success
    small_world.revoke(gone)
    assert materialise(home).success
    (row,) = [row for row in home.lake.rows("eligibility") if row["clip_id"] == gone]
    # a withdrawn consent voids what was judged under it, too
    assert (row["eligible"], row["reasons"]) == (False, ["consent.revoked", "review.pending"])


def test_consent_that_ends_before_the_horizon_is_not_enough(world: Any) -> None:
    (clip,) = world.deliver("c-1", clips=1, consent=False)
    world.grant(clip, "c-1", expires_at=datetime.now(UTC) + timedelta(days=10))
    world.settle()
    assert materialise(world.home).success
    assert world.home.lake.rows("eligibility")[0]["reasons"] == ["consent.expires"]


@pytest.mark.parametrize("change", [{"eligible": True}, {"reasons": []}, None])
def test_a_yes_without_ground_a_no_without_reason_and_a_missing_row_fail_default_deny(
    world: Any, change: dict[str, Any] | None
) -> None:
    world.deliver("c-1", clips=1, consent=False)
    world.settle()
    assert materialise(world.home).success
    assert stage.default_deny_holds(world.home).passed
    rows = world.home.lake.rows("eligibility")
    world.home.lake.write("eligibility", [] if change is None else [row | change for row in rows])
    assert not stage.default_deny_holds(world.home).passed


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
        world.review(reviewer, "reject" if codes else "approve", *codes, clip=clip, now=datetime.now(UTC))
    return world


def test_agreement_is_measured_per_pair_and_corrected_for_chance(judged: Any) -> None:
    matches = {pair["pair"]: pair for pair in pairs(rows(judged.home))}
    assert (matches["v-1 and v-2"]["clips"], matches["v-1 and v-2"]["agreed"]) == (6, 1.0)
    assert matches["v-1 and v-2"]["kappa"] is None  # both always approve: chance explains all of it
    assert matches["v-1 and v-2"]["note"] == "always the same"
    assert (matches["v-1 and v-3"]["agreed"], matches["v-1 and v-3"]["expected"]) == (0.5, 0.5)
    assert matches["v-1 and v-3"]["kappa"] == 0
    assert agreement(rows(judged.home)) == {"reviewed_twice": 6, "agreement": pytest.approx(5 / 6)}


def test_cohens_kappa_of_a_textbook_table() -> None:
    """20 both yes, 5 yes/no, 10 no/yes, 15 both no: 0.7 observed, 0.5 by chance, kappa 0.4."""
    table = [("approve", "approve")] * 20 + [("approve", "reject")] * 5 + [("reject", "approve")] * 10
    table += [("reject", "reject")] * 15
    sample = [
        {"clip_id": str(n), "item_id": "i", "shot_index": 0, "reviewer_id": who, "verdict": verdict, "valid": True}
        for n, verdicts in enumerate(table)
        for who, verdict in zip(("a", "b"), verdicts, strict=True)
    ]
    assert [(p["agreed"], p["expected"], p["kappa"]) for p in pairs(sample)] == [(0.7, 0.5, 0.4)]


def test_what_does_not_count_is_listed_with_the_reason(judged: Any) -> None:
    (matches,) = void_reviews(rows(judged.home))
    assert (matches["why"], matches["reviews"]) == ("review.same_organisation", 1)
    assert matches["example"].startswith("v-4 on ")


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


def _models(world: Any) -> PlainModels:
    """The models over the lake, once the stage has written its tables."""
    written = [stage.consent_ledger, stage.reviews, stage.eligibility]
    assert dg.materialize(written, resources={"home": world.home}).success
    return PlainModels({name: world.home.lake.read(name) for name in TABLES})


@pytest.mark.slow
def test_the_mart_says_of_every_clip_what_was_decided_and_nothing_without_a_decision(world: Any) -> None:
    now = datetime.now(UTC)
    good = world.deliver("c-1")
    unconsented = world.deliver("c-2", consent=False)
    revoked, disputed = world.deliver("c-3")
    ending = world.deliver("c-4", consent=False)
    world.grant(ending[0], "c-4", expires_at=now + timedelta(days=365))
    world.grant(ending[1], "c-4", recipients=("org-1",))
    world.settle()
    world.revoke(revoked)
    opening = ev.dispute("platform", [disputed], "legal.privacy", now)
    world.ledger.append(ev.sign(opening, platform_key(world.home)), now)
    unreviewed = world.deliver("c-5", clips=1)
    world.settle(review=False)

    models = _models(world)
    mart = models.rows("mart_training_eligibility")
    assert {row["clip_id"] for row in mart if row["eligible"]} == {*good, ending[0]}
    against = {row["clip_id"]: row["reasons"] for row in mart if not row["eligible"]}
    assert against == {
        **{clip: ["consent.none"] for clip in unconsented},
        revoked: ["consent.revoked", "review.pending"],  # it was reviewed with that consent standing
        disputed: ["dispute.open"],
        ending[1]: ["consent.recipient"],
        unreviewed[0]: ["review.pending"],
    }
    for test in ("eligible_only_as_decided", "eligible_means_every_witness_agrees"):
        assert models.failures(test) == [], test
    models.connection.execute("delete from lake.eligibility")
    mart = models.rows("mart_training_eligibility")
    assert not any(row["eligible"] or row["consent_agrees"] for row in mart)
    assert all("decision.missing" in row["reasons"] for row in mart)
