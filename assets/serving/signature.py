"""What the registered model takes and gives, as MLflow states it: a row a prompt in, a row a video file out."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

LIBRARIES = ("torch", "numpy", "safetensors", "transformers", "av", "c2pa-python", "cryptography", "pandas")


def signature() -> ModelSignature:
    """Columns of a request and of an answer; `output_dir` is where the files go, a temporary folder when empty."""
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
    """The libraries that generating needs, at the versions that trained the model; the platform's own code comes
    with its installation."""
    return [f"{library}=={version(library)}" for library in LIBRARIES]
