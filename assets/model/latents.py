"""Latents: every member of a snapshot as the autoencoder encodes it, and every caption as the text encoder does.

Which of them exist, the configuration of the encoding process, and where its results are stored. They are found by the
weights and the data policy that made them, so new weights never meet old latents. `training.encode` encodes, in its own
process. Sizes whose pictures lie on disk have a file for each clip; those that are encoded straight from the delivered files
have shards (`training.data.shards`), and a few hundred clips are fetched, encoded and stored at a time.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.dataset import renditions
from assets.dataset.sealed import Sealed, ancestors, local_view
from assets.home import Home
from assets.serving import bases
from assets.store import write_atomically
from training.consent.canonical import file_sha256
from training.model.base_folder import facts_of
from training.model.text import ENCODING, text_key

BATCH_CLIPS = 512  # whose files are fetched at a time


def prefix(home: Home, codec_dir: Path) -> str:
    """Where the latents of these weights, at the home's size, are kept in the store."""
    rung, base = renditions.rung(home), facts_of(codec_dir)
    # a base's autoencoder is never trained, so its latents serve every snapshot
    weights = base["sha256"].encode() if base else (codec_dir / "codec.safetensors").read_bytes()
    digest = hashlib.sha256(weights + rung.data.name.encode()).hexdigest()
    return f"{'shards' if rung.crops else 'latents'}/{digest[:24]}"


def keys(home: Home, codec_dir: Path, clip_ids: Iterable[str]) -> list[str]:
    """The files of these clips' latents: one each, or the shards that hold any of them, with their indexes."""
    below = prefix(home, codec_dir)
    if renditions.rung(home).crops is None:
        return [f"{below}/{clip_id}.safetensors" for clip_id in clip_ids]
    shards = _shards(home, below)
    held = sorted({shards[clip_id] for clip_id in clip_ids if clip_id in shards})
    return [f"{below}/{name}.{ending}" for name in held for ending in ("json", "safetensors")]


def _shards(home: Home, below: str) -> dict[str, str]:
    """The shard of each clip that is in one."""
    found: dict[str, str] = {}
    for key in home.store.list(below):
        if key.endswith(".json") and home.store.exists(key.replace(".json", ".safetensors")):
            found |= dict.fromkeys(json.loads(home.store.get(key)), Path(key).stem)
    return found


def text_encoder(home: Home, model_dir: Path) -> Path:
    """The folder of the text encoder that goes with a codec: the home's, or the whole pretrained base that it is of."""
    base = facts_of(model_dir)
    return Path(bases.folder(home, base["sha256"])) if base else home.text_encoder


def text_folder(home: Home, model_dir: Path) -> Path:
    """Local cache of encoded captions, by encoder, encoding and text: small, and made again when lost."""
    if base := facts_of(model_dir):
        return home.scratch(f"text-tokens/base-{base['sha256'][:24]}")
    weights = home.text_encoder / "model.safetensors"
    stat = weights.stat() if weights.is_file() else None
    encoder = _digest(weights, stat.st_size, stat.st_mtime_ns)[:24] if stat else "absent"
    return home.scratch(f"text-tokens/{encoder}-{ENCODING}")


@functools.lru_cache(maxsize=4)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    """SHA-256 of a file; `size` and `changed_ns` make the cache notice a new one."""
    return file_sha256(path)


@dataclass(frozen=True)
class Missing:
    """What an encoding process has to make."""

    clip_ids: Sequence[str]
    texts: Sequence[str]


def missing(home: Home, sealed: Sealed, codec_dir: Path) -> Missing:
    """Members without a usable latent, and captions without tokens. A torn latent is deleted, so that it is made anew."""
    clip_ids = sorted(unfit(home, codec_dir, sealed.clip_ids))
    if renditions.rung(home).crops is None:
        for key in keys(home, codec_dir, clip_ids):
            home.store.delete(key)
    return Missing(clip_ids, missing_texts(home, sealed, codec_dir))


def missing_texts(home: Home, sealed: Sealed, codec_dir: Path) -> list[str]:
    """The members' captions that this machine has no tokens of."""
    from training.data.clips import texts_of

    texts = {text for member in sealed.members for text in texts_of(member)}
    tokens = text_folder(home, codec_dir)
    return sorted(text for text in texts if not (tokens / f"{text_key(text)}.safetensors").is_file())


