"""Latents: every member of a snapshot as the autoencoder encodes it, and every caption as the text encoder does.

Which of them exist, the configuration of the encoding process, and where its results are stored. They are found by the
weights that made them, so new weights never meet old latents. `training.encode` encodes, in its own process.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.dataset import renditions
from assets.dataset.sealed import Sealed, ancestors
from assets.dataset.views import local_view
from assets.home import Home
from training.model.text import ENCODING, text_key


def prefix(codec_dir: Path) -> str:
    """Where the latents of these weights are kept in the store."""
    digest = hashlib.sha256((codec_dir / "codec.safetensors").read_bytes() + renditions.VERSION.encode()).hexdigest()
    return f"latents/{digest[:24]}"


def keys(codec_dir: Path, clip_ids: Iterable[str]) -> list[str]:
    below = prefix(codec_dir)
    return [f"{below}/{clip_id}.safetensors" for clip_id in clip_ids]


def text_folder(home: Home) -> Path:
    """Local cache of encoded captions, by encoder, encoding and text: small, and made again when lost."""
    weights = home.text_encoder / "model.safetensors"
    stat = weights.stat() if weights.is_file() else None
    encoder = _digest(weights, stat.st_size, stat.st_mtime_ns)[:24] if stat else "absent"
    return home.scratch(f"text-tokens/{encoder}-{ENCODING}")


@functools.lru_cache(maxsize=4)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    """SHA-256 of a file; `size` and `changed_ns` make the cache notice a new one."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Missing:
    """What an encoding process has to make."""

    clip_ids: Sequence[str]
    texts: Sequence[str]


def missing(home: Home, sealed: Sealed, codec_dir: Path) -> Missing:
    """Members without a usable latent, and captions without tokens. A torn latent is deleted, so that it is made anew."""
    from training.data.clips import texts_of

    clip_ids = sorted(unfit(home, codec_dir, sealed.clip_ids))
    for key in keys(codec_dir, clip_ids):
        home.store.delete(key)
    texts = {text for member in sealed.members for text in texts_of(member)}
    tokens = text_folder(home)
    return Missing(
        clip_ids,
        sorted(text for text in texts if not (tokens / f"{text_key(text)}.safetensors").is_file()),
    )


def encode_config(home: Home, sealed: Sealed, codec_dir: Path, work: Path) -> Mapping[str, Any]:
    """The configuration of `python -m training.encode`. Existing latents are linked into `work` first."""
    work.mkdir(exist_ok=True)
    for key in keys(codec_dir, sealed.clip_ids):
        if home.store.exists(key):
            (work / Path(key).name).unlink(missing_ok=True)
            (work / Path(key).name).symlink_to(home.store.fetch(key))
    return {
        "manifest": str(sealed.path),
        "snapshot_root": sealed.root,
        "database_url": home.database_url,
        "frames_dir": str(local_view(home, [renditions.key(clip_id) for clip_id in sealed.clip_ids])),
        "codec_dir": str(codec_dir),
        "latents_dir": str(work),
        "text_dir": str(text_folder(home)),
        "text_encoder": str(home.text_encoder),
        "ancestors": ancestors(home, codec_dir / "codec.safetensors"),
    }


def upload(home: Home, codec_dir: Path, work: Path, clip_ids: Iterable[str]) -> int:
    """Move the new usable latents into the store; returns how many. A clip without one is left out of training."""
    put = 0
    for key in keys(codec_dir, clip_ids):
        if (made := work / Path(key).name).is_file():
            if _defect(data := made.read_bytes()) is None:
                home.store.put(key, renditions.sorted_header(data))
                put += 1
            made.unlink()
    return put


def absent(home: Home, codec_dir: Path, clip_ids: Iterable[str]) -> list[str]:
    """Members without a latent."""
    members = list(clip_ids)
    stored = zip(members, keys(codec_dir, members), strict=True)
    return [clip_id for clip_id, key in stored if not home.store.exists(key)]


def unfit(home: Home, codec_dir: Path, clip_ids: Iterable[str]) -> dict[str, str]:
    """Members whose latent is missing, unreadable or not finite, each with the reason."""
    members, reasons = list(clip_ids), {}
    for clip_id, key in zip(members, keys(codec_dir, members), strict=True):
        if why := _defect(home.store.get(key)) if home.store.exists(key) else "missing":
            reasons[clip_id] = why
    return reasons


def _defect(data: bytes) -> str | None:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        latent = load(data)["latent"]
    except (SafetensorError, KeyError) as error:
        return f"unreadable: {error}"
    return None if latent.size and np.isfinite(latent).all() else "not finite"
