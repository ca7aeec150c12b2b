"""What a withdrawal and a moved alias make the sensors do, and what they ask for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assets.consent.ledger import Ledger
from assets.dataset.snapshot import build as seal
from assets.home import Home
from assets.model.published import COPIES, OVERALL, Scorecard, store_scorecard
from assets.registry import CANDIDATE, CHAMPION, MODEL, Registry
from assets.requests.store import list_proposals
from orchestration.schedules import INPUTS_TAG
from tests.orchestration.sensors.conftest import Tick

Add = Callable[..., str]


@pytest.fixture
def add(registry: Registry) -> Add:
    """Registers a version of a snapshot that passed the gate, having copied `copies` clips."""

    def register(key: str, root: str, copies: int = 0) -> str:
        row = {
            "metric": COPIES, "slice": OVERALL, "value": float(copies), "ci_low": 0.0, "ci_high": 0.0, "n": 1,
            "unit": "1", "better": "none", "method": "test", "state": "measured", "why": None,
        }  # fmt: skip
        store_scorecard(registry.home, Scorecard(key, "h", [row]))
        tags = {"model_key": key, "snapshot_root": root, "gate": "passed", "taint": "none"}
        return str(registry.client.create_model_version(MODEL, "file:///nowhere", tags=tags).version)

    return register


def test_a_withdrawal_acts_on_the_model_asks_for_a_retrain_and_for_new_footage(
    tick: Tick, small_world: Any, registry: Registry, add: Add
) -> None:
    home: Home = small_world.home
    sealed = seal(home, datetime.now(UTC)).sealed
    champion = add("m-1", sealed.root)
    registry.set_alias(CHAMPION, champion)
    cursor = str(Ledger(home.database_url).size())
    small_world.revoke(sealed.clip_ids[0])

    acted = tick("ledger_sensor", home, cursor)

    assert "consent.revoked" in (registry.version(champion).taint or "")
    assert registry.alias(CHAMPION) is None, "no clean version may take its place"
    (request,) = acted.run_requests
    assert "no champion" in request.tags["rushes/why"]
    (seen,) = acted.asset_events
    assert seen.asset_key.path == ["champion"]
    assert "receipts/withdrawals/w-" in seen.metadata["receipts"].value
    assert INPUTS_TAG not in request.tags, "digesting all inputs takes long; the next night compares for itself"
    (proposal,) = list_proposals(home.database_url)
    assert proposal["origin_ref"] == sealed.clip_ids[0]

    again = tick("ledger_sensor", home, acted.cursor)
    assert not again.run_requests
    assert list_proposals(home.database_url) == [proposal]


def test_what_cannot_be_acted_on_fails_the_tick_and_is_tried_again(
    tick: Tick, small_world: Any, registry: Registry, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    home: Home = small_world.home
    sealed = seal(home, datetime.now(UTC)).sealed
    champion = add("m-1", sealed.root)
    cursor = str(Ledger(home.database_url).size())
    small_world.revoke(sealed.clip_ids[0])
    with monkeypatch.context() as away:

        def refused(self: Registry) -> None:
            raise ConnectionError(f"<Connection object at {datetime.now(UTC)}>: refused")

        away.setattr(Registry, "versions", refused)
        acted = tick("ledger_sensor", home, cursor)  # the clip is withdrawn and reported, its models are not known
        with pytest.raises(RuntimeError, match="could not be acted on"):
            tick("ledger_sensor", home, acted.cursor)
    tick("ledger_sensor", home, acted.cursor)
    assert "consent.revoked" in (registry.version(champion).taint or "")


def test_the_champion_moves_to_a_version_that_never_saw_the_clip(
    tick: Tick, small_world: Any, registry: Registry, add: Add
) -> None:
    home: Home = small_world.home
    sealed = seal(home, datetime.now(UTC)).sealed
    cursor = str(Ledger(home.database_url).size())
    small_world.revoke(sealed.clip_ids[0])
    clean, champion = add("m-clean", seal(home, datetime.now(UTC)).sealed.root), add("m-1", sealed.root)
    registry.set_alias(CHAMPION, champion)
    registry.set_alias(CANDIDATE, champion)
    tick("ledger_sensor", home, cursor)
    assert registry.alias(CHAMPION) == clean
    assert registry.alias(CANDIDATE) is None


def test_a_consent_that_ends_asks_for_a_retrain_of_its_own(
    tick: Tick, world: Any, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is no longer for it: under the key of the withdrawal before, Dagster would launch nothing."""
    home, now = world.home, datetime.now(UTC)
    for name in ("c-1", "c-2", "c-3"):
        world.deliver(name)
    (lapsing,) = world.deliver("c-4", clips=1, consent=False)
    world.grant(lapsing, "c-4", expires_at=now + timedelta(days=40))
    world.settle()
    first = seal(home, now).sealed
    cursor = str(Ledger(home.database_url).size())
    add("m-1", first.root)
    world.revoke(next(clip for clip in first.clip_ids if clip != lapsing))
    withdrawn = tick("ledger_sensor", home, cursor)
    second = seal(home, datetime.now(UTC)).sealed
    assert lapsing in second.clip_ids
    add("m-2", second.root)
    assert not tick("ledger_sensor", home, withdrawn.cursor).run_requests
    monkeypatch.setattr("assets.withdrawals.plan.now_utc", lambda: now + timedelta(days=41))
    lapsed = tick("ledger_sensor", home, withdrawn.cursor)
    assert lapsed.cursor.split(":")[0] == withdrawn.cursor.split(":")[0]
    assert len(lapsed.run_requests) == 1
    assert lapsed.run_requests[0].run_key != withdrawn.run_requests[0].run_key


def test_a_withdrawal_that_reaches_no_model_asks_for_no_retrain(tick: Tick, small_world: Any) -> None:
    cursor = str(Ledger(small_world.home.database_url).size())
    small_world.revoke(sorted(small_world.grants)[0])
    output = tick("ledger_sensor", small_world.home, cursor)
    assert not output.run_requests
    assert "No model is affected" in output.skip_reason.skip_message
    assert output.cursor == f"{int(cursor) + 1}:1"


def test_a_ledger_that_only_grew_by_grants_asks_for_nothing(tick: Tick, small_world: Any) -> None:
    assert "No withdrawal" in tick("ledger_sensor", small_world.home).skip_reason.skip_message


def test_an_alias_that_was_moved_to_a_version_that_must_not_serve_is_moved_back(
    tick: Tick, small_world: Any, registry: Registry, add: Add
) -> None:
    home: Home = small_world.home
    root = seal(home, datetime.now(UTC)).sealed.root
    good, copier = add("m-1", root), add("m-2", root, copies=2)
    registry.set_alias(CHAMPION, copier)  # as an engineer does in MLflow's UI
    output = tick("champion_sensor", home).skip_message
    assert registry.alias(CHAMPION) == good
    assert f"version {copier} must not serve" in output
    assert "copies" in output
    assert f"version {good} is champion again" in output
    assert tick("champion_sensor", home).skip_message == f"version {good} may serve"
