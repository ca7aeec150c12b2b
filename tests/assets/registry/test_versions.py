"""The registry over a real MLflow database: runs are found again, versions carry their tags, aliases open and close."""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from assets.registry import CHAMPION, CLEAN, Registry, without_password
from assets.serving import serve
from assets.serving.serve import Serving

ROOT = "ab" * 32
BINARY = (".safetensors", ".whl")


def tags(model_key: str) -> dict[str, str]:
    return {"model_key": model_key, "snapshot_root": ROOT, "ledger_checkpoint": "7:" + "cd" * 32}


def registered(registry: Registry, weights: Path, model_key: str = "m-1") -> str:
    return serve.register(registry, registry.start_run(model_key, model_key), weights, tags(model_key))


def test_artifacts_of_an_embedded_home_go_below_the_home(registry: Registry):
    experiment = registry.client.get_experiment(registry.ensure_experiment())
    assert experiment.artifact_location == (registry.home.state / "mlflow-artifacts").as_uri()
    assert registry.ensure_experiment() == experiment.experiment_id


def test_the_run_of_a_model_key_is_found_again(registry: Registry):
    first = registry.start_run("m-1", "nightly", {"dagster_run_id": "d-1"})
    registry.end_run(first)
    assert registry.start_run("m-1", "nightly", {"dagster_run_id": "d-2"}) == first
    assert registry.start_run("m-2", "nightly") != first
    run = registry.client.get_run(first)
    assert run.info.status == "RUNNING"
    assert run.data.tags["dagster_run_id"] == "d-2"


def test_metrics_with_slashes_and_odd_characters_arrive(registry: Registry):
    run_id = registry.start_run("m-1", "nightly")
    for step, value in ((0, 2.0), (10, 1.0)):
        registry.log_metrics(run_id, step, {"heldout/flow_loss": value, "flow[t=0.5]": value})
    history = registry.client.get_metric_history(run_id, "heldout/flow_loss")
    assert [(point.step, point.value) for point in history] == [(0, 2.0), (10, 1.0)]
    assert "flow_t_0.5_" in registry.client.get_run(run_id).data.metrics


def test_parameters_can_be_logged_again_after_a_resume(registry: Registry):
    run_id = registry.start_run("m-1", "nightly")
    registry.log_params(run_id, {"lr": 0.1})
    registry.log_params(run_id, {"lr": 0.2, "steps": 5})
    assert registry.client.get_run(run_id).data.params == {"lr": "0.1", "steps": "5"}


def test_the_snapshot_is_the_runs_training_dataset(registry: Registry):
    run_id = registry.start_run("m-1", "nightly")
    registry.log_snapshot_input(run_id, {"root": ROOT, "n": 3, "members": []})
    (entry,) = registry.client.get_run(run_id).inputs.dataset_inputs
    labels = {tag.key: tag.value for tag in entry.tags}
    assert ROOT.startswith(entry.dataset.digest)
    assert (labels["mlflow.data.context"], labels["snapshot_root"], labels["clips"]) == ("training", ROOT, "3")


def test_registering_the_same_model_twice_makes_one_version(registry: Registry, weights: Path):
    assert registered(registry, weights) == registered(registry, weights) == "1"
    assert registered(registry, weights, "m-2") == "2"
    assert [version.model_key for version in registry.versions()] == ["m-2", "m-1"]


def test_a_version_carries_its_tags_and_nothing_pickled(registry: Registry, weights: Path):
    version = registry.version(registered(registry, weights))
    assert version.snapshot_root == ROOT
    assert version.taint is None
    assert version.tags["taint"] == CLEAN
    folder = registry.model_folder(version.number)
    assert {path.name for path in folder.iterdir()} >= {"codec.safetensors", "transformer.json", "serving.json"}
    names = [path.name for path in folder.parents[1].rglob("*")]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))]
    assert Serving.read(folder).claims["snapshot_root"] == ROOT


