"""A model version packaged for MLflow: its weights, the pyfunc's code, this platform as a wheel, and `serving.json`.

A package names no path of the machine that registered it. What else it needs is said where it runs: two folders, the text
encoder's (RUSHES_TEXT_ENCODER) and that of the signing keys (RUSHES_SIGNING_KEYS), and the registry (RUSHES_MLFLOW_URI, or the
one that MLflow is set to). Consent can be withdrawn after a package was loaded, so whoever answers with it asks the registry
each time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from assets.home import Home
from assets.registry import CLEAN, Registry, Version, texts, versions_of, without_password
from assets.serving import bases
from assets.serving.wheel import build_wheel
from training.model.base_folder import facts_of

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model, ModelSignature

FILE = "serving.json"
WEIGHTS = tuple(f"{part}.{kind}" for part in ("codec", "transformer") for kind in ("safetensors", "json"))
LIBRARIES = (  # that generating, marking and asking the registry need
    *("torch", "numpy", "safetensors", "transformers", "pydantic", "av", "scipy", "tqdm"),
    *("c2pa-python", "cryptography", "pandas", "pyarrow", "sqlalchemy", "rfc8785"),
)
TUNED = ("diffusers", "peft", "accelerate")  # that a model of a pretrained base needs besides
ADVICE = "Set RUSHES_MLFLOW_URI to the registry in which it is registered, and see that it can be reached from here."
FOLDERS = {"text_encoder": "RUSHES_TEXT_ENCODER", "keys": "RUSHES_SIGNING_KEYS"}
REGISTRY = "RUSHES_MLFLOW_URI"
BASE = "RUSHES_BASE"  # the folder of a pretrained base, where a model was tuned from one
WHEELS = "wheels"  # where MLflow looks for wheels in a package


class NothingToServe(LookupError):
    """No model version may answer."""


@dataclass(frozen=True)
class Serving:
    """`claims` go into every video's manifest: model_id, snapshot_root, ledger_checkpoint, and the
    pretrained base where there is one.

    The rest is where things are on the machine that answers. Packages of earlier versions recorded their own machine's.
    """

    claims: dict[str, Any]
    text_encoder: str = ""  # folder of the sentence encoder
    keys: str = ""  # folder of the signing identity and the watermark key
    registry: str = ""  # MLflow's address
    base: str = ""  # folder of the pretrained base

    def write(self, folder: Path) -> None:
        fields = {name: value for name, value in asdict(self).items() if value}
        (Path(folder) / FILE).write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path, home: Home | None = None) -> Serving:
        """What the package says, and where the rest is: as the environment says, else the home, else the package."""
        fields = json.loads((Path(folder) / FILE).read_text())
        if home is not None:
            fields |= {"text_encoder": str(home.text_encoder), "keys": str(home.signing), "registry": home.mlflow_uri}
        base = facts_of(folder).get("sha256", "")
        if base and home is not None:
            fields["base"] = bases.folder(home, base)
        for name, variable in (FOLDERS | {"registry": REGISTRY}).items():
            fields[name] = os.environ.get(variable) or fields.get(name, "")
        fields["base"] = os.environ.get(BASE) or fields.get("base", "") if base else ""
        return cls(**fields | {"registry": fields["registry"] or _set_in_mlflow()})

    def require_folders(self) -> None:
        """Raise NothingToServe unless it was said where the text encoder and the keys are."""
        tuned = "base" in self.claims  # a base has a text encoder of its own
        needed = {"base": BASE, "keys": FOLDERS["keys"]} if tuned else FOLDERS
        if missing := [variable for name, variable in needed.items() if not getattr(self, name)]:
            raise NothingToServe(
                f"model {self.claims.get('model_id')} does not answer: set {' and '.join(missing)}. A package brings its "
                "weights and code; the text encoder and the keys that sign what leaves are folders of this machine."
            )

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


def _set_in_mlflow() -> str:
    """The registry that MLflow was told of; empty if nobody told it, for its own default is an empty database."""
    import mlflow

    return mlflow.get_registry_uri() if mlflow.is_tracking_uri_set() else ""


def _versions(uri: str) -> list[Version]:
    """The versions in the registry at this address."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # seven take minutes, in which nobody gets an answer
    from mlflow import MlflowClient

    return versions_of(MlflowClient(tracking_uri=uri, registry_uri=uri))


