"""Which latent space a codec encodes into, as a digest: models whose codecs share it can compare their flow losses.

Decoders may differ, for they make pictures of latents and not latents. Needs no torch, so that the promotion gate has
it too.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import safe_open

DECODING = ("head.", "widen.", "decoder.", "refine_pixels.")  # what a codec's tensors for decoding begin with
SHAPING = ("kind", "channels", "patch", "stride")  # what else of its configuration decides the latents


def latent_space(folder: str | Path) -> str:
    """SHA-256 of the tensors that encode, statistics included, and of the latents' shape. Raises OSError, KeyError."""
    folder = Path(folder)
    config = json.loads((folder / "codec.json").read_text())
    digest = hashlib.sha256(json.dumps([config.get(name) for name in SHAPING]).encode())
    with safe_open(folder / "codec.safetensors", framework="numpy") as file:
        for name in sorted(file.keys()):
            if not name.startswith(DECODING):
                # a base is stored in half precision, and averaging turns -0.0 into 0.0
                tensor = file.get_tensor(name).astype(np.float32) + np.float32(0)
                digest.update(f"{name} {tensor.shape}".encode() + tensor.tobytes())
    return digest.hexdigest()
