"""The registered model, loaded as MLflow loads it: prompts in, marked files out."""

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assets.marks.marking import read_marks
from assets.registry.versions import CHAMPION, Package, Registry
from assets.release.generation import generate_marked
from assets.serving import serve
from assets.serving.answer import GenerationRequest, answer
from assets.serving.serve import NothingToServe, Serving

TAGS = {"model_key": "m-1", "snapshot_root": "ab" * 32, "ledger_checkpoint": "7:" + "cd" * 32}
RED_BALL = GenerationRequest("a red ball")


@pytest.fixture
def champion(registry: Registry, weights: Path) -> str:
    version = serve.register(registry, registry.start_run("m-1", "m-1"), weights, TAGS)
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


def test_a_row_may_name_its_own_steps_and_guidance(registry: Registry, champion: str, sampler: list[dict[str, Any]]):
    rows = [{"prompt": "a red ball", "steps": 2}, {"prompt": "a blue cube", "guidance": 2}, {"prompt": "waves"}]
    answers = load(registry).unwrap_python_model().predict(_context(registry, champion), rows)
    assert list(answers["prompt"]) == ["a red ball", "a blue cube", "waves"]
    said = {
        call["prompts"][0]: {name: call[name] for name in ("steps", "guidance") if name in call} for call in sampler
    }
    assert said == {"a red ball": {"steps": 2}, "a blue cube": {"guidance": 2.0}, "waves": {}}


def test_a_version_that_was_tainted_after_it_was_loaded_predicts_nothing_until_the_taint_is_lifted(
    registry: Registry, champion: str, sampler: list[dict[str, Any]], tmp_path: Path
):
    import pandas as pd

    loaded, params = load(registry), {"output_dir": str(tmp_path / "videos")}
    rows = pd.DataFrame({"prompt": ["a red ball"]})
    registry.tag(champion, "taint", "consent k-1 revoked")
    with pytest.raises(NothingToServe, match=f"version {champion} must not serve: consent k-1 revoked"):
        loaded.predict(rows, params=params)
    assert sampler == []
    registry.tag(champion, "taint", "none")
    (path,) = loaded.predict(rows, params=params)["path"]
    assert Path(path).is_file()


def while_generating(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen in the registry while the sampler is at work."""
    stand_in = sys.modules["training.sample"]
    real = stand_in.generate

    def generate(*given: Any, **options: Any) -> Any:
        happens()
        return real(*given, **options)

    monkeypatch.setattr(stand_in, "generate", generate)


def test_a_version_that_is_tainted_while_it_predicts_gives_nothing(
    registry: Registry, champion: str, sampler: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import pandas as pd

    while_generating(monkeypatch, lambda: registry.tag(champion, "taint", "consent k-1 revoked"))
    rows = pd.DataFrame({"prompt": ["a red ball"]})
    with pytest.raises(NothingToServe, match="consent k-1 revoked"):
        load(registry).predict(rows, params={"output_dir": str(tmp_path / "videos")})
    assert len(sampler) == 1
    assert not list((tmp_path / "videos").iterdir())


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("http://ann:secret@127.0.0.1:9", "cannot be asked"),
        ("another", "does not know it"),
    ],
)
def test_a_registry_that_cannot_tell_is_no_permission(
    registry: Registry,
    champion: str,
    sampler: list[dict[str, Any]],
    empty_registry: Path,
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    why: str,
):
    package = registry.model_folder(champion)
    monkeypatch.setenv("RUSHES_MLFLOW_URI", f"sqlite:///{empty_registry}" if uri == "another" else uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(NothingToServe, match=f"(?s)model m-1 does not answer.*{why}.*Set RUSHES_MLFLOW_URI") as refused:
        answer(package, [RED_BALL], package / "videos")
    assert "secret" not in str(refused.value)
    assert sampler == []
    assert not Path("/nowhere").exists()


def test_a_champion_that_changes_while_it_generates_gives_nothing(
    registry: Registry,
    champion: str,
    weights: Path,
    sampler: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    other = serve.register(registry, registry.start_run("m-2", "m-2"), weights, TAGS | {"model_key": "m-2"})
    with monkeypatch.context() as meanwhile:
        while_generating(meanwhile, lambda: registry.set_alias(CHAMPION, other))
        with pytest.raises(NothingToServe, match=f"version {champion} stopped being champion"):
            generate_marked(registry.home, RED_BALL, tmp_path / "ball.mp4")
    assert not (tmp_path / "ball.mp4").exists()
    assert generate_marked(registry.home, RED_BALL, tmp_path / "ball.mp4")["version"] == other
    assert generate_marked(registry.home, RED_BALL, tmp_path / "old.mp4", version=champion)["version"] == champion


def _context(registry: Registry, version: str) -> Any:
    return types.SimpleNamespace(artifacts={"weights": str(registry.model_folder(version))})


def test_the_command_line_gets_its_video_from_the_champion(
    registry: Registry, champion: str, sampler: list[dict[str, Any]], tmp_path: Path
):
    made = generate_marked(registry.home, GenerationRequest("a red ball", seed=5), tmp_path / "deep" / "ball.mp4")
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
        generate_marked(registry.home, RED_BALL, tmp_path / "ball.mp4")
    assert sampler == []


def test_a_version_that_was_registered_with_an_older_pyfunc_still_predicts(
    registry: Registry, weights: Path, sampler: list[dict[str, Any]], tmp_path: Path
):
    import pandas as pd

    code = tmp_path / "pyfunc_model.py"
    code.write_text((Path(__file__).parent / "pyfunc_of_older_versions.txt").read_text())
    claims = {"model_id": "m-1", "snapshot_root": "ab" * 32, "ledger_checkpoint": "7:" + "cd" * 32}
    Serving("minilm", str(registry.home.signing), claims, registry.home.mlflow_uri).write(weights)
    package = Package(weights, code, serve.signature(), serve.requirements())
    registry.set_alias(CHAMPION, registry.create_version(registry.start_run("m-1", "m-1"), TAGS, package))
    rows = pd.DataFrame({"prompt": ["a red ball", "a nude"], "seed": [3, 4], "steps": [2, 2]})
    answers = load(registry).predict(rows, params={"output_dir": str(tmp_path / "videos")})
    assert read_marks(Path(answers["path"][0]), registry.home.signing).complete
    assert answers["refused"][1] == "policy.sexual"
    (call,) = sampler
    assert (call["prompts"], call["seeds"], call["steps"]) == (["a red ball"], [3], 2)
