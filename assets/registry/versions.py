"""The registry: one registered model with its versions, tags and aliases.

What belongs here: every call to MLflow about a version. What does not: runs (`tracking`), whether a version may be
promoted (`gate`), and what a version does when it is asked for a video (`pyfunc_model`).
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.registry.description import version_description
from assets.registry.runs import Tracking, existing_is_fine, texts, ui_address
from assets.serving.serve import Serving, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "video-transformer"
CANDIDATE, CHAMPION = "candidate", "champion"
CLEAN = "none"  # value of the tag `taint` on a version that no revocation touches
REGISTERED = "registry/registered.json"  # in the home's store once a version was registered


class RegistryLost(RuntimeError):
    """The registry knows nothing of a model of which this home registered versions."""


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


class Registry(Tracking):
    """Runs, and the versions that came of them."""

    def register(self, run_id: str, model_dir: Path, tags: Mapping[str, Any]) -> str:
        """The version of `tags["model_key"]`: the one that exists, or a new one with the weights of `model_dir`.

        A package of code and safetensors without pickle. `tags` needs model_key, snapshot_root and ledger_checkpoint;
        the text encoder stays where it is and is referred to by its path.
        """
        labels = {"taint": CLEAN, **texts(tags)}
        if existing := self.version_for(labels["model_key"]):
            self._remember()
            return existing
        with existing_is_fine():
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
                registry=without_password(self.home.mlflow_uri),
                claims={
                    "model_id": labels["model_key"],
                    "snapshot_root": labels.get("snapshot_root", ""),
                    "ledger_checkpoint": labels.get("ledger_checkpoint", ""),
                },
            )
            serving.write(package)
            model_uri, model_id = self._log_package(run_id, package)
        created = self.client.create_model_version(
            MODEL, model_uri, run_id, labels, description=version_description(labels), model_id=model_id
        )
        self._remember()
        return str(created.version)

    def _remember(self) -> None:
        """From now on a registry without the model is not this home's, or has lost what it had."""
        if not self.home.store.exists(REGISTERED):
            self.home.store.put(REGISTERED, b"{}")

    def _log_package(self, run_id: str, package: Path) -> tuple[str, str]:
        """Log the package as a pyfunc written as code. Returns where its files are and its id."""
        import mlflow

        from assets.serving import signature

        mlflow.set_tracking_uri(self.home.mlflow_uri)
        mlflow.set_registry_uri(self.home.mlflow_uri)
        status = self.client.get_run(run_id).info.status
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it advises an input example, which would be generated here
            info = mlflow.pyfunc.log_model(
                name=MODEL,
                python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                artifacts={"weights": str(package)},
                signature=signature.signature(),
                pip_requirements=signature.requirements(),
            )
        self.client.update_run(run_id, status=status)
        return info.artifact_path, info.model_id

    def versions(self) -> list[Version]:
        """Every version, newest first; none when nothing was ever registered.

        Only MLflow says what an address means. One that leads elsewhere, such as a path from another folder, may lead to
        an empty database that MLflow makes on the spot: raises RegistryLost where this home knows better.
        """
        found = versions_of(self.client)
        if not found and self.home.store.exists(REGISTERED):
            raise RegistryLost(
                f"the registry at {without_password(self.home.mlflow_uri)} has no version of {MODEL}, and this home "
                f"registered some: check RUSHES_MLFLOW_URI, or delete {self.home.store.uri(REGISTERED)} if they were "
                "given up"
            )
        return found

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

    def describe(self, version: str) -> None:
        """Write what the version's page says anew, from its tags as they are now."""
        text = version_description(self.version(version).tags)
        self.client.update_model_version(MODEL, str(version), text)

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

    def version_url(self, version: str, base: str | None = None) -> str:
        return f"{ui_address(base)}/#/models/{MODEL}/versions/{version}"

    def url(self, target: str, base: str | None = None) -> str:
        """Where MLflow's UI shows a version (a number) or a run (anything else)."""
        return self.version_url(target, base) if str(target).isdigit() else self.run_url(target, base)


def versions_of(client: MlflowClient) -> list[Version]:
    """Every version that the client's registry has, newest first."""
    import mlflow

    try:
        aliases = client.get_registered_model(MODEL).aliases
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
        for version in client.search_model_versions(f"name = '{MODEL}'")
    ]
    return sorted(found, key=lambda version: int(version.number), reverse=True)


def _weights(model_dir: Path) -> Iterable[Path]:
    names = [f"{part}.{kind}" for part in ("codec", "transformer") for kind in ("safetensors", "json")]
    if missing := [name for name in names if not (model_dir / name).is_file()]:
        raise FileNotFoundError(f"{model_dir} lacks {', '.join(missing)}")
    return [model_dir / name for name in names]
