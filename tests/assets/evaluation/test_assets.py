"""The last stages in Dagster: a trained and measured model is registered, judged and released; consent stops each."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import mlflow
import numpy as np
import pytest
from safetensors.numpy import load

from assets.dataset import renditions
from assets.dataset.snapshot import build
from assets.evaluation import assets as evaluation
from assets.evaluation import report
from assets.evaluation.measuring import SCENE_SEEDS
from assets.home import Home
from assets.model.published import Scorecard, current_model, heldout_digest, store_scorecard
from assets.registry import CANDIDATE, CHAMPION, Registry
from assets.release import assets as release
from assets.release.bundle import read_manifest, unmarked
from tests.assets.evaluation import scores
from training.data.video import write_mp4
from training.simulate import random_scene

STAGES = [
    evaluation.registered_model,
    evaluation.champion,
    release.release_bundle,
    release.data_summary,
    release.model_card,
]


def materialise(home: Home, *assets: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    return dg.materialize(list(assets), resources={"home": home}, raise_on_error=False)


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: entry.value for name, entry in event.metadata.items()}


@pytest.fixture
def trained(registry: Registry, small_world: Any, weights: Path, tmp_path: Path) -> Home:
    """A home in which a model was trained, sampled and measured: what the earlier assets would have left."""
    home = registry.home
    home.lake.write("consent_events", [])
    sealed = build(home, datetime.now(UTC)).sealed
    learn(home, registry, sealed, weights, "m-1", flow=0.4)
    return home


def learn(home: Home, registry: Registry, sealed: Any, weights: Path, model_key: str, flow: float) -> None:
    record = {
        "model_key": model_key, "snapshot_root": sealed.root, "code_version": "c", "parent_model": None,
        "transformer": {"result": {"steps": 9}, "mlflow_run_id": registry.start_run(model_key, model_key)},
    }  # fmt: skip
    for file in weights.iterdir():
        home.store.put(f"models/{model_key}/{file.name}", file)
    home.store.put(f"models/{model_key}/result.json", json.dumps(record).encode())
    home.store.put("models/latest.json", json.dumps({"model_key": model_key}).encode())
    video = write_mp4(weights / "sample.mp4", np.full((9, 64, 64, 3), 90, np.uint8), 8)
    home.store.put(f"samples/{model_key}/s-1.mp4", video)
    video.unlink()
    home.lake.write("samples", [
        {"sample_id": "s-1", "model_key": model_key, "prompt": "grey", "seed": 1, "frames": 9, "fps": 8.0,
         "media_key": f"samples/{model_key}/s-1.mp4", "width": 64, "height": 64}
    ])  # fmt: skip
    rows = scores.rows(model_key, level=flow)
    home.lake.write("scorecard", rows)
    store_scorecard(home, Scorecard(model_key, heldout_digest(sealed), rows, scores.values(flow)))


def test_a_good_model_goes_from_its_weights_to_a_marked_release(trained: Home):
    assert materialise(trained, *STAGES).success
    registry = Registry(trained)
    assert registry.alias(CANDIDATE) == registry.alias(CHAMPION) == "1"
    version = registry.version("1")
    assert {"snapshot_root", "ledger_checkpoint", "code_version", "dagster_run_id", "taint"} <= version.tags.keys()
    assert len(read_manifest(trained, "m-1")["files"]) == 1
    assert unmarked(trained, "m-1") == {}
    assert b"video-transformer 1 (candidate, champion)" in trained.store.get("release/m-1/model_card.md")
    logged = {item.path for item in registry.client.list_artifacts(version.run_id, "release")}
    assert logged == {"release/model_card.md", "release/data_summary.md", "release/data_summary.json"}
    videos = [item.path for item in registry.client.list_artifacts(version.run_id, "samples")]
    assert videos == ["samples/01-grey-seed1.mp4", "samples/prompts.json"]
    assert "Not measured" not in registry.client.get_run(version.run_id).data.tags["mlflow.note.content"]


def test_the_same_model_again_makes_no_second_version_and_no_new_file(trained: Home):
    materialise(trained, *STAGES)
    before = {key: trained.store.get(key) for key in trained.store.list("release")}
    again = materialise(trained, *STAGES)
    assert again.success
    assert [version.number for version in Registry(trained).versions()] == ["1"]
    assert {key: trained.store.get(key) for key in trained.store.list("release")} == before
    assert metadata(again, "champion")["decision"] == "every rule passed"
    assert "better" not in metadata(again, "champion")["rules"]
    assert len(list(trained.store.list("gate/m-1"))) == 1


def test_a_worse_model_becomes_candidate_only_and_releases_nothing(trained: Home, weights: Path):
    materialise(trained, *STAGES)
    registry = Registry(trained)
    learn(trained, registry, build(trained, datetime.now(UTC)).sealed, weights, "m-2", flow=0.45)
    result = materialise(trained, *STAGES)
    assert result.success
    assert (registry.alias(CANDIDATE), registry.alias(CHAMPION)) == ("2", "1")
    assert "nothing new is released" in metadata(result, "release_bundle")["outcome"]
    assert read_manifest(trained, "m-2") == {}
    rules = metadata(result, "champion")["rules"]
    assert "heldout_flow_loss against the champion" in rules
    assert "difference [95 %]" in rules


def test_a_withdrawal_after_training_stops_the_registration(trained: Home, small_world: Any):
    small_world.revoke(next(iter(small_world.grants)))
    result = materialise(trained, *STAGES)
    assert not result.success
    (check,) = [c for c in result.get_asset_check_evaluations() if c.asset_key.to_user_string() == "registered_model"]
    assert not check.passed
    assert Registry(trained).versions() == []


def test_a_withdrawal_after_promotion_closes_the_champion_and_keeps_the_candidate_out(trained: Home, small_world: Any):
    materialise(trained, *STAGES)
    small_world.revoke(next(iter(small_world.grants)))
    result = materialise(trained, evaluation.champion, release.release_bundle)
    assert Registry(trained).alias(CHAMPION) is None
    assert "consent" in metadata(result, "champion")["decision"]
    assert "no version is champion" in metadata(result, "release_bundle")["outcome"]


def test_a_released_file_that_lost_its_marks_fails_the_check(trained: Home, weights: Path):
    materialise(trained, *STAGES)
    registry = Registry(trained)
    trained.store.put("release/m-1/s-1.mp4", trained.store.fetch("samples/m-1/s-1.mp4"))
    learn(trained, registry, build(trained, datetime.now(UTC)).sealed, weights, "m-2", flow=0.45)
    result = materialise(trained, *STAGES)
    (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name == release.MARKED]
    assert not check.passed


def serves(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name == evaluation.SERVES]
    return check


def test_a_night_that_ends_without_a_champion_warns_and_says_why(trained: Home, registry: Registry, weights: Path):
    learn(trained, registry, build(trained, datetime.now(UTC)).sealed, weights, "m-2", flow=float("inf"))
    result = materialise(trained, *STAGES)
    assert result.success
    check = serves(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "the gate refused version 1 (" in (check.description or "")
    assert serves(materialise(trained, evaluation.champion)).passed is False


def test_a_night_that_ends_with_a_champion_says_which_version_serves(trained: Home):
    check = serves(materialise(trained, *STAGES))
    assert check.passed
    assert check.description == "version 1 serves"


def test_a_sample_stands_beside_the_real_clip_on_its_page_and_a_rendered_scene_in_mlflow(
    trained: Home, registry: Registry, tmp_path: Path
):
    sealed = current_model(trained).sealed
    held = next(member for member in sealed.members if member["split"] == "heldout")
    scene = random_scene(SCENE_SEEDS[0]).caption()
    renditions.render_all(trained, [held])
    video = trained.store.get("samples/m-1/s-1.mp4")
    rows = []
    for name, prompt in (("s-0", scene), ("s-1", held["caption"]), ("s-2", "a prompt of nobody")):
        trained.store.put(f"samples/m-1/{name}.mp4", video)
        rows.append(
            trained.lake.rows("samples")[0]
            | {"sample_id": name, "prompt": prompt, "media_key": f"samples/m-1/{name}.mp4"}
        )
    trained.lake.write("samples", rows)
    videos = report.load_videos(trained, current_model(trained))
    assert [(v.prompt, v.truth_is) for v in videos] == [
        (held["caption"], report.HELD_OUT),
        (scene, report.RENDERED),
        ("a prompt of nobody", ""),
    ]
    real = load(trained.store.get(renditions.key(held["clip_id"])))["frames"]
    assert np.array_equal(videos[0].truth, real)
    page = report.moving(videos)
    assert page.index("right: the held-out clip") < page.index("right: the rendered scene")

    materialise(trained, *STAGES)
    run_id = registry.version("1").run_id
    logged = {item.path for item in registry.client.list_artifacts(run_id, "samples")}
    table = json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/samples/prompts.json"))
    assert [line[:2] for line in table["data"]] == [[scene, 1], [held["caption"], 1], ["a prompt of nobody", 1]]
    files = {line[2] for line in table["data"]} | {table["data"][0][3], "prompts.json"}
    assert logged == {f"samples/{name}" for name in files}, "a contributor's pictures are not where none are deleted"


def test_without_a_model_the_stage_says_what_to_do(home: Home):
    result = materialise(home, evaluation.samples)
    assert not result.success
    assert "no model was trained yet" in str(result.failure_data_for_node("samples").user_failure_data.description)
