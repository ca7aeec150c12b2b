"""What a withdrawal reaches, and what is done there: over a real ledger, sealed snapshots and a real registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.consent.ledger import Ledger
from assets.dataset.snapshot import build
from assets.home import Home
from assets.model.published import COPIES, OVERALL, Scorecard, store_scorecard
from assets.registry import CANDIDATE, CHAMPION, MODEL, Registry
from assets.requests.parse import parse_line
from assets.requests.store import list_proposals
from assets.withdrawals.lineage import Model, downstream
from assets.withdrawals.plan import act_on_ledger

Add = Callable[..., str]


def test_everything_downstream_is_reached_at_any_distance_and_nothing_else() -> None:
    reached = {"r-1": {"clip": ("consent.revoked",)}}
    models = [
        Model("great-grandchild", "r-3", "grandchild"),
        Model("grandchild", "r-3", "child"),
        Model("child", "r-2", "trained"),
        Model("trained", "r-1"),
        Model("clean", "r-2"),
        Model("orphan", "r-2", "never-heard-of"),
        Model("exposed", "r-2", "never-heard-of", ("r-1", "r-2")),
    ]
    causes = downstream(reached, models)
    assert set(causes) == {"trained", "child", "grandchild", "great-grandchild", "exposed"}
    assert causes["child"] == "started from trained, which is tainted"
    assert "consent.revoked" in causes["trained"]


def test_models_that_start_from_each_other_end_the_walk() -> None:
    models = [Model("a", "r-1", "b"), Model("b", "r-2", "a")]
    assert set(downstream({"r-1": {"clip": ("consent.revoked",)}}, models)) == {"a", "b"}


@pytest.fixture
def add(small_world: Any, registry: Registry) -> Add:
    """Registers a version: model key, snapshot root, parent. It has passed the gate and copied nothing."""

    def register_version(key: str, root: str, parent: str | None = None, **tags: str) -> str:
        labels = {"model_key": key, "snapshot_root": root, "gate": "passed", "taint": "none", **tags}
        labels |= {"parent_model": parent} if parent else {}
        copies = {
            "metric": COPIES, "slice": OVERALL, "value": 0.0, "ci_low": 0.0, "ci_high": 0.0, "n": 1, "unit": "1",
            "better": "none", "method": "test", "state": "measured", "why": None,
        }  # fmt: skip
        store_scorecard(registry.home, Scorecard(key, "h", [copies]))
        return str(registry.client.create_model_version(MODEL, "file:///nowhere", tags=labels).version)

    return register_version


def test_nothing_to_do_touches_nothing(small_world: Any) -> None:
    size = Ledger(small_world.home.database_url).size()
    build(small_world.home, datetime.now(UTC))
    actions = act_on_ledger(small_world.home, size)
    assert (actions.ledger_size, actions.affected_clips, actions.tainted_versions) == (size, (), ())
    assert not (small_world.home.state / "mlflow.db").exists(), "nobody had to be asked"


def test_grants_reach_nothing(small_world: Any) -> None:
    build(small_world.home, datetime.now(UTC))
    assert act_on_ledger(small_world.home, 0).affected_clips == ()


def test_a_revocation_taints_closes_and_asks_for_new_footage(small_world: Any, registry: Registry, add: Add) -> None:
    home: Home = small_world.home
    sealed, size = build(home, datetime.now(UTC)).sealed, Ledger(home.database_url).size()
    gone = sealed.clip_ids[0]
    other_root = "f" * 64
    trained, warm, clean = add("m-1", sealed.root), add("m-2", other_root, "m-1"), add("m-3", other_root)
    registry.set_alias(CHAMPION, trained)
    registry.set_alias(CANDIDATE, warm)
    small_world.revoke(gone)

    actions = act_on_ledger(home, size)

    assert actions.ledger_size == size + 1
    assert actions.affected_clips == (gone,)
    assert actions.affected_snapshots == (sealed.root,)
    assert actions.tainted_versions == (trained, warm)
    assert "consent.revoked" in (registry.version(trained).taint or "")
    assert "m-1" in (registry.version(warm).taint or "")
    assert registry.version(clean).taint is None
    assert registry.version(trained).tags["taint_clips"] == gone
    assert registry.alias(CHAMPION) is None  # the clean one's snapshot cannot be shown, so it must not serve either
    assert registry.alias(CANDIDATE) is None
    (proposal,) = list_proposals(home.database_url)
    assert (proposal["origin"], proposal["origin_ref"]) == ("revocation_backfill", gone)
    parse_line(proposal["text"]).checked()


def test_the_champion_moves_to_the_newest_version_that_may_serve(
    small_world: Any, registry: Registry, add: Add
) -> None:
    home: Home = small_world.home
    sealed, size = build(home, datetime.now(UTC)).sealed, Ledger(home.database_url).size()
    gone = sealed.clip_ids[0]
    small_world.revoke(gone)
    without = build(home, datetime.now(UTC)).sealed
    clean, champion = add("m-clean", without.root), add("m-tainted", sealed.root)
    registry.set_alias(CHAMPION, champion)
    actions = act_on_ledger(home, size)
    assert actions.tainted_versions == (champion,)
    assert registry.alias(CHAMPION) == clean
    assert f"version {clean} is champion" in (actions.champion or "")


def test_acting_again_changes_nothing_and_still_reports_what_the_events_reach(
    small_world: Any, registry: Registry, add: Add
) -> None:
    home: Home = small_world.home
    sealed, size = build(home, datetime.now(UTC)).sealed, Ledger(home.database_url).size()
    version = add("m-1", sealed.root)
    small_world.revoke(sealed.clip_ids[0])
    first = act_on_ledger(home, size)
    tags, proposals = registry.version(version).tags, list_proposals(home.database_url)
    again = act_on_ledger(home, size)
    assert again.tainted_versions == first.tainted_versions == (version,)
    assert registry.version(version).tags == tags
    assert list_proposals(home.database_url) == proposals
    assert act_on_ledger(home, first.ledger_size).tainted_versions == ()


def test_a_consent_that_ends_taints_with_no_event(world: Any, empty_registry: Path) -> None:
    now = datetime.now(UTC)
    for name in ("c-1", "c-2", "c-3"):
        world.deliver(name)
    (clip,) = world.deliver("c-4", clips=1, consent=False)
    world.grant(clip, "c-4", expires_at=now + timedelta(days=40))
    world.settle()
    sealed = build(world.home, now).sealed
    assert clip in sealed.clip_ids
    size = Ledger(world.home.database_url).size()
    assert act_on_ledger(world.home, size, now + timedelta(days=39)).affected_clips == ()
    actions = act_on_ledger(world.home, size, now + timedelta(days=41))
    assert actions.affected_clips == (clip,)
    assert "consent.expires" in list_proposals(world.home.database_url)[0]["reason"]


def test_a_model_is_reached_through_a_parent_that_was_never_registered(
    small_world: Any, registry: Registry, add: Add
) -> None:
    home: Home = small_world.home
    sealed, size = build(home, datetime.now(UTC)).sealed, Ledger(home.database_url).size()
    record = {"model_key": "m-hidden", "snapshot_root": sealed.root, "parent_model": None}
    home.store.put("models/m-hidden/result.json", json.dumps(record).encode())
    child = add("m-child", "f" * 64, "m-hidden")
    small_world.revoke(sealed.clip_ids[0])
    assert act_on_ledger(home, size).tainted_versions == (child,)


def test_a_revocation_of_a_clip_in_no_snapshot_is_still_noticed(small_world: Any) -> None:
    size = Ledger(small_world.home.database_url).size()
    gone = sorted(small_world.grants)[0]
    small_world.revoke(gone)
    actions = act_on_ledger(small_world.home, size)
    assert actions.affected_clips == (gone,)
    assert actions.tainted_versions == ()
    assert list_proposals(small_world.home.database_url) == []