@dataclass(frozen=True)
class Package:
    """What MLflow keeps of a version: a folder of weights, the pyfunc's code, the platform's wheel, and how to ask it."""

    folder: Path
    code: Path
    wheel: Path
    signature: ModelSignature
    example: pd.DataFrame  # a request
    requirements: list[str]

    def save(self, path: Path, model: Model) -> None:
        """Write MLflow's folder for it, with relative paths alone: MLflow would note where each part came from."""
        from mlflow import pyfunc

        pyfunc.save_model(
            path,
            python_model=str(self.code),
            artifacts={"weights": str(self.folder)},
            signature=self.signature,
            input_example=self.example,
            pip_requirements=[f"{WHEELS}/{self.wheel.name}", *self.requirements],
            mlflow_model=model,
        )
        (path / WHEELS).mkdir()
        shutil.copy(self.wheel, path / WHEELS)
        flavor = model.flavors[pyfunc.FLAVOR_NAME]
        flavor["model_code_path"] = self.code.name
        for name, artifact in flavor["artifacts"].items():
            artifact["uri"] = name
        model.save(str(path / "MLmodel"))


def register(registry: Registry, run_id: str, model_dir: Path, tags: Mapping[str, Any]) -> str:
    """The version of `tags["model_key"]`: the existing one, or a new one with the weights of `model_dir`.

    A package of code and safetensors, without pickle. `tags` needs model_key, snapshot_root and ledger_checkpoint.
    """
    labels = {"taint": CLEAN, **texts(tags)}
    if number := registry.version_for(labels["model_key"]):
        registry.remember()
        return number
    if missing := [name for name in WEIGHTS if not (Path(model_dir) / name).is_file()]:
        raise FileNotFoundError(f"{model_dir} lacks {', '.join(missing)}")
    claims: dict[str, Any] = {name: labels.get(name, "") for name in ("snapshot_root", "ledger_checkpoint")}
    if base := {name.removeprefix("base_"): text for name, text in labels.items() if name.startswith("base_")}:
        claims["base"] = base
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "weights"
        folder.mkdir()
        for name in WEIGHTS:
            shutil.copyfile(Path(model_dir) / name, folder / name)
        Serving({"model_id": labels["model_key"], **claims}, registry=_reachable(registry.home.mlflow_uri)).write(
            folder
        )
        return registry.create_version(run_id, labels, package(folder).save)


def package(weights: Path) -> Package:
    """What goes into MLflow of this folder of weights; the wheel is built beside it."""
    wheel = build_wheel(weights.parent, LIBRARIES)
    code = Path(__file__).with_name("pyfunc.py")
    libraries = requirements(LIBRARIES + TUNED if facts_of(weights) else LIBRARIES)
    return Package(weights, code, wheel, signature(), input_example(), libraries)


def _reachable(uri: str) -> str:
    """The registry's address without a password, if it means the same on every machine; else empty."""
    return "" if urlsplit(uri).scheme in ("", "file", "sqlite") else without_password(uri)


def signature() -> ModelSignature:
    """Columns of a request and of an answer: a row a prompt in, a row a video out.

    `output_dir` is a folder for the files; without it they come back in the answer alone.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        ColSpec("string", "prompt"),
        ColSpec("long", "seed", required=False),
        ColSpec("long", "steps", required=False),
        ColSpec("double", "guidance", required=False),
    ]
    outputs: list[ColSpec | TensorSpec] = [ColSpec("string", name) for name in ("prompt", "video", "path", "refused")]
    return ModelSignature(
        Schema(inputs), Schema(outputs), params=ParamSchema([ParamSpec("output_dir", "string", default="")])
    )


def input_example() -> pd.DataFrame:
    """A request that any version answers, as MLflow shows it on the model's page."""
    import pandas as pd

    return pd.DataFrame({"prompt": ["a red circle moves right", "waves at sunset"], "seed": [1, 2]})


def requirements(libraries: Sequence[str] = LIBRARIES) -> list[str]:
    """The libraries that generating needs, at the versions that registered the model, of whatever build."""
    return [f"{library}=={installed(library).partition('+')[0]}" for library in libraries]
