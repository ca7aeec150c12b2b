"""A model that looks at pictures and says what is seen: a vision-language model in a local folder, run by transformers.

It is not part of Rushes: the setting RUSHES_CAPTIONER names its folder. Nothing is fetched and no code of the folder is
run: safetensors alone, architectures that transformers ships alone. A folder that cannot be used is an error, and nothing
else is asked in its place. The model sees one picture at a time, so it says nothing about motion.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

PROMPT = "Describe in one plain sentence what is seen in this picture."
PROMPT_VERSION = "prompt-1"  # change it with the prompt or with how pictures are fed
MAX_NEW_TOKENS = 64
CONFIGS = ("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


class BadCaptioner(ValueError):
    """The folder holds no captioner that can be used. Says which file, and why."""


class Captioner(Protocol):
    """Says what is seen in a picture."""

    name: str  # with the digest of the weights and the version of the prompt: the same name gives the same words

    def caption(self, rgb: np.ndarray) -> str:
        """What is seen in uint8 [h, w, 3], as the model words it."""
        ...


class LocalCaptioner:
    """The model in `folder`: greedy decoding, so the same picture is always told in the same words."""

    def __init__(self, folder: Path) -> None:
        """Load it; raises BadCaptioner."""
        import torch
        import transformers

        self.name = captioner_name(folder)
        transformers.utils.logging.disable_progress_bar()
        own: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor: Any = transformers.AutoProcessor.from_pretrained(str(folder), **own)
            loaded: Any = transformers.AutoModelForImageTextToText.from_pretrained(
                str(folder), use_safetensors=True, output_loading_info=True, **own
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError) as error:
            raise BadCaptioner(
                f"{folder}: transformers cannot load it ({' '.join(str(error).split())[:300]})"
            ) from error
        model, found = loaded
        if lost := sorted({*map(str, found["missing_keys"]), *map(str, found["mismatched_keys"])}):
            raise BadCaptioner(f"{folder}: the weights lack {len(lost)} tensors that the model has, such as {lost[0]}")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = model.to(self._device).eval()

    def caption(self, rgb: np.ndarray) -> str:
        import torch

        inputs = self._inputs(rgb).to(self._device)
        with torch.inference_mode():
            ids = self._model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, num_beams=1)
        asked = inputs.get("input_ids")
        if asked is not None and torch.equal(
            ids[:, : asked.shape[1]], asked
        ):  # the prompt comes back before the answer
            ids = ids[:, asked.shape[1] :]
        return self._processor.batch_decode(ids, skip_special_tokens=True)[0].strip()

    def _inputs(self, rgb: np.ndarray) -> Any:
        """Models that are talked to are asked; the others only look."""
        from PIL import Image

        image = Image.fromarray(rgb)
        if getattr(self._processor, "chat_template", None) is None:
            return self._processor(images=image, return_tensors="pt")
        content = [{"type": "image", "image": image}, {"type": "text", "text": PROMPT}]
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )


def captioner_name(folder: Path) -> str:
    """`visual/<folder>-<digest of weights and configuration>/<prompt>`. Raises BadCaptioner for a folder that is none."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BadCaptioner(f"no captioner at {folder}: there are no safetensors; RUSHES_CAPTIONER names its folder")
    digest = hashlib.sha256()
    for path in [*weights, *(folder / name for name in CONFIGS if (folder / name).is_file())]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for name in CONFIGS:
        if (folder / name).is_file() and "auto_map" in _config(folder / name):
            raise BadCaptioner(f"{folder / name}: the model asks for code of its own (auto_map), which is never run")
    return f"visual/{folder.name}-{digest.hexdigest()[:12]}/{PROMPT_VERSION}"


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadCaptioner(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise BadCaptioner(f"{path}: not a configuration")
    return found
