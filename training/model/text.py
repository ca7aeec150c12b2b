"""Captions as numbers: a small text encoder read from a local folder, never from the network.

Two encodings for two purposes. The transformer attends to `tokens`: each word piece's embedding plus those of both its
neighbours, so that every token says locally which colour belongs to which shape and which side to which body. The last
hidden states of a sentence encoder have nearly lost that, because they are made to be averaged: with them, a model trained
on scenes of two bodies binds attributes at chance. Search and near-duplicate checks use `embed`, the sentence vector.

The default encoder is MiniLM-L6 (384-d, 22.7 M parameters). Nothing here trains. References: Reimers & Gurevych,
"Sentence-BERT", arXiv 1908.10084; Kanerva, "Hyperdimensional Computing", Cognitive Computation 1 (2009), for marking a
vector's role by a fixed permutation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

MAX_TOKENS = 64  # captions are a sentence or two; what is longer is cut, and `tokens` says so by its length
ENCODING = "word-pieces-1"  # change it whenever `tokens` may change: it names caches of its results
ROLES = ("before", "after")  # of the neighbours of a token


class TextEncoderError(RuntimeError):
    """The encoder's folder is missing or incomplete. Says what to run."""


def text_key(text: str) -> str:
    """Name of the cached encoding of `text`: sha256 of its UTF-8 bytes, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def signed_permutation(role: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A fixed orthogonal map of vectors [width]: x -> sign * x[order]. The same on every machine and library version."""
    digests = [hashlib.sha256(f"{role} {width} {i}".encode()).digest() for i in range(width)]
    order = np.array(sorted(range(width), key=digests.__getitem__))
    return order, np.array([1.0 if digest[-1] % 2 else -1.0 for digest in digests], np.float32)


def with_neighbours(pieces: np.ndarray) -> np.ndarray:
    """f32 [n, width] to f32 [n, width] of unit mean square: x[i] + P x[i - 1] + Q x[i + 1], P and Q fixed orthogonal maps."""
    pieces = pieces / np.sqrt(np.square(pieces).mean())
    out = pieces.copy()
    for role, neighbours, rows in zip(ROLES, (pieces[:-1], pieces[1:]), (slice(1, None), slice(None, -1)), strict=True):
        order, sign = signed_permutation(role, pieces.shape[1])
        out[rows] += neighbours[:, order] * sign
    return (out / np.sqrt(len(ROLES) + 1)).astype(np.float32)


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
        self.table: np.ndarray = self.model.get_input_embeddings().weight.detach().float().numpy()

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """What the transformer attends to: one f32 [n, width] a text, special tokens included (an empty text has n = 2)."""
        return [with_neighbours(self.table[self._pieces(text)["input_ids"][0].numpy()]) for text in texts]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """One unit vector a text: f32 [N, width], the mean of its last hidden states; the dot product is the cosine."""
        if not texts:
            return np.zeros((0, self.width), np.float32)
        pooled = np.stack([self._hidden(text).mean(axis=0) for text in texts])
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def _pieces(self, text: str) -> Any:
        return self.tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")

    def _hidden(self, text: str) -> np.ndarray:
        """One text a forward pass: 3 ms, and no padding whose rounding would differ with the batch."""
        import torch

        with torch.inference_mode():
            return self.model(**self._pieces(text)).last_hidden_state[0].float().numpy()
