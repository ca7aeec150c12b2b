"""Latents of many clips in few large files, for sizes whose clips come by the ten thousand.

    <name>.safetensors   `<clip_id>`: f16 [C, t, h, w] for each clip; some 256 MB
    <name>.json          what is in it, so that nobody opens a shard to find a clip: {clip_id: [shape, fps, motion]}

The name is a digest of the clip ids; the folder names codec and data policy. A shard is there once its index is, which is
written last. Readers map the file and take the clips that they need: none holds a shard in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.process import atomically, write_json

SHARD_BYTES = 256 << 20


class Entry(NamedTuple):
    """Where a clip's latent lies, and what is known of it."""

    path: Path
    shape: tuple[int, ...]
    fps: float
    motion: float


@dataclass
class Writer:
    """Collects latents and writes a shard whenever one is full; `close` writes the last. Holds no more than a shard."""

    folder: Path

    def __post_init__(self) -> None:
        self._latents: dict[str, Tensor] = {}
        self._index: dict[str, list[object]] = {}
        self._bytes = 0

    def add(self, clip_id: str, latent_Cthw: Tensor, fps: float, motion: float) -> None:
        half = latent_Cthw.to(torch.float16).contiguous()
        self._latents[clip_id] = half
        self._index[clip_id] = [list(half.shape), round(fps, 4), round(motion, 4)]
        self._bytes += half.nbytes
        if self._bytes >= SHARD_BYTES:
            self.close()

    def close(self) -> None:
        if self._latents:
            write(self.folder, self._latents, self._index)
        self.__post_init__()


def write(folder: Path, latents: dict[str, Tensor], index: dict[str, list[object]]) -> str:
    """Write one shard, its index last; returns its name."""
    name = hashlib.sha256("\n".join(sorted(latents)).encode()).hexdigest()[:24]
    with atomically(folder / f"{name}.safetensors") as partial:
        save_file(dict(sorted(latents.items())), partial)
    write_json(folder / f"{name}.json", index, sort_keys=True)
    return name


def without(shard: Path, index: Path, clip_id: str, folder: Path) -> list[Path]:
    """Write what is left of a shard without a clip into `folder`; returns the files, the index last; none if it was alone."""
    rest = {name: row for name, row in json.loads(index.read_text()).items() if name != clip_id}
    if not rest:
        return []
    with safe_open(shard, framework="pt") as file:
        name = write(folder, {name: file.get_tensor(name) for name in rest}, rest)
    return [folder / f"{name}.safetensors", folder / f"{name}.json"]


def read_index(folder: Path) -> dict[str, Entry]:
    """Every clip that a folder's shards hold. A torn index counts as none: its shard is made anew."""
    return {clip_id: entry for path in sorted(folder.glob("*.json")) for clip_id, entry in entries(path)}


def entries(index: Path) -> Iterable[tuple[str, Entry]]:
    """What one index says; nothing where it, or its shard, cannot be read."""
    shard = index.with_suffix(".safetensors")
    try:
        rows = json.loads(index.read_text()) if shard.is_file() else {}
        return [(clip_id, Entry(shard, tuple(shape), fps, motion)) for clip_id, (shape, fps, motion) in rows.items()]
    except (OSError, ValueError, AttributeError, TypeError):
        return []
