"""The dataset stage as Dagster runs it."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest

from assets.dataset import assets as stage
from assets.dataset.sealed import current, key
from assets.home import Home

SNAPSHOT = [stage.training_snapshot, stage.contains_eligible_clips_only, stage.members_root_recomputes]


def materialize(home: Home, assets: list[Any], **more: Any) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(assets, resources={"home": home}, instance=instance, raise_on_error=False, **more)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def test_the_snapshot_is_sealed_checked_and_described(small_world: Any) -> None:
    result = materialize(small_world.home, SNAPSHOT)
    assert result.success
    assert checks(result) == {
        "mart_agrees_with_the_ledger": True,
        "contains_eligible_clips_only": True,
        "members_root_recomputes": True,
    }
    found = metadata(result, "training_snapshot")
    assert found["snapshot_root"] == current(small_world.home).root
    assert found["dagster/row_count"] == found["train"] + found["heldout"] == 8
    assert found["outcome"] == "sealed"
    again = materialize(small_world.home, SNAPSHOT)
    assert metadata(again, "training_snapshot")["outcome"].startswith("nothing new")


def test_a_mart_that_claims_too_much_is_reported_and_the_clip_stays_out(world: Any) -> None:
    for name in ("c-1", "c-2", "c-3"):
        world.deliver(name)
    (unconsented,) = world.deliver("c-4", clips=1, consent=False)
    world.settle(forced=[unconsented])
    result = materialize(world.home, SNAPSHOT)
    assert result.success
    assert checks(result)["mart_agrees_with_the_ledger"] is False
    assert checks(result)["contains_eligible_clips_only"] is True
    assert unconsented[:16] in metadata(result, "training_snapshot")["left_out"]
    assert unconsented not in current(world.home).clip_ids


def test_nothing_eligible_fails_the_asset_with_the_reasons(world: Any) -> None:
    world.deliver("c-1", consent=False)
    world.settle()
    result = materialize(world.home, SNAPSHOT)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert "nothing is eligible" in str(failure.step_failure_data.user_failure_data)


def test_a_revocation_after_sealing_fails_the_check_and_blocks_what_comes_after(small_world: Any) -> None:
    home = small_world.home
    assert materialize(home, SNAPSHOT).success
    small_world.revoke(current(home).clip_ids[0])
    result = materialize(home, SNAPSHOT, selection=dg.AssetSelection.checks(stage.contains_eligible_clips_only))
    assert checks(result) == {"contains_eligible_clips_only": False}


def test_an_edited_manifest_fails_the_checks_that_block(small_world: Any) -> None:
    home = small_world.home
    assert materialize(home, SNAPSHOT).success
    root = current(home).root
    manifest = json.loads(home.store.get(key(root)))
    manifest["members"].pop()
    home.store.put(key(root), json.dumps(manifest).encode())
    only_checks = dg.AssetSelection.checks_for_assets(stage.training_snapshot) - dg.AssetSelection.checks(
        dg.AssetCheckKey(dg.AssetKey("training_snapshot"), stage.MART_CHECK)
    )
    result = materialize(home, SNAPSHOT, selection=only_checks)
    assert checks(result) == {"contains_eligible_clips_only": False, "members_root_recomputes": False}


def test_renditions_are_decoded_once_and_shown(small_world: Any) -> None:
    home = small_world.home
    assets = [*SNAPSHOT, stage.renditions]
    first, second = materialize(home, assets), materialize(home, assets)
    assert first.success
    assert second.success
    assert metadata(first, "renditions")["decoded_now"] == 8
    assert metadata(second, "renditions")["decoded_now"] == 0
    assert metadata(first, "renditions")["contact_sheet"].startswith("![")


@pytest.mark.parametrize("check", SNAPSHOT[1:])
def test_the_snapshots_checks_block(check: dg.AssetChecksDefinition) -> None:
    assert all(spec.blocking for spec in check.check_specs)
