"""The registered model as code: prompts in, marked video files out. MLflow runs this file when it loads a version.

No pickle: the weights are safetensors, the rest is this file and the installed platform. Files leave through the
release's door only, so a prediction is marked like everything else, and a version that a withdrawal reaches gives none,
however long ago it was loaded.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = {"steps": int, "guidance": float}  # columns by which a row leaves the model's own sampling


class VideoTransformer(PythonModel):
    def load_context(self, context: Any) -> None:
        self.folder = Path(context.artifacts["weights"])

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row a prompt: `prompt`, `path` of its mp4 (empty when refused) and `refused`, the policy's reasons.

        `model_input`: a frame with the column `prompt` and optionally `seed`, `steps` and `guidance`, or a list of
        prompts or of such rows; where a row names no steps or guidance, the model's own hold. `params`: `output_dir`.
        Raises NothingToServe where the registry says that the version is tainted, or cannot be asked.
        """
        import pandas as pd

        from assets.release.generation import answer

        rows = _rows(model_input)
        folder = Path((params or {}).get("output_dir") or tempfile.mkdtemp(prefix="rushes-videos-"))
        folder.mkdir(parents=True, exist_ok=True)
        options = [{name: kind(row[name]) for name, kind in SETTINGS.items() if name in row} for row in rows]
        seeds = [int(row.get("seed", index)) for index, row in enumerate(rows)]
        answers = answer(self.folder, [str(row["prompt"]) for row in rows], seeds, folder, options)
        return pd.DataFrame(
            [
                {"prompt": a.prompt, "path": str(a.path) if a.path else "", "refused": ", ".join(a.refused)}
                for a in answers
            ]
        )


def _rows(model_input: Any) -> list[dict[str, Any]]:
    """The input as rows without empty cells. Raises ValueError when there is no prompt."""
    import pandas as pd

    if not isinstance(model_input, pd.DataFrame):
        model_input = pd.DataFrame([row if isinstance(row, dict) else {"prompt": row} for row in model_input])
    if "prompt" not in model_input or model_input.empty:
        raise ValueError("predict needs at least one row with the column `prompt`")
    return [
        {name: value for name, value in row.items() if not pd.isna(value)}
        for row in model_input.to_dict(orient="records")
    ]


set_model(VideoTransformer())
