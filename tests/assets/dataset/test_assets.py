"""The dataset stage as Dagster runs it."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest

from assets.consent.sealed_members import manifest_key
from assets.dataset import assets as stage
from assets.dataset.renditions import key as rendition_key
from assets.dataset.sealed import current
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
        "every_eligible_clip_can_be_shown": True,
        "contains_eligible_clips_only": True,
        "members_root_recomputes": True,
    }
    shown = metadata(result, "training_snapshot")
    assert shown["snapshot_root"] == current(small_world.home).root
    assert shown["dagster/row_count"] == shown["train"] + shown["heldout"] == 8
    assert shown["outcome"] == "sealed"
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
    manifest = json.loads(home.store.get(manifest_key(root)))
    manifest["members"].pop()
    home.store.put(manifest_key(root), json.dumps(manifest).encode())
    only_checks = dg.AssetSelection.checks_for_assets(stage.training_snapshot) - dg.AssetSelection.checks(
        *(dg.AssetCheckKey(dg.AssetKey("training_snapshot"), name) for name in (stage.MART_CHECK, stage.SHOWN_CHECK))
    )
    result = materialize(home, SNAPSHOT, selection=only_checks)
    assert checks(result) == {"contains_eligible_clips_only": False, "members_root_recomputes": False}


def test_renditions_are_decoded_once_and_shown(small_world: Any) -> None:
    home = small_world.home
    assets = [*SNAPSHOT, stage.renditions]
    first, second = materialize(home, assets), materialize(home, assets)
    assert first.success
    assert second.success
    assert metadata(first, "training_snapshot")["decoded_now"] == 8
    assert metadata(first, "renditions")["decoded_now"] == 0
    assert metadata(second, "renditions")["decoded_now"] == 0
    assert metadata(first, "renditions")["contact_sheet"].startswith("![")


def damaged(world: Any, clip_ids: list[str], data: bytes) -> None:
    """The media files of these clips are not what they were when they were measured."""
    for shot in world.tables["shots"]:
        if shot["clip_id"] in clip_ids:
            world.home.store.put(shot["media_key"], data)


@pytest.mark.parametrize("data", [b"", b"no film", b"\x00" * 5000])
def test_a_clip_that_cannot_be_shown_is_left_out_by_name_and_the_night_goes_on(small_world: Any, data: bytes) -> None:
    home, broken = small_world.home, sorted(small_world.grants)[0]
    damaged(small_world, [broken], data)
    result = materialize(home, [*SNAPSHOT, stage.renditions])
    assert result.success
    assert broken not in current(home).clip_ids
    assert len(current(home).clip_ids) == 7
    assert "rendition.failed" in metadata(result, "training_snapshot")["left_out"]
    (check,) = (c for c in result.get_asset_check_evaluations() if c.check_name == stage.SHOWN_CHECK)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert broken in check.metadata["clips"].value


def test_where_no_clip_can_be_shown_the_step_fails(small_world: Any) -> None:
    damaged(small_world, list(small_world.grants), b"no film")
    result = materialize(small_world.home, SNAPSHOT)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert "none of 8 clips can be shown" in str(failure.step_failure_data.user_failure_data)


def test_a_member_that_loses_its_pictures_later_is_named_and_left_out_of_the_next_snapshot(small_world: Any) -> None:
    home = small_world.home
    assert materialize(home, SNAPSHOT).success
    lost = current(home).clip_ids[0]
    damaged(small_world, [lost], b"no film")
    home.store.delete(rendition_key(lost))
    result = materialize(home, [stage.renditions])
    assert result.success
    assert checks(result) == {"every_member_has_a_rendition": False}
    assert materialize(home, SNAPSHOT).success
    assert lost not in current(home).clip_ids


@pytest.mark.parametrize("check", SNAPSHOT[1:])
def test_the_snapshots_checks_block(check: dg.AssetChecksDefinition) -> None:
    assert all(spec.blocking for spec in check.check_specs)
