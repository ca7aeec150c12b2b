"""The base models that ship with the repository: small weights trained on rendered scenes, one a size.

A base has seen no footage, so its exposure is empty. Its key is a digest of its weights: other weights are another base.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

BASES = Path(__file__).parent / "bases"
WEIGHTS = ("codec.safetensors", "transformer.safetensors")


def folder(size: str) -> Path | None:
    """The folder of a size's base, None for a size without one."""
    found = BASES / size
    return found if all((found / name).is_file() for name in WEIGHTS) else None


def key(size: str) -> str | None:
    """The key of a size's base, None for a size without one."""
    if (found := folder(size)) is None:
        return None
    digest = hashlib.sha256()
    for name in WEIGHTS:
        digest.update((found / name).read_bytes())
    return f"base-{digest.hexdigest()[:12]}"
