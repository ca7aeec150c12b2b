"""The registry: one MLflow experiment for the runs, one registered model with its versions, tags and aliases.

What belongs here: every call to MLflow. What does not: whether a version may be promoted (`gate`), and what a version
does when it is asked for a video (`pyfunc_model`). MLflow is imported inside the methods: it takes seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.evaluation.serving import Serving
from assets.home import Home

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT, MODEL = "rushes", "video-transformer"
CANDIDATE, CHAMPION = "candidate", "champion"
CLEAN = "none"  # value of the tag `taint` on a version that no revocation touches
DIGEST_LENGTH = 36  # what MLflow keeps of a dataset's digest; the whole root is in the input's tag
DEFAULT_UI = "http://127.0.0.1:5000"
_METRIC_NAME = re.compile(r"[^\w\-. :/]")


@dataclass(frozen=True)
class Version:
    """One registered model version. `source` is where MLflow keeps its files."""

    number: str
    run_id: str
    source: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def model_key(self) -> str:
        return self.tags.get("model_key", "")

    @property
    def snapshot_root(self) -> str:
        return self.tags.get("snapshot_root", "")

    @property
    def taint(self) -> str | None:
        """The revocation that reached this version; None while there is none."""
        cause = self.tags.get("taint", CLEAN)
        return None if cause == CLEAN else cause


class Registry:
    def __init__(self, home: Home) -> None:
        self.home = home

    @cached_property
    def client(self) -> MlflowClient:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.home.mlflow_uri, registry_uri=self.home.mlflow_uri)

    # runs

    def ensure_experiment(self) -> str:
        """The experiment's id. On an embedded database its artifacts go below the home, wherever the process runs."""
        if found := self.client.get_experiment_by_name(EXPERIMENT):
            return found.experiment_id
        embedded = self.home.mlflow_uri.startswith("sqlite:")
        location = (self.home.state / "mlflow-artifacts").as_uri() if embedded else None
        with _existing_is_fine():
            return self.client.create_experiment(EXPERIMENT, artifact_location=location)
        return self.ensure_experiment()

    def start_run(self, model_key: str, name: str, tags: Mapping[str, Any] | None = None) -> str:
        """The run of this model key: the one that exists, running again, or a new one."""
        from mlflow.entities import ViewType

        experiment = self.ensure_experiment()
        found = self.client.search_runs(
            [experiment], f"tags.model_key = '{_safe(model_key)}'", ViewType.ACTIVE_ONLY, max_results=1
        )
        labels = {"model_key": model_key, **_texts(tags or {})}
        if not found:
            return self.client.create_run(experiment, run_name=name, tags=labels).info.run_id
        run_id = found[0].info.run_id
        for key, value in labels.items():
            self.client.set_tag(run_id, key, value)
        self.client.update_run(run_id, status="RUNNING", name=name)
        return run_id

    def log_metrics(self, run_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """One step's numbers. Characters that MLflow refuses in a name become `_`."""
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(_METRIC_NAME.sub("_", name), float(value), now, step) for name, value in metrics.items()]
        self.client.log_batch(run_id, metrics=points)

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Parameters that the run does not have yet; MLflow lets none be changed."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params
        new = [Param(key, str(value)[:6000]) for key, value in params.items() if key not in known]
        self.client.log_batch(run_id, params=new)

    def log_snapshot_input(self, run_id: str, manifest: Mapping[str, Any]) -> None:
        """The sealed snapshot as the run's training dataset, its Merkle root as digest."""
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        root = str(manifest["root"])
        source = resolve_dataset_source(self.home.store.uri(f"snapshots/{root}/manifest.json"))
        dataset = MetaDataset(source, name="training_snapshot", digest=root[:DIGEST_LENGTH])  # type: ignore[abstract]
        tags = [InputTag("mlflow.data.context", "training"), InputTag("snapshot_root", root)]
        tags.append(InputTag("clips", str(manifest.get("n", len(manifest.get("members", []))))))
        self.client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), tags)])

    def log_artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        self.client.log_artifact(run_id, str(path), folder)

    def end_run(self, run_id: str, status: str = "FINISHED") -> None:
        """`status`: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)

    # versions

    def register(self, run_id: str, model_dir: Path, tags: Mapping[str, Any]) -> str:
        """The version of `tags["model_key"]`: the one that exists, or a new one with the weights of `model_dir`.

        A package of code and safetensors without pickle. `tags` needs model_key, snapshot_root and ledger_checkpoint;
        the text encoder stays where it is and is referred to by its path.
        """
        labels = {"taint": CLEAN, **_texts(tags)}
        if existing := self.version_for(labels["model_key"]):
            return existing
        with _existing_is_fine():
            self.client.create_registered_model(
                MODEL, description="Text to video. `predict` takes prompts and gives marked video files."
            )
        with tempfile.TemporaryDirectory() as scratch:
            package = Path(scratch) / "weights"
            package.mkdir()
            for file in _weights(Path(model_dir)):
                shutil.copyfile(file, package / file.name)
            serving = Serving(
                text_encoder=str(self.home.text_encoder),
                keys=str(self.home.signing),
                claims={
                    "model_id": labels["model_key"],
                    "snapshot_root": labels.get("snapshot_root", ""),
                    "ledger_checkpoint": labels.get("ledger_checkpoint", ""),
                },
            )
            serving.write(package)
            model_uri, model_id = self._log_package(run_id, package)
        created = self.client.create_model_version(MODEL, model_uri, run_id, labels, model_id=model_id)
        return str(created.version)

    def _log_package(self, run_id: str, package: Path) -> tuple[str, str]:
        """Log the package as a pyfunc written as code. Returns where its files are and its id."""
        import mlflow

        from assets.evaluation import pyfunc_model, signature

        mlflow.set_tracking_uri(self.home.mlflow_uri)
        mlflow.set_registry_uri(self.home.mlflow_uri)
        status = self.client.get_run(run_id).info.status
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it advises an input example, which would be generated here
            info = mlflow.pyfunc.log_model(
                name=MODEL,
                python_model=str(Path(pyfunc_model.__file__).resolve()),
                artifacts={"weights": str(package)},
                signature=signature.signature(),
                pip_requirements=signature.requirements(),
            )
        self.client.update_run(run_id, status=status)
        return info.artifact_path, info.model_id

    def versions(self) -> list[Version]:
        """Every version, newest first; none when nothing was ever registered."""
        if self._database_is_missing():
            return []  # asking would create it, which takes seconds
        import mlflow

        try:
            aliases = self.client.get_registered_model(MODEL).aliases
        except mlflow.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return []
            raise
        found = [
            Version(
                number := str(version.version),
                version.run_id or "",
                version.source or "",
                dict(version.tags),
                tuple(sorted(name for name, owner in aliases.items() if str(owner) == number)),
            )
            for version in self.client.search_model_versions(f"name = '{MODEL}'")
        ]
        return sorted(found, key=lambda version: int(version.number), reverse=True)

    def version(self, number: str) -> Version:
        """Raises LookupError for a number that is not there."""
        for version in self.versions():
            if version.number == str(number):
                return version
        known = ", ".join(version.number for version in self.versions()) or "none yet"
        raise LookupError(f"{MODEL} has no version {number}; it has {known}")

    def version_for(self, model_key: str) -> str | None:
        return next((version.number for version in self.versions() if version.model_key == model_key), None)

    def model_folder(self, number: str) -> Path:
        """A local folder with the version's weights and serving file."""
        import mlflow

        mlflow.set_tracking_uri(self.home.mlflow_uri)
        mlflow.set_registry_uri(self.home.mlflow_uri)
        return Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{number}")) / "artifacts" / "weights"

    # tags and aliases

    def tag(self, version: str, key: str, value: Any) -> None:
        self.client.set_model_version_tag(MODEL, str(version), key, str(value))

    def alias(self, name: str) -> str | None:
        """The version that `name` points to; None when the alias or the model is not there."""
        return next((version.number for version in self.versions() if name in version.aliases), None)

    def set_alias(self, name: str, version: str) -> None:
        self.client.set_registered_model_alias(MODEL, name, str(version))

    def delete_alias(self, name: str) -> None:
        """Close an alias; closing a closed one is no error."""
        if self.alias(name) is not None:
            self.client.delete_registered_model_alias(MODEL, name)

    # links

    def run_url(self, run_id: str, base: str | None = None) -> str:
        return f"{_ui(base)}/#/experiments/{self.ensure_experiment()}/runs/{run_id}"

    def version_url(self, version: str, base: str | None = None) -> str:
        return f"{_ui(base)}/#/models/{MODEL}/versions/{version}"

    def url(self, target: str, base: str | None = None) -> str:
        """Where MLflow's UI shows a version (a number) or a run (anything else)."""
        return self.version_url(target, base) if str(target).isdigit() else self.run_url(target, base)

    def _database_is_missing(self) -> bool:
        path = self.home.mlflow_uri.removeprefix("sqlite:///")
        return path != self.home.mlflow_uri and not Path(path).is_file()


def _ui(base: str | None) -> str:
    return (base or os.environ.get("RUSHES_MLFLOW_UI", DEFAULT_UI)).rstrip("/")


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in tags.items() if value is not None}


def _safe(key: str) -> str:
    if not re.fullmatch(r"[\w.\-]+", key):
        raise ValueError(f"not a model key: {key!r}")
    return key


def _weights(model_dir: Path) -> Iterable[Path]:
    names = [f"{part}.{kind}" for part in ("codec", "transformer") for kind in ("safetensors", "json")]
    if missing := [name for name in names if not (model_dir / name).is_file()]:
        raise FileNotFoundError(f"{model_dir} lacks {', '.join(missing)}")
    return [model_dir / name for name in names]


@contextmanager
def _existing_is_fine() -> Iterator[None]:
    """Two processes may create the same thing; the second finds it there."""
    import mlflow

    try:
        yield
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
