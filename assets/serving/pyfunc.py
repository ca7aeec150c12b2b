"""The registered model as code: prompts in, marked videos out. MLflow runs this file when it loads a version.

There is no pickle: the weights are safetensors, the rest is this file and the platform, whose wheel is in the package. Videos
are marked, as everywhere, and a version that a withdrawal reaches answers nothing, however long ago it was loaded. MLflow keeps
a copy of this file with each version, so what it imports must stay importable.
"""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from assets.serving.answer import Answer, GenerationRequest
from assets.serving.answer import answer as answers

SETTINGS = {"steps": int, "guidance": float}  # columns in which a row departs from the model's own sampling


class VideoTransformer(PythonModel):
    def load_context(self, context: Any) -> None:
        self.folder = Path(context.artifacts["weights"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row a prompt: `prompt`, `video` (an mp4 in base64), `path` and `refused`, the policy's reasons.

        `model_input` has the column `prompt` and optionally `seed`, `steps` and `guidance`; a list of prompts or of such
        rows will do, and without steps or guidance the model's own hold. `params`: `output_dir`, a folder in which the
        files stay, at `path`. A refused prompt has neither video nor path. Raises NothingToServe if the registry says that
        the version is tainted, or cannot be asked.
        """
        kept = (params or {}).get("output_dir") or ""
        with tempfile.TemporaryDirectory(prefix="rushes-videos-") as scratch:
            folder = Path(kept or scratch)
            folder.mkdir(parents=True, exist_ok=True)
            return pd.DataFrame(
                [_row(answer, bool(kept)) for answer in answers(self.folder, _requests(model_input), folder)]
            )


def _row(answer: Answer, kept: bool) -> dict[str, str]:
    video = base64.b64encode(answer.path.read_bytes()).decode() if answer.path else ""
    path = str(answer.path) if answer.path and kept else ""
    return {"prompt": answer.prompt, "video": video, "path": path, "refused": ", ".join(answer.refused)}


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
