"""The registered model, loaded as MLflow loads it: prompts in, the policy asked, marked files out."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from assets.home import Home
from assets.marks.marking import read_marks
from assets.registry import CHAMPION, Registry
from assets.release.generation import generate_marked
from assets.serving import serve
from assets.serving.answer import LONGEST, GenerationRequest, answer, screen
from assets.serving.serve import NothingToServe, Serving
from tests.assets.conftest import model_files
from tests.conftest import Once

TAGS = {"model_key": "m-1", "snapshot_root": "ab" * 32, "ledger_checkpoint": "7:" + "cd" * 32}
RED_BALL = GenerationRequest("a red ball")


@pytest.fixture(scope="session")
def served(once: Once, empty_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A registry's database with a champion, which takes MLflow seconds, and the champion's number."""

    def make(home: Home) -> str:
        shutil.copyfile(empty_registry, home.state / "mlflow.db")
        registry = Registry(home)
        folder = model_files(tmp_path_factory.mktemp("served"))
        version = serve.register(registry, registry.start_run("m-1", "m-1"), folder, TAGS)
        registry.set_alias(CHAMPION, version)
        return version

    folder, version = once("served", make)
    return folder / "mlflow.db", version


@pytest.fixture
def champion(home: Home, registry: Registry, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy. A package says nothing of the machine that made it, so this one says where things are."""
    shutil.copyfile(served[0], home.state / "mlflow.db")
    monkeypatch.setenv("RUSHES_MLFLOW_URI", home.mlflow_uri)
    monkeypatch.setenv("RUSHES_SIGNING_KEYS", str(home.signing))
    monkeypatch.setenv("RUSHES_TEXT_ENCODER", "minilm")
    return served[1]


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
    assert answers["path"][1] == answers["video"][1] == ""
    assert base64.b64decode(answers["video"][0]) == Path(answers["path"][0]).read_bytes()
    marks = read_marks(Path(answers["path"][0]), registry.home.signing)
    assert marks.complete, marks.problems
    assert marks.provenance.claims["model_id"] == "m-1"
    (call,) = sampler
    assert (call["prompts"], call["seeds"], call["steps"]) == (["a red ball"], [3], 2)
    assert (call["model_dir"] / "transformer.safetensors").is_file()


def test_a_list_of_prompts_is_enough(registry: Registry, champion: str, sampler: list[dict[str, Any]]):
    answers = load(registry).unwrap_python_model().predict(_context(registry, champion), ["a red ball", "a blue cube"])
    assert list(answers["path"]) == ["", ""]
    assert all(base64.b64decode(video)[4:8] == b"ftyp" for video in answers["video"])
    assert sampler[0]["seeds"] == [0, 1]


def test_a_request_without_prompts_says_what_is_needed(registry: Registry, champion: str):
    with pytest.raises(ValueError, match="at least one row with the column `prompt`"):
        load(registry).unwrap_python_model().predict(_context(registry, champion), [{"text": "a red ball"}])


def test_a_row_may_name_its_own_steps_and_guidance(registry: Registry, champion: str, sampler: list[dict[str, Any]]):
    rows = [{"prompt": "a red ball", "steps": 2}, {"prompt": "a blue cube", "guidance": 2}, {"prompt": "waves"}]
    answers = load(registry).unwrap_python_model().predict(_context(registry, champion), rows)
    assert list(answers["prompt"]) == ["a red ball", "a blue cube", "waves"]
    settings = {
        call["prompts"][0]: {name: call[name] for name in ("steps", "guidance") if name in call} for call in sampler
    }
    assert settings == {"a red ball": {"steps": 2}, "a blue cube": {"guidance": 2.0}, "waves": {}}


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

    def generate(*arguments: Any, **options: Any) -> Any:
        happens()
        return real(*arguments, **options)

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
    ("uri", "why"), [("http://ann:secret@127.0.0.1:9", "cannot be asked"), ("another", "does not know it")]
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
    Serving(claims, "minilm", str(registry.home.signing), registry.home.mlflow_uri).write(weights)
    package = replace(serve.package(weights), code=code)
    registry.set_alias(CHAMPION, registry.create_version(registry.start_run("m-1", "m-1"), TAGS, package.save))
    rows = pd.DataFrame({"prompt": ["a red ball", "a nude"], "seed": [3, 4], "steps": [2, 2]})
    answers = load(registry).predict(rows, params={"output_dir": str(tmp_path / "videos")})
    assert read_marks(Path(answers["path"][0]), registry.home.signing).complete
    assert answers["refused"][1] == "policy.sexual"
    (call,) = sampler
    assert (call["prompts"], call["seeds"], call["steps"]) == (["a red ball"], [3], 2)


@pytest.mark.slow
def test_mlflow_serves_marked_videos_elsewhere_and_none_of_a_tainted_version(
    registry: Registry, untrained: Path, tmp_path: Path
):
    version = serve.register(registry, registry.start_run("m-1", "m-1"), untrained, TAGS)
    package = tmp_path / "package"  # as on another machine: its own files, two folders and the registry's address
    shutil.copytree(registry.model_folder(version).parents[1], package)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(package),
        "-p",
        port,
        "--env-manager",
        "local",
    ]
    settings = {
        "RUSHES_TEXT_ENCODER": str(registry.home.text_encoder),
        "RUSHES_SIGNING_KEYS": str(registry.home.signing),
    }
    settings |= {"RUSHES_MLFLOW_URI": registry.home.mlflow_uri, "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "200"}
    settings |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # where MLflow finds uvicorn
    log = tmp_path / "server.txt"
    with log.open("w") as out:
        server = subprocess.Popen(
            command, env=os.environ | settings, stdout=out, stderr=out, cwd=tmp_path, start_new_session=True
        )
    try:
        row = asked(server, port, {"prompt": "a red ball", "seed": 1, "steps": 2}).json()["predictions"][0]
        assert (row["prompt"], row["path"]) == ("a red ball", "")
        video = tmp_path / "ball.mp4"
        video.write_bytes(base64.b64decode(row["video"]))
        marks = read_marks(video, registry.home.signing)
        assert marks.complete, marks.problems
        registry.tag(version, "taint", "consent k-1 revoked")
        refused = asked(server, port, {"prompt": "a red ball"})
        assert refused.status_code >= 400, refused.text
        assert f"version {version} must not serve: consent k-1 revoked" in refused.text + log.read_text()
    except Exception:
        print(log.read_text()[-3000:])
        raise
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def asked(server: subprocess.Popen[Any], port: str, row: dict[str, Any]) -> requests.Response:
    """The answer of a server that may still be starting."""
    deadline = time.monotonic() + 200
    while True:
        try:
            return requests.post(f"http://127.0.0.1:{port}/invocations", json={"dataframe_records": [row]}, timeout=200)
        except requests.ConnectionError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.5)


@pytest.mark.parametrize(
    "prompt",
    [
        "a red ball falls on a table",
        "sunset over Paris, slow pan to the left",
        "children play football",
        "middlesex street",
    ],
)
def test_a_harmless_prompt_passes_as_it_is(prompt: str):
    assert screen(prompt).refused == ()
    assert screen(prompt).text == prompt


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("", "prompt.empty"),
        (" \u200b\n", "prompt.empty"),
        ("x" * (LONGEST + 1), "prompt.too_long"),
        ("nude woman", "policy.sexual"),
        ("ｎｕｄｅ woman", "policy.sexual"),
        ("nu\u200bde woman", "policy.sexual"),
        ("nüde woman", "policy.sexual"),
        ("a beheading in the square", "policy.gore"),
        ("a deepfake of the mayor", "policy.likeness"),
    ],
)
def test_a_refused_prompt_says_why(prompt: str, reason: str):
    assert reason in screen(prompt).refused


def test_all_reasons_are_given():
    assert set(screen("sexual deepfake of a child " + "x" * LONGEST).refused) == {
        "prompt.too_long",
        "policy.minor_sexual",
        "policy.sexual",
        "policy.likeness",
    }


@given(st.text())
def test_the_text_that_passes_is_one_normal_line(prompt: str):
    text = screen(prompt).text
    assert text == " ".join(text.split())
    assert not any(unicodedata.category(c).startswith("C") for c in text)
