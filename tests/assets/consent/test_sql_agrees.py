"""What the stage's tables say and what the warehouse's models make of them: one answer about every clip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from assets.consent import assets as stage
from assets.consent.platform import platform_key
from assets.tables import TABLES
from tests.dbt.plain import PlainModels
from training.consent import events as ev


def _models(world: Any) -> PlainModels:
    """The models over the lake, once the stage has written its tables."""
    written = [stage.consent_ledger, stage.reviews, stage.eligibility]
    assert dg.materialize(written, resources={"home": world.home}).success
    return PlainModels({name: world.home.lake.read(name) for name in TABLES})


@pytest.mark.slow
def test_tables_and_models_agree_on_consent_reviews_and_the_whole(world: Any) -> None:
    """Decided by Python over the window that the ledger and the day give, and by SQL over the window that it finds."""
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
    mart = models.connection.table(models.make("mart_training_eligibility")).to_arrow_table().to_pylist()
    assert {row["clip_id"] for row in mart if row["eligible"]} == {*good, ending[0]}
    against = {row["clip_id"]: row["reasons"] for row in mart if not row["eligible"]}
    assert against == {
        **{clip: ["consent.none"] for clip in unconsented},
        revoked: ["consent.revoked", "review.pending"],  # it was reviewed with that consent standing
        disputed: ["dispute.open"],
        ending[1]: ["consent.recipient"],
        unreviewed[0]: ["review.pending"],
    }
    for test in (
        "python_and_sql_agree_on_consent",
        "python_and_sql_agree_on_reviews",
        "eligible_means_every_witness_agrees",
    ):
        assert models.failures(test) == [], test
    assert models.connection.table("int_consent_decisions").to_arrow_table().num_rows == len(mart)


def test_the_comparison_finds_a_table_that_python_did_not_write(world: Any) -> None:
    world.deliver("c-1")
    world.settle()
    models = _models(world)
    models.connection.execute("update lake.eligibility set consent_ids = ['k-another']")
    assert len(models.failures("python_and_sql_agree_on_consent")) == 2
