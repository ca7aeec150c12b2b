"""What the model stage does with a training process, however it ends. Scripts stand in for training here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.dataset.sealed import Sealed
from assets.home import Home
from assets.model import assets as stage
from assets.model import published, warm
from assets.registry import Registry

Run = Callable[..., dg.ExecuteInProcessResult]
Script = Callable[[str], None]

LEARNS = """
import numpy as np
from safetensors.numpy import save_file
with (run_dir / "metrics.jsonl").open("a") as out:
    for step, loss in ((0, 1.0), (10, 0.5)):
        out.write(json.dumps({"step": step, "time_s": 0.1, "train/loss": loss, "heldout/codec_loss": 20 - step}) + "\\n")
save_file({"w": np.ones((3, 4), np.float32)}, run_dir / "codec.safetensors")
(run_dir / "codec.json").write_text("{}")
root, at = config["snapshot_root"], json.loads(Path(config["manifest"]).read_text())["at"]
(run_dir / "result.json").write_text(json.dumps({"task": "codec", "steps": 10, "seconds": 0.2, "stopped": None,
    "start": {"heldout/codec_loss": 20.0}, "end": {"heldout/codec_loss": 10.0}, "snapshot_root": root,
    "exposure": [root], "exposed_since": {root: at}}))
"""


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_reconstruction", lambda *_: b"picture")


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("video_autoencoder")
    return {name: value.value for name, value in event.metadata.items()}


def record_of(home: Home, sealed: Sealed) -> dict[str, Any] | None:
    return published.result(home, warm.plan(home, sealed.root).model_key, "codec")


def test_a_run_that_learns_is_published_with_its_curve_and_its_mlflow_run(
    small_world: Any, sealed: Sealed, run: Run, scripted: Script
) -> None:
    scripted(LEARNS)
    result = run(small_world.home, stage.video_autoencoder)
    assert result.success
    assert checks(result) == {stage.CONSENT: True, stage.FINITE: True, stage.IMPROVED: True}
    shown, record = metadata(result), record_of(small_world.home, sealed)
    assert record is not None
    assert (shown["parameters"], shown["steps"], shown["outcome"]) == (12, 10, "trained")
    assert shown["snapshot_root"] == sealed.root
    registered = Registry(small_world.home).client.get_run(record["mlflow_run_id"])
    assert registered.info.status == "FINISHED"
    assert registered.data.metrics["codec/train/loss"] == 0.5
    chosen = {name.removeprefix("codec."): value for name, value in registered.data.params.items()}
    expected = {"preset": "nano", "size": "nano", "seed": "0", "minutes": "0.0", "parent_model": "best"}
    expected |= {"caption_dropout": "0.1"}
    assert expected.items() <= chosen.items(), "each choice is a parameter, whether somebody made it or not"
    assert registered.data.tags["snapshot_root"] == sealed.root
    assert registered.inputs.dataset_inputs[0].dataset.name == "training_snapshot"


def test_the_same_plan_is_not_trained_again_and_says_so(
    small_world: Any, sealed: Sealed, run: Run, scripted: Script
) -> None:
    scripted(LEARNS)
    assert run(small_world.home, stage.video_autoencoder).success
    scripted("raise SystemExit('trained again')")
    again = run(small_world.home, stage.video_autoencoder)
    assert again.success
    assert metadata(again)["outcome"] == "nothing new: reused"
    assert checks(again) == {stage.CONSENT: True, stage.FINITE: True, stage.IMPROVED: True}


def test_weights_that_exist_are_not_reused_once_consent_is_gone(
    small_world: Any, sealed: Sealed, run: Run, scripted: Script
) -> None:
    scripted(LEARNS)
    assert run(small_world.home, stage.video_autoencoder).success
    small_world.revoke(sealed.clip_ids[0])
    again = run(small_world.home, stage.video_autoencoder)
    assert not again.success
    assert checks(again) == {stage.CONSENT: False}


@pytest.mark.parametrize(
    ("ending", "failing"),
    [
        (LEARNS.replace("(10, 0.5)", "(10, float('nan'))"), stage.FINITE),
        (LEARNS.replace('"end": {"heldout/codec_loss": 10.0}', '"end": {"heldout/codec_loss": 21.0}'), stage.IMPROVED),
    ],
    ids=["diverged", "learned nothing"],
)
def test_a_run_that_is_no_good_publishes_nothing(
    small_world: Any, sealed: Sealed, run: Run, scripted: Script, ending: str, failing: str
) -> None:
    scripted(ending)
    result = run(small_world.home, stage.video_autoencoder)
    assert not result.success
    assert checks(result)[failing] is False
    assert record_of(small_world.home, sealed) is None
    assert list(small_world.home.store.list("models")) == []


@pytest.mark.parametrize("message", ["{}", '{"0" * 64: at}'], ids=["nothing", "another snapshot"])
def test_weights_that_do_not_say_that_they_saw_the_snapshot_are_not_published(
    small_world: Any, sealed: Sealed, run: Run, scripted: Script, message: str
) -> None:
    scripted(LEARNS.replace("{root: at}", message))
    result = run(small_world.home, stage.video_autoencoder)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert "exposure.unknown" in str(check.metadata["reasons"].value)
    assert record_of(small_world.home, sealed) is None


def test_a_plan_that_starts_from_an_unknown_model_says_so(small_world: Any, sealed: Sealed, run: Run) -> None:
    home = replace(small_world.home, training={"parent_model": "nobody"})
    result = run(home, stage.video_autoencoder)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert "no model 'nobody' was published" in str(failure.step_failure_data.error)


def test_a_process_that_dies_publishes_nothing_and_an_old_result_does_not_speak_for_it(
    small_world: Any, sealed: Sealed, run: Run, scripted: Script
) -> None:
    plan = warm.plan(small_world.home, sealed.root)
    old = small_world.home.scratch(f"runs/{plan.run_name('codec')}")
    (old / "result.json").write_text('{"stopped": null, "start": {}, "end": {}}')
    scripted("raise SystemExit(1)")
    result = run(small_world.home, stage.video_autoencoder)
    assert not result.success
    assert record_of(small_world.home, sealed) is None
    (failure,) = result.get_step_failure_events()
    assert "left no result" in str(failure.step_failure_data.user_failure_data)


@pytest.mark.parametrize("later", [LEARNS, LEARNS.replace("30.0", "19.0")], ids=["learns", "learns nothing"])
def test_a_process_that_dies_is_launched_again_and_one_that_learned_nothing_is_not(
    small_world: Any, sealed: Sealed, scripted: Script, tmp_path: Path, later: str
) -> None:
    count = tmp_path / "launches"
    scripted(
        f"with open({str(count)!r}, 'a') as out: out.write('x')\n"
        f"if Path({str(count)!r}).stat().st_size == 1: raise SystemExit(1)\n{later}"
    )
    job = dg.define_asset_job("train", [stage.video_autoencoder], op_retry_policy=dg.RetryPolicy(max_retries=3))
    defs = dg.Definitions([stage.video_autoencoder], jobs=[job], resources={"home": small_world.home})
    result = defs.resolve_job_def("train").execute_in_process(raise_on_error=False)
    assert len(count.read_text()) == 2
    assert (record_of(small_world.home, sealed) is not None) == result.success == (later == LEARNS)


def test_a_revocation_during_the_last_steps_keeps_finished_weights_from_being_published(
    small_world: Any, sealed: Sealed, run: Run, scripted: Script
) -> None:
    scripted(LEARNS)
    original = stage.execute

    def revoke_meanwhile(*arguments: Any) -> None:
        original(*arguments)
        small_world.revoke(sealed.clip_ids[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "execute", revoke_meanwhile)
        result = run(small_world.home, stage.video_autoencoder)
    assert not result.success
    assert checks(result) == {stage.CONSENT: False}
    assert record_of(small_world.home, sealed) is None
