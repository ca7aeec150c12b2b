"""A model version packaged for MLflow: its weights, the pyfunc's code, and `serving.json`, which it needs in order to serve.

Paths and addresses in `serving.json` are those of the machine that registered the version; environment variables override
them elsewhere. One of them is the registry: consent can be withdrawn after a package was loaded, so whoever answers with it
asks the registry each time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from assets.registry.runs import texts, without_password
from assets.registry.versions import CLEAN, Package, Registry, Version, versions_of

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

FILE = "serving.json"
WEIGHTS = tuple(f"{part}.{kind}" for part in ("codec", "transformer") for kind in ("safetensors", "json"))
LIBRARIES = ("torch", "numpy", "safetensors", "transformers", "av", "c2pa-python", "cryptography", "pandas")
ADVICE = "Set RUSHES_MLFLOW_URI to the registry in which it is registered, and see that it can be reached from here."


class NothingToServe(LookupError):
    """No model version may answer."""


@dataclass(frozen=True)
class Serving:
    """`claims` go into every video's manifest: model_id, snapshot_root, ledger_checkpoint."""

    text_encoder: str  # folder of the sentence encoder; RUSHES_TEXT_ENCODER overrides it
    keys: str  # folder of the signing identity and the watermark key; RUSHES_SIGNING_KEYS overrides it
    claims: dict[str, Any]
    registry: str = ""  # MLflow's address, without a password; RUSHES_MLFLOW_URI overrides it

    def write(self, folder: Path) -> None:
        (Path(folder) / FILE).write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Serving:
        fields = json.loads((Path(folder) / FILE).read_text())
        fields["text_encoder"] = os.environ.get("RUSHES_TEXT_ENCODER", fields["text_encoder"])
        fields["keys"] = os.environ.get("RUSHES_SIGNING_KEYS", fields["keys"])
        fields["registry"] = os.environ.get("RUSHES_MLFLOW_URI", fields.get("registry", ""))
        return cls(**fields)

    def require_untainted(self) -> None:
        """Raise NothingToServe unless the registry says now that no withdrawal reaches this model.

        A registry that cannot be asked gives no permission.
        """
        key, address = self.claims.get("model_id"), without_password(self.registry)
        if not address:
            raise NothingToServe(
                f"model {key} does not answer: its package names no registry that knows its taint. {ADVICE}"
            )
        try:
            versions = [version for version in _versions(self.registry) if version.model_key == key]
        except Exception as error:  # whatever the client of a registry raises
            why = f"the registry at {address} cannot be asked whether consent still holds"
            raise NothingToServe(f"model {key} does not answer: {why} ({self._safe(error)}). {ADVICE}") from error
        if not versions:
            raise NothingToServe(f"model {key} does not answer: the registry at {address} does not know it. {ADVICE}")
        for version in versions:
            if version.taint:
                raise NothingToServe(f"version {version.number} must not serve: {version.taint}")

    def _safe(self, error: Exception) -> str:
        """The error's first line, without the registry's password: MLflow puts the address into its messages."""
        password = urlsplit(self.registry).password
        line = (str(error).splitlines() or [type(error).__name__])[0]
        return line.replace(f":{password}@", "@") if password else line


def _versions(uri: str) -> list[Version]:
    """The versions in the registry at this address."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # seven take minutes, in which nobody gets an answer
    from mlflow import MlflowClient

    return versions_of(MlflowClient(tracking_uri=uri, registry_uri=uri))


def register(registry: Registry, run_id: str, model_dir: Path, tags: Mapping[str, Any]) -> str:
    """The version of `tags["model_key"]`: the existing one, or a new one with the weights of `model_dir`.

    A package of code and safetensors, without pickle. `tags` needs model_key, snapshot_root and ledger_checkpoint; the text
    encoder stays where it is and is referred to by its path.
    """
    labels, home = {"taint": CLEAN, **texts(tags)}, registry.home
    if number := registry.version_for(labels["model_key"]):
        registry.remember()
        return number
    if missing := [name for name in WEIGHTS if not (Path(model_dir) / name).is_file()]:
        raise FileNotFoundError(f"{model_dir} lacks {', '.join(missing)}")
    claims = {name: labels.get(name, "") for name in ("snapshot_root", "ledger_checkpoint")}
    serving = Serving(
        text_encoder=str(home.text_encoder),
        keys=str(home.signing),
        registry=without_password(home.mlflow_uri),
        claims={"model_id": labels["model_key"], **claims},
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "weights"
        folder.mkdir()
        for name in WEIGHTS:
            shutil.copyfile(Path(model_dir) / name, folder / name)
        serving.write(folder)
        code = Path(__file__).with_name("pyfunc.py")
        return registry.create_version(run_id, labels, Package(folder, code, signature(), requirements()))


def signature() -> ModelSignature:
    """Columns of a request and of an answer: a row a prompt in, a row a video file out.

    `output_dir` is where the files go, a temporary folder when empty.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        ColSpec("string", "prompt"),
        ColSpec("long", "seed", required=False),
        ColSpec("long", "steps", required=False),
        ColSpec("double", "guidance", required=False),
    ]
    outputs: list[ColSpec | TensorSpec] = [ColSpec("string", name) for name in ("prompt", "path", "refused")]
    return ModelSignature(
        Schema(inputs), Schema(outputs), params=ParamSchema([ParamSpec("output_dir", "string", default="")])
    )


def requirements() -> list[str]:
    """The libraries that generating needs, at the versions that trained the model. The platform's own code comes with its
    installation."""
    return [f"{library}=={installed(library)}" for library in LIBRARIES]