def encodings(home: Home, sealed: Sealed, codec_dir: Path, work: Path) -> Iterator[Mapping[str, Any]]:
    """The configurations of `python -m training.encode` that make what is missing, each to be run before the next is asked for.

    What a process made is stored then. Where one is killed, what it finished stays in `work` and the next goes on from it.
    """
    wanted = missing(home, sealed, codec_dir)
    if not wanted.clip_ids and not wanted.texts:
        return
    if renditions.rung(home).crops is None:
        yield encode_config(home, sealed, codec_dir, work)
        upload(home, codec_dir, work, wanted.clip_ids)
        return
    upload_shards(home, sealed, codec_dir, work)  # of a process that was killed
    there = _shards(home, prefix(home, codec_dir))
    members = sorted((m for m in sealed.members if m["clip_id"] not in there), key=lambda m: m["media_key"])
    for first in range(0, max(1, len(members)), BATCH_CLIPS):
        batch = members[first : first + BATCH_CLIPS]
        yield encode_config(home, sealed, codec_dir, work, batch)
        upload_shards(home, sealed, codec_dir, work)
        for key in {member["media_key"] for member in batch}:
            home.store.release(key)


def encode_config(
    home: Home, sealed: Sealed, codec_dir: Path, work: Path, batch: Sequence[Mapping[str, Any]] = ()
) -> Mapping[str, Any]:
    """The configuration of `python -m training.encode`. Existing latents are linked into `work` first, or the files of a batch
    of members are fetched."""
    work.mkdir(exist_ok=True)
    size = renditions.size_of(home)
    where: dict[str, Any] = {"frames_dir": "", "sources": str(work / "sources.list"), "size": size}
    if renditions.rung(home).crops is None:
        for key in keys(home, codec_dir, sealed.clip_ids):
            if home.store.exists(key):
                (work / Path(key).name).unlink(missing_ok=True)
                (work / Path(key).name).symlink_to(home.store.fetch(key))
        where = {"frames_dir": str(local_view(home, renditions.keys(home, sealed.clip_ids)))}
    else:
        write_atomically(work / "sources.list", json.dumps(renditions.sources(home, batch)).encode())
    return {
        **where,
        "manifest": str(sealed.path),
        "snapshot_root": sealed.root,
        "database_url": home.database_url,
        "codec_dir": str(codec_dir),
        "latents_dir": str(work),
        "text_dir": str(text_folder(home, codec_dir)),
        "text_encoder": str(text_encoder(home, codec_dir)),
        "ancestors": ancestors(home, codec_dir / "codec.safetensors"),
    }


def upload(home: Home, codec_dir: Path, work: Path, clip_ids: Iterable[str]) -> int:
    """Move the new usable latents into the store; returns how many. A clip without one is left out of training."""
    put = 0
    for key in keys(home, codec_dir, clip_ids):
        if (made := work / Path(key).name).is_file():
            if _defect(data := made.read_bytes()) is None:
                home.store.put(key, renditions.sorted_header(data))
                put += 1
            made.unlink()
    return put


def upload_shards(home: Home, sealed: Sealed, codec_dir: Path, work: Path) -> None:
    """Move the finished shards into the store, each before its index: what the index names is there.

    One that holds a clip that is no member any more is dropped: its consent may have ended since.
    """
    members = set(sealed.clip_ids)
    for index in sorted(work.glob("*.json")):
        if json.loads(index.read_text()).keys() <= members:
            for made in (index.with_suffix(".safetensors"), index):
                home.store.put(f"{prefix(home, codec_dir)}/{made.name}", made)
        for made in (index, index.with_suffix(".safetensors")):
            made.unlink()


def absent(home: Home, codec_dir: Path, clip_ids: Iterable[str]) -> list[str]:
    """Members without a latent."""
    members = list(clip_ids)
    if renditions.rung(home).crops is not None:
        there = _shards(home, prefix(home, codec_dir))
        return [clip_id for clip_id in members if clip_id not in there]
    stored = zip(members, keys(home, codec_dir, members), strict=True)
    return [clip_id for clip_id, key in stored if not home.store.exists(key)]


def unfit(home: Home, codec_dir: Path, clip_ids: Iterable[str]) -> dict[str, str]:
    """Members whose latent is missing, unreadable or not finite, each with the reason. Shards hold none but finite ones."""
    members, reasons = list(clip_ids), {}
    if renditions.rung(home).crops is not None:
        return dict.fromkeys(absent(home, codec_dir, members), "missing")
    for clip_id, key in zip(members, keys(home, codec_dir, members), strict=True):
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
