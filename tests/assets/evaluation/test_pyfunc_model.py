"""The registered model, loaded as MLflow loads it: prompts in, marked files out."""

import json
import types
from pathlib import Path
from typing import Any

import pytest

from assets.evaluation.registry import CHAMPION, Registry
from assets.release.generation import generate_marked
from assets.release.marks import read_marks

TAGS = {"model_key": "m-1", "snapshot_root": "ab" * 32, "ledger_checkpoint": "7:" + "cd" * 32}


@pytest.fixture
def champion(registry: Registry, weights: Path) -> str:
    version = registry.register(registry.start_run("m-1", "m-1"), weights, TAGS)
    registry.set_alias(CHAMPION, version)
    return version


def load(registry: Registry) -> Any:
    import mlflow

    mlflow.set_tracking_uri(registry.home.mlflow_uri)
    mlflow.set_registry_uri(registry.home.mlflow_uri)
    return mlflow.pyfunc.load_model("models:/video-transformer@champion")


def test_predict_gives_a_marked_file_for_every_prompt(
    registry: Registry, champion: str, sampler: list[dict[str, Any]], tmp_path: Path
):
    import pandas as pd

    rows = pd.DataFrame({"prompt": ["a red ball", "a nude"], "seed": [3, 4], "steps": [2, 2]})
    answers = load(registry).predict(rows, params={"output_dir": str(tmp_path / "videos")})
    assert list(answers["prompt"]) == ["a red ball", "a nude"]
    assert list(answers["refused"]) == ["", "policy.sexual"]
    assert answers["path"][1] == ""
    marks = read_marks(Path(answers["path"][0]), registry.home.signing)
    assert marks.complete, marks.problems
    assert marks.provenance.claims["model_id"] == "m-1"
    (call,) = sampler
    assert (call["prompts"], call["seeds"], call["steps"]) == (["a red ball"], [3], 2)
    assert (call["model_dir"] / "transformer.safetensors").is_file()


def test_a_list_of_prompts_is_enough(registry: Registry, champion: str, sampler: list[dict[str, Any]]):
    answers = load(registry).unwrap_python_model().predict(_context(registry, champion), ["a red ball", "a blue cube"])
    assert all(Path(path).is_file() for path in answers["path"])
    assert sampler[0]["seeds"] == [0, 1]


def test_a_request_without_prompts_says_what_is_needed(registry: Registry, champion: str):
    with pytest.raises(ValueError, match="at least one row with the column `prompt`"):
        load(registry).unwrap_python_model().predict(_context(registry, champion), [{"text": "a red ball"}])


def _context(registry: Registry, version: str) -> Any:
    return types.SimpleNamespace(artifacts={"weights": str(registry.model_folder(version))})


def test_the_command_line_gets_its_video_from_the_champion(
    registry: Registry, champion: str, sampler: list[dict[str, Any]], tmp_path: Path
):
    made = generate_marked(registry.home, "a red ball", tmp_path / "deep" / "ball.mp4", seed=5)
    assert made["version"] == champion
    assert made["C2PA"] == "trusted, trainedAlgorithmicMedia"
    assert read_marks(tmp_path / "deep" / "ball.mp4", registry.home.signing).complete
    assert json.dumps(made)
    assert sampler[0]["seeds"] == [5]


def test_a_tainted_champion_generates_nothing(
    registry: Registry, champion: str, sampler: list[dict[str, Any]], tmp_path: Path
):
    registry.tag(champion, "taint", "consent k-1 revoked")
    with pytest.raises(LookupError, match="must not serve: consent k-1 revoked"):
        generate_marked(registry.home, "a red ball", tmp_path / "ball.mp4")
    assert sampler == []
