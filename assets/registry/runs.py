"""The experiment: MLflow's runs with their numbers, inputs and files.

Every call to MLflow about a run is here; `versions` has those about versions and aliases. MLflow is imported inside the
methods: that takes seconds.
"""

from __future__ import annotations

import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from assets.home import Home

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "rushes"
DIGEST_LENGTH = 36  # what MLflow keeps of a dataset's digest; the whole root is in the input's tag
_METRIC_NAME = re.compile(r"[^\w\-. :/]")


class Tracking:
    """Runs of the experiment, in the home's MLflow."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @cached_property
    def client(self) -> MlflowClient:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # MLflow's own seven retries of two minutes each outlast a sensor's tick, which has one; steps are tried again
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
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
        points = [Metric(_METRIC_NAME.sub("_", name), float(value), now, step) for name, value in metrics.items()]
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
        dataset = MetaDataset(source, name="training_snapshot", digest=root[:DIGEST_LENGTH])  # type: ignore[abstract]
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


def without_password(uri: str) -> str:
    """The address as it may be written down and shown."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}"))


def texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in tags.items() if value is not None}


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