def test_the_environment_moves_a_package_to_another_machine(
    registry: Registry, weights: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = registry.model_folder(registered(registry, weights))
    monkeypatch.setenv("RUSHES_TEXT_ENCODER", "/elsewhere/minilm")
    assert Serving.read(folder).text_encoder == "/elsewhere/minilm"


def test_a_package_names_a_registry_that_other_machines_reach_and_no_password(
    registry: Registry, weights: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RUSHES_MLFLOW_URI", raising=False)
    folder = registry.model_folder(registered(registry, weights))
    assert Serving.read(folder).registry == registry.home.mlflow_uri  # MLflow's own setting, not the package's
    assert json.loads((folder / "serving.json").read_text()).keys() == {"claims"}
    monkeypatch.setenv("RUSHES_MLFLOW_URI", "http://elsewhere:5000")
    assert Serving.read(folder).registry == "http://elsewhere:5000"
    assert without_password("postgresql://ann:secret@host:5432/mlflow") == "postgresql://ann@host:5432/mlflow"
    assert without_password("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_a_package_names_no_path_of_the_machine_that_made_it(registry: Registry, weights: Path):
    package = registry.model_folder(registered(registry, weights)).parents[1]
    texts = {path: path.read_text() for path in package.rglob("*") if path.is_file() and path.suffix not in BINARY}
    assert {"MLmodel", "requirements.txt", "serving.json", "input_example.json"} <= {path.name for path in texts}
    ours = (str(registry.home.state), str(weights.parent), tempfile.gettempdir(), str(Path(__file__).parents[3]))
    assert not [path.name for path, text in texts.items() if any(place in text for place in ours)]


def test_a_package_brings_this_platform_as_a_wheel_that_its_requirements_name(registry: Registry, weights: Path):
    package = registry.model_folder(registered(registry, weights)).parents[1]
    (wheel,) = (package / "wheels").iterdir()
    lines = (package / "requirements.txt").read_text().split()
    assert f"wheels/{wheel.name}" in lines
    assert not [line for line in lines if "+cpu" in line]
    code = "import assets.serving.answer as a, training.simulate as s; print(a.__file__, s.__file__, sep='\\n')"
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(wheel)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=package)
    assert [Path(line).parents[2] for line in done.stdout.split()] == [wheel, wheel]


def test_a_logged_model_knows_its_run_its_version_and_what_a_request_looks_like(registry: Registry, weights: Path):
    run_id = registry.start_run("m-1", "nightly")
    registry.log_params(run_id, {"size": "nano"})
    version = registry.version(serve.register(registry, run_id, weights, tags("m-1")))
    logged = registry.client.get_logged_model(version.tags["logged_model"])
    assert (logged.status, logged.source_run_id, logged.params) == ("READY", run_id, {"size": "nano"})
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "video-transformer", "version": version.number}]
    (output,) = registry.client.get_run(run_id).outputs.model_outputs
    assert output.model_id == logged.model_id
    info = mlflow.models.get_model_info(f"models:/video-transformer/{version.number}")
    assert [column.name for column in info.signature.inputs] == ["prompt", "seed", "steps", "guidance"]
    assert info.saved_input_example_info is not None


def test_numbers_of_a_model_name_the_step_and_the_snapshot(registry: Registry, weights: Path):
    number = registered(registry, weights)
    registry.log_model_metrics(number, 200, {"best/heldout/flow_loss": 0.5}, ROOT)
    logged = registry.client.get_logged_model(registry.version(number).tags["logged_model"])
    (metric,) = logged.metrics
    assert (metric.key, metric.value, metric.step) == ("best/heldout/flow_loss", 0.5, 200)
    assert ROOT.startswith(metric.dataset_digest)
    assert registry.client.get_run(registry.version(number).run_id).data.metrics == {"best/heldout/flow_loss": 0.5}


def test_a_run_keeps_its_status_when_its_model_is_registered(registry: Registry, weights: Path):
    run_id = registry.start_run("m-1", "nightly")
    registry.end_run(run_id, "FINISHED")
    serve.register(registry, run_id, weights, tags("m-1"))
    assert registry.client.get_run(run_id).info.status == "FINISHED"


def test_weights_that_are_not_whole_are_not_registered(registry: Registry, weights: Path):
    (weights / "transformer.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"transformer\.safetensors"):
        registered(registry, weights)
    assert registry.versions() == []


def test_a_missing_alias_is_none_and_closing_it_is_no_error(registry: Registry, weights: Path):
    assert registry.alias(CHAMPION) is None  # no model yet
    number = registered(registry, weights)
    assert registry.alias(CHAMPION) is None  # no alias yet
    registry.delete_alias(CHAMPION)
    registry.set_alias(CHAMPION, number)
    assert registry.alias(CHAMPION) == number
    assert registry.version(number).aliases == (CHAMPION,)
    registry.delete_alias(CHAMPION)
    assert registry.alias(CHAMPION) is None


def test_a_taint_is_read_back_with_its_cause(registry: Registry, weights: Path):
    number = registered(registry, weights)
    registry.tag(number, "taint", "consent k-1 revoked")
    assert registry.version(number).taint == "consent k-1 revoked"


def test_a_version_that_is_not_there_is_an_error_that_lists_what_is(registry: Registry, weights: Path):
    registered(registry, weights)
    with pytest.raises(LookupError, match="no version 7; it has 1"):
        registry.version("7")


def test_a_model_key_cannot_smuggle_a_query(registry: Registry):
    with pytest.raises(ValueError, match="not a model key"):
        registry.start_run("x' OR tags.model_key != '", "nightly")


def test_links_lead_to_the_run_and_to_the_version(registry: Registry):
    registry = Registry(replace(registry.home, mlflow_url="http://127.0.0.1:5055/"))
    run_id = registry.start_run("m-1", "nightly")
    assert (
        registry.run_url(run_id) == f"http://127.0.0.1:5055/#/experiments/{registry.ensure_experiment()}/runs/{run_id}"
    )
    assert registry.version_url("3") == "http://127.0.0.1:5055/#/models/video-transformer/versions/3"
