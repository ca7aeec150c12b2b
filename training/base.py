"""The small models that nights start from: one folder a size in `bases/`, made by `make_base`.

A few dozen clips cannot teach words, so a size may ship with a base: a codec and a transformer that learned what captions
name from rendered scenes of known facts. Its weights saw nobody's clips, and say so (`exposure`). Their digest is its key.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

BASES = Path(__file__).with_name("bases")
TASKS = ("codec", "transformer")


def folder(size: str) -> Path | None:
    """The folder of the size's base, as of a finished pair: weights, descriptions, result.json. None where there is none."""
    path = BASES / size
    return path if (path / "result.json").is_file() else None


@functools.cache
def _key(path: Path, changed: tuple[int, ...]) -> str:
    digest = hashlib.sha256()
    for task in TASKS:
        digest.update((path / f"{task}.safetensors").read_bytes())
    return f"base-{digest.hexdigest()[:12]}"


def key(size: str) -> str | None:
    """Names the base of a size by a digest of its weights, as lineage has it: `base-` and 12 hex digits."""
    if (path := folder(size)) is None:
        return None
    return _key(path, tuple((path / f"{task}.safetensors").stat().st_mtime_ns for task in TASKS))
