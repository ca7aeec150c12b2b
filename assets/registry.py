"""MLflow: the experiment's runs with their numbers and files, and the registered model with its versions and aliases.

Every call to MLflow is here; it is imported inside the methods, for that takes seconds. Whether a version may be promoted is
decided in `assets.evaluation.gate`; `assets.serving` packages a version and answers with it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from assets.home import Home

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import Model


EXPERIMENT = "rushes"
DIGEST_LENGTH = 36  # what MLflow keeps of a dataset's digest; the whole root is in the input's tag
SNAPSHOT = "training_snapshot"  # name of the dataset
VERSIONS = "mlflow.modelVersions"  # the tag by which MLflow's pages lead from a logged model to its versions
_METRIC_NAME = re.compile(r"[^\w\-. :/]")
MODEL = "video-transformer"
ABOUT = "Text to video. `predict` takes prompts and gives marked videos."
LOGGED_MODEL = "logged_model"  # the tag of a version that names the model as MLflow logged it
CANDIDATE, CHAMPION = "candidate", "champion"
CLEAN = "none"  # value of the tag `taint` on a version that no revocation touches
REGISTERED = "registry/registered.json"  # in the home's store once a version was registered
_ROWS = {
    "snapshot_root": "Training snapshot (Merkle root)",
    "ids_root": "Its clips (Merkle root of the sorted clip ids)",
    "ledger_checkpoint": "Sealed on ledger checkpoint (size:root)",
    "commitment_checkpoint": "Committed on ledger checkpoint (size:root)",
    "commitment_sha256": "Commitment (SHA-256 of `commitment.json`)",
    "exposure_size": "Snapshots that the weights ever saw",
    "parent_model": "Started from",
    "origin_model": "Descends from",
    "code_version": "Training code",
    "base_name": "Tuned from pretrained base",
    "base_sha256": "Base (SHA-256)",
    "base_licence": "Licence of the base",
    "base_training_data": "Of the base",
}


Save = Callable[[Path, "Model"], None]  # writes MLflow's folder of a model to a path


class RegistryLost(RuntimeError):
    """The registry does not know a model of which this home registered versions."""


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
    """Runs of the experiment, and the versions that came of them, in the home's MLflow."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @cached_property
    def client(self) -> MlflowClient:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # MLflow's own seven retries of two minutes each outlast a sensor's tick, which has one; steps are tried again
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it logs every table that it creates
        return MlflowClient(tracking_uri=self.home.mlflow_uri, registry_uri=self.home.mlflow_uri)

    def ensure_experiment(self) -> str:
        """The experiment's id. With an embedded database, artifacts go below the home, wherever the process runs."""
        if experiment := self.client.get_experiment_by_name(EXPERIMENT):
            return experiment.experiment_id
        embedded = self.home.mlflow_uri.startswith("sqlite:")
        location = (self.home.state / "mlflow-artifacts").as_uri() if embedded else None
        with existing_is_fine():
            return self.client.create_experiment(EXPERIMENT, artifact_location=location)
        return self.ensure_experiment()

    def start_run(self, model_key: str, name: str, tags: Mapping[str, Any] | None = None) -> str:
        """The run of this model key: the one that exists, running again, or a new one."""
        from mlflow.entities import ViewType

        experiment = self.ensure_experiment()
        runs = self.client.search_runs(
            [experiment], f"tags.model_key = '{_safe(model_key)}'", ViewType.ACTIVE_ONLY, max_results=1
        )
        labels = {"model_key": model_key, **texts(tags or {})}
        if not runs:
            return self.client.create_run(experiment, run_name=name, tags=labels).info.run_id
        run_id = runs[0].info.run_id
        for key, value in labels.items():
            self.client.set_tag(run_id, key, value)
        self.client.update_run(run_id, status="RUNNING", name=name)
        return run_id

    def log_metrics(self, run_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """One step's numbers. Characters that MLflow refuses in a name become `_`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(_metric_name(name), float(value), now, step) for name, value in metrics.items()]
        self.client.log_batch(run_id, metrics=points)

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Parameters that the run does not have yet; MLflow lets none be changed."""
        from mlflow.entities import Param

        logged = self.client.get_run(run_id).data.params
        new = [Param(key, str(value)[:6000]) for key, value in params.items() if key not in logged]
        self.client.log_batch(run_id, params=new)

    def log_snapshot_input(self, run_id: str, manifest: Mapping[str, Any]) -> None:
        """The sealed snapshot as the run's training dataset, its Merkle root as digest."""
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        root = str(manifest["root"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # two of its readers would take a local file, both the same
            source = resolve_dataset_source(self.home.store.uri(f"snapshots/{root}/manifest.json"))
        dataset = MetaDataset(source, name=SNAPSHOT, digest=root[:DIGEST_LENGTH])  # type: ignore[abstract]
        tags = [InputTag("mlflow.data.context", "training"), InputTag("snapshot_root", root)]
        tags.append(InputTag("clips", str(manifest.get("n", len(manifest.get("members", []))))))
        self.client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), tags)])

    def log_artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        self.client.log_artifact(run_id, str(path), folder)

    def end_run(self, run_id: str, status: str = "FINISHED") -> None:
        """`status`: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)

    def run_url(self, run_id: str) -> str:
        """Where MLflow's UI shows the run."""
        return f"{self.home.mlflow_url.rstrip('/')}/#/experiments/{self.ensure_experiment()}/runs/{run_id}"

    def create_version(self, run_id: str, labels: Mapping[str, str], save: Save) -> str:
        """A new version of this run with these tags."""
        with existing_is_fine():
            self.client.create_registered_model(MODEL, description=ABOUT)
        model_id = self._log_package(run_id, save)
        self._use_in_mlflow()
        created = self.client.create_model_version(
            *(MODEL, f"models:/{model_id}", run_id, dict(labels) | {LOGGED_MODEL: model_id}),
            description=version_description(labels),
            model_id=model_id,
        )
        version = str(created.version)
        self.client.set_logged_model_tags(model_id, {VERSIONS: json.dumps([{"name": MODEL, "version": version}])})
        self.remember()
        return version

    def remember(self) -> None:
        """From now on a registry without the model is not this home's, or has lost what it had."""
        if not self.home.store.exists(REGISTERED):
            self.home.store.put(REGISTERED, b"{}")

    def _log_package(self, run_id: str, save: Save) -> str:
        """Log what `save` writes as an output of the run, with the run's parameters. Returns its id."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        run = self.client.get_run(run_id)
        logged = self.client.create_logged_model(run.info.experiment_id, MODEL, run_id, params=run.data.params)
        with tempfile.TemporaryDirectory(prefix="package-") as scratch:
            save(Path(scratch) / "model", Model(run_id=run_id, model_id=logged.model_id, model_uuid=logged.model_id))
            self.client.log_model_artifacts(logged.model_id, str(Path(scratch) / "model"))
        self.client.finalize_logged_model(logged.model_id, "READY")
        self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        return logged.model_id

    def log_model_metrics(self, version: str, step: int, metrics: Mapping[str, float], snapshot_root: str) -> None:
        """Numbers of a version's model, measured at this step on clips of this snapshot; also metrics of its run."""
        from mlflow.entities import Metric

        owner, now = self.version(version), int(time.time() * 1000)
        about = {"model_id": owner.tags[LOGGED_MODEL], "run_id": owner.run_id, "dataset_name": SNAPSHOT}
        about["dataset_digest"] = snapshot_root[:DIGEST_LENGTH]
        points = [Metric(_metric_name(name), float(value), now, step, **about) for name, value in metrics.items()]
        self.client.log_batch(owner.run_id, metrics=points)

    def _use_in_mlflow(self) -> None:
        """Make this registry MLflow's own: some of its functions take no address."""
        import mlflow

        mlflow.set_tracking_uri(self.home.mlflow_uri)
        mlflow.set_registry_uri(self.home.mlflow_uri)

    def versions(self) -> list[Version]:
        """Every version, newest first; none if nothing was ever registered.

        Only MLflow says what an address means. A wrong one, such as a relative path from another folder, may lead to an
        empty database that MLflow creates on the spot. Raises RegistryLost if this home knows better.
        """
        versions = versions_of(self.client)
        if not versions and self.home.store.exists(REGISTERED):
            raise RegistryLost(
                f"the registry at {without_password(self.home.mlflow_uri)} has no version of {MODEL}, and this home "
                f"registered some: check RUSHES_MLFLOW_URI, or delete {self.home.store.uri(REGISTERED)} if they were "
                "given up"
            )
        return versions

    def version(self, number: str) -> Version:
        """Raises LookupError for a number that is not there."""
        for version in self.versions():
            if version.number == str(number):
                return version
        existing = ", ".join(version.number for version in self.versions()) or "none yet"
        raise LookupError(f"{MODEL} has no version {number}; it has {existing}")

    def version_for(self, model_key: str) -> str | None:
        return next((version.number for version in self.versions() if version.model_key == model_key), None)

    def model_folder(self, number: str) -> Path:
        """A local folder with the version's weights and serving file."""
        import mlflow

        self._use_in_mlflow()
        return Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{number}")) / "artifacts" / "weights"

    def tag(self, version: str, key: str, value: Any) -> None:
        self.client.set_model_version_tag(MODEL, str(version), key, str(value))

    def describe(self, version: str) -> None:
        """Write the version's page anew, from its tags as they are now."""
        text = version_description(self.version(version).tags)
        self.client.update_model_version(MODEL, str(version), text)

    def describe_model(self, history: str) -> None:
        """Write the page of the registered model anew."""
        self.client.update_registered_model(MODEL, f"{ABOUT}\n\n{history}")

    def alias(self, name: str) -> str | None:
        """The version that `name` points to; None if there is no such alias or no model."""
        return next((version.number for version in self.versions() if name in version.aliases), None)

    def set_alias(self, name: str, version: str) -> None:
        self.client.set_registered_model_alias(MODEL, name, str(version))

    def delete_alias(self, name: str) -> None:
        """Delete an alias; a missing one is no error."""
        if self.alias(name) is not None:
            self.client.delete_registered_model_alias(MODEL, name)

    def version_url(self, version: str) -> str:
        """Where MLflow's UI shows the version."""
        return f"{self.home.mlflow_url.rstrip('/')}/#/models/{MODEL}/versions/{version}"


