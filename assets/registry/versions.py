"""The registry: one registered model with its versions, tags and aliases, and what a version's page says.

Every call to MLflow about a version is here; `runs` has those about runs. Whether a version may be promoted is decided in
`assets.evaluation.gate`; `assets.serving` packages a version and answers with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.registry.runs import Tracking, existing_is_fine, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

MODEL = "video-transformer"
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
}


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


@dataclass(frozen=True)
class Package:
    """What MLflow keeps of a version: a folder of weights, the pyfunc's code, its signature and requirements."""

    folder: Path
    code: Path
    signature: ModelSignature
    requirements: list[str]


class Registry(Tracking):
    """Runs, and the versions that came of them."""

    def create_version(self, run_id: str, labels: Mapping[str, str], package: Package) -> str:
        """A new version of this run with these tags."""
        with existing_is_fine():
            self.client.create_registered_model(
                MODEL, description="Text to video. `predict` takes prompts and gives marked video files."
            )
        model_uri, model_id = self._log_package(run_id, package)
        created = self.client.create_model_version(
            MODEL, model_uri, run_id, dict(labels), description=version_description(labels), model_id=model_id
        )
        self.remember()
        return str(created.version)

    def remember(self) -> None:
        """From now on a registry without the model is not this home's, or has lost what it had."""
        if not self.home.store.exists(REGISTERED):
            self.home.store.put(REGISTERED, b"{}")

    def _log_package(self, run_id: str, package: Package) -> tuple[str, str]:
        """Log the package as a pyfunc written as code. Returns where its files are and its id."""
        import mlflow

        mlflow.set_tracking_uri(self.home.mlflow_uri)
        mlflow.set_registry_uri(self.home.mlflow_uri)
        status = self.client.get_run(run_id).info.status
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it advises an input example, which would be generated here
            info = mlflow.pyfunc.log_model(
                name=MODEL,
                python_model=str(package.code),
                artifacts={"weights": str(package.folder)},
                signature=package.signature,
                pip_requirements=package.requirements,
            )
        self.client.update_run(run_id, status=status)
        return info.artifact_path, info.model_id

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

        mlflow.set_tracking_uri(self.home.mlflow_uri)
        mlflow.set_registry_uri(self.home.mlflow_uri)
        return Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{number}")) / "artifacts" / "weights"

    def tag(self, version: str, key: str, value: Any) -> None:
        self.client.set_model_version_tag(MODEL, str(version), key, str(value))

    def describe(self, version: str) -> None:
        """Write the version's page anew, from its tags as they are now."""
        text = version_description(self.version(version).tags)
        self.client.update_model_version(MODEL, str(version), text)

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
    lines += ["| what it rests on | |", "|---|---|"]
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


def _plain(value: str) -> str:
    """One line that cannot break out of its table cell or code span."""
    return " ".join(value.split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
