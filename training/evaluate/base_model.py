"""What a comparison with the base model needs, without torch, so that the promotion gate has it too.

The base's answers on the held-out trials are the same every night, and making its videos again would cost as much as the
model's own: a file keeps them. It says which weights, trials and code it comes from and is not read for others. Flow
losses compare where both codecs encode into the same latent space, by its digest. Decoders may differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open

import training
from training.evaluate.rows import Measured
from training.reporting import write_json

DECODING = ("head.", "widen.", "decoder.", "refine_pixels.")  # what a codec's tensors for decoding begin with
SHAPING = ("kind", "channels", "patch", "stride")  # what else of its configuration decides the latents


def digest(base_dir: str | Path, model_dir: str | Path, trials: int, seed: int) -> str:
    """SHA-256 of the base's weights, of what makes the trials (number, seed, the model's frames) and of the source here."""
    stride = json.loads((Path(model_dir) / "codec.json").read_text()).get("stride")
    sha256 = hashlib.sha256(f"{trials} {seed} {stride}".encode())
    root = Path(training.__file__).parent
    source = [path for path in sorted(root.rglob("*.py")) if "consent" not in path.relative_to(root).parts]
    weights = [
        Path(base_dir) / f"{task}.{kind}" for task in ("codec", "transformer") for kind in ("json", "safetensors")
    ]
    for path in (*weights, *source):
        sha256.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return sha256.hexdigest()


def cached(path: str, digest: str, measure: Callable[[], Measured]) -> Measured:
    """What the file at `path` holds under this digest; where it does not, measured and written there."""
    if path and (measured := _read(Path(path), digest)) is not None:
        return measured
    measured = measure()
    if path:
        write_json(Path(path), {"digest": digest, "rows": measured.rows, "values": measured.values}, allow_nan=False)
    return measured


def _read(path: Path, digest: str) -> Measured | None:
    try:
        record = json.loads(path.read_text())
        return Measured(record["rows"], record["values"]) if record["digest"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