def without_password(uri: str) -> str:
    """The address as it may be written down and shown."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}"))


def texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in tags.items() if value is not None}


def _metric_name(name: str) -> str:
    return _METRIC_NAME.sub("_", name)


def _safe(key: str) -> str:
    if not re.fullmatch(r"[\w.\-]+", key):
        raise ValueError(f"not a model key: {key!r}")
    return key


@contextmanager
def existing_is_fine() -> Iterator[None]:
    """Two processes may create the same thing; the second finds it there."""
    import mlflow

    try:
        yield
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def versions_of(client: MlflowClient) -> list[Version]:
    """Every version that the client's registry has, newest first."""
    import mlflow

    try:
        aliases = client.get_registered_model(MODEL).aliases
    except mlflow.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return []
        raise
    versions = [
        Version(
            number := str(version.version),
            version.run_id or "",
            version.source or "",
            dict(version.tags),
            tuple(sorted(name for name, owner in aliases.items() if str(owner) == number)),
        )
        for version in client.search_model_versions(f"name = '{MODEL}'")
    ]
    return sorted(versions, key=lambda version: int(version.number), reverse=True)


def version_description(tags: Mapping[str, str]) -> str:
    """The page of a version, in Markdown: where it comes from, whether and why it is tainted, how anybody can check both."""
    lines = []
    if (taint := tags.get("taint", "none")) != "none":
        lines += [f"**Tainted:** {_plain(taint)}", ""]
        lines += [f"Withdrawal: `{_plain(tags['taint_withdrawal'])}`", ""] if tags.get("taint_withdrawal") else []
    lines += [_lead(tags), "", "| what it rests on | |", "|---|---|"]
    lines += [f"| {label} | `{_plain(tags[name])}` |" for name, label in _ROWS.items() if tags.get(name)]
    if exposure := tags.get("exposure"):
        lines += ["", "Every snapshot that the weights ever saw:", ""]
        lines += [f"- `{_plain(root)}`" for root in exposure.split(",")]
    lines += [
        "",
        "`rushes prove --excluded CLIP --model VERSION` makes a proof that a clip is in none of these snapshots, and "
        "`rushes verify FILE --key KEY` checks it with the platform's public key alone.",
    ]
    return "\n".join(lines)


def _lead(tags: Mapping[str, str]) -> str:
    """One sentence, the only one that a list of versions shows: what the gate said of which model."""
    gate = {"passed": "passed the gate", "refused": "was refused by the gate"}.get(
        tags.get("gate", ""), "waits for the gate"
    )
    why = _plain(tags["gate_reasons"]) if tags.get("gate_reasons") else ""
    return f"Model `{_plain(tags.get('model_key', 'unknown'))}` {gate}{f': {why}' if why else ''}."


def _plain(value: str) -> str:
    """One line that cannot break out of its table cell or code span."""
    return " ".join(value.split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
