"""Captions as numbers: a frozen sentence encoder read from a local folder, never from the network.

The default is MiniLM-L6 (384-d, 22.7 M parameters). The transformer attends to `tokens`; search and near-duplicate
checks use `embed`. Nothing here trains. The model: Reimers & Gurevych, "Sentence-BERT", arXiv 1908.10084.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAX_TOKENS = 64  # captions are a sentence or two; what is longer is cut, and `tokens` says so by its length


class TextEncoderError(RuntimeError):
    """The encoder's folder is missing or incomplete. Says what to run."""


def text_key(text: str) -> str:
    """Name of the cached encoding of `text`: sha256 of its UTF-8 bytes, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


class TextEncoder:
    """MiniLM in fp32 on the CPU. The result for a text does not depend on the texts beside it in the call."""

    def __init__(self, path: str | Path) -> None:
        """Load from the folder `path` (config.json, model.safetensors, tokenizer files)."""
        path = Path(path)
        if not (path / "model.safetensors").is_file():
            raise TextEncoderError(f"no text encoder at {path} (model.safetensors is missing): run `make setup`")
        import transformers

        transformers.utils.logging.disable_progress_bar()
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        self.model: Any = transformers.AutoModel.from_pretrained(
            str(path), local_files_only=True, use_safetensors=True, attn_implementation="eager"
        ).eval()
        self.width: int = self.model.config.hidden_size

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Contextual token vectors, one f32 [n, width] a text, special tokens included (so an empty text has n = 2)."""
        return [self._encode(text) for text in texts]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """One unit vector a text: f32 [N, width], the mean of its token vectors; the dot product is the cosine."""
        if not texts:
            return np.zeros((0, self.width), np.float32)
        pooled = np.stack([self._encode(text).mean(axis=0) for text in texts])
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def _encode(self, text: str) -> np.ndarray:
        """One text a forward pass: 3 ms, and no padding whose rounding would differ with the batch."""
        import torch

        inputs = self.tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            return self.model(**inputs).last_hidden_state[0].float().numpy()
