"""The registered model as code: prompts in, marked video files out. MLflow runs this file when it loads a version.

There is no pickle: the weights are safetensors, the rest is this file and the installed platform. Videos are marked, as
everywhere, and a version that a withdrawal reaches answers nothing, however long ago it was loaded. MLflow keeps a copy of
this file with each version, so what it imports must stay importable.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from assets.serving.answer import GenerationRequest, answer

SETTINGS = {"steps": int, "guidance": float}  # columns in which a row departs from the model's own sampling


class VideoTransformer(PythonModel):
    def load_context(self, context: Any) -> None:
        self.folder = Path(context.artifacts["weights"])

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row a prompt: `prompt`, `path` of its mp4 (empty when refused) and `refused`, the policy's reasons.

        `model_input`: a frame with the column `prompt` and optionally `seed`, `steps` and `guidance`, or a list of
        prompts or of such rows; without steps or guidance the model's own hold. `params`: `output_dir`. Raises
        NothingToServe if the registry says that the version is tainted, or cannot be asked.
        """
        folder = Path((params or {}).get("output_dir") or tempfile.mkdtemp(prefix="rushes-videos-"))
        folder.mkdir(parents=True, exist_ok=True)
        answers = answer(self.folder, _requests(model_input), folder)
        return pd.DataFrame(
            [
                {"prompt": a.prompt, "path": str(a.path) if a.path else "", "refused": ", ".join(a.refused)}
                for a in answers
            ]
        )


def _requests(model_input: Any) -> list[GenerationRequest]:
    """The rows of the input; empty cells count as absent. Raises ValueError when there is no prompt."""
    if not isinstance(model_input, pd.DataFrame):
        model_input = pd.DataFrame([row if isinstance(row, dict) else {"prompt": row} for row in model_input])
    if "prompt" not in model_input or model_input.empty:
        raise ValueError("predict needs at least one row with the column `prompt`")
    requests = []
    for index, cells in enumerate(model_input.to_dict(orient="records")):
        row = {name: value for name, value in cells.items() if not pd.isna(value)}
        options = {name: kind(row[name]) for name, kind in SETTINGS.items() if name in row}
        requests.append(GenerationRequest(str(row["prompt"]), int(row.get("seed", index)), options))
    return requests


set_model(VideoTransformer())
