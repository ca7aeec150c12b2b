"""What the stage's tables say and what the warehouse makes of them: the mart is as strict as the stored decision."""

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
