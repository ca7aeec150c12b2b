"""The base model's answers on the held-out trials, kept in a file: they are the same every night.

Every model of a size is compared with the same base on the same trials, so making the base's videos again would cost as
much as the model's own. The file says which weights, trials and code it comes from and is not read for others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import training
from training.evaluate.measured import Measured
from training.reporting import write_json


def digest(base_dir: str | Path, model_dir: str | Path, trials: int, seed: int) -> str:
    """SHA-256 of the base's weights, of what makes the trials (number, seed, the model's frames) and of the source here."""
    stride = json.loads((Path(model_dir) / "codec.json").read_text()).get("stride")
    found = hashlib.sha256(f"{trials} {seed} {stride}".encode())
    root = Path(training.__file__).parent
    source = [path for path in sorted(root.rglob("*.py")) if "consent" not in path.relative_to(root).parts]
    weights = [
        Path(base_dir) / f"{task}.{kind}" for task in ("codec", "transformer") for kind in ("json", "safetensors")
    ]
    for path in (*weights, *source):
        found.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def kept(path: str, told: str, measure: Callable[[], Measured]) -> Measured:
    """What the file at `path` says under the digest `told`; where it says nothing of it, measured and written there."""
    if path and (found := _read(Path(path), told)) is not None:
        return found
    measured = measure()
    if path:
        write_json(Path(path), {"digest": told, "rows": measured.rows, "values": measured.values}, allow_nan=False)
    return measured


def _read(path: Path, told: str) -> Measured | None:
    try:
        record = json.loads(path.read_text())
        return Measured(record["rows"], record["values"]) if record["digest"] == told else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
