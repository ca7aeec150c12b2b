"""The release bundle of a model: its sample videos, marked, with checksums and a manifest, in `release/<model_key>/`.

Putting the bundle together, and reading every file of it again. `assets.marks.marking` marks a file.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.home import Home
from assets.marks.marking import mark_video, read_marks

SCHEMA = "rushes.release/1"


@dataclass(frozen=True)
class Bundle:
    """`files` are the manifest's entries; `marked_now` of them were new."""

    model_key: str
    files: list[dict[str, Any]]
    marked_now: int


def folder(model_key: str) -> str:
    return f"release/{model_key}"


def build(home: Home, claims: Mapping[str, Any], samples: Iterable[Mapping[str, Any]]) -> Bundle:
    """Mark every sample (a row of the table `samples`) that was not marked before, and describe them all.

    `claims`: model_id, snapshot_root, ledger_checkpoint. Signing anew would change the bytes of the same video, so an
    existing file of the same sample that still carries both marks is kept.
    """
    model_key = str(claims["model_id"])
    before = {entry["name"]: entry for entry in read_manifest(home, model_key).get("files", [])}
    files, marked = [], 0
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        for row in sorted(samples, key=lambda row: row["sample_id"]):
            name = f"{row['sample_id']}.mp4"
            source = hashlib.sha256(home.store.get(row["media_key"])).hexdigest()
            kept = before.get(name)
            if kept is None or kept["sample_sha256"] != source or problems(home, model_key, kept):
                target = Path(scratch) / name
                mark_video(home.store.fetch(row["media_key"]), target, claims, home.signing)
                home.store.put(f"{folder(model_key)}/{name}", target)
                digest, marked = hashlib.sha256(target.read_bytes()).hexdigest(), marked + 1
                kept = {"name": name, "sha256": digest, "sample_sha256": source}
            files.append(kept | {"prompt": row["prompt"], "seed": row["seed"]})
    _describe(home, claims, files)
    return Bundle(model_key, files, marked)


def _describe(home: Home, claims: Mapping[str, Any], files: list[dict[str, Any]]) -> None:
    below = folder(str(claims["model_id"]))
    wanted = {f"{below}/{entry['name']}" for entry in files}
    for key in home.store.list(below):
        if key.endswith(".mp4") and key not in wanted:
            home.store.delete(key)  # a sample of an earlier list of prompts
    sums = "".join(f"{entry['sha256']}  {entry['name']}\n" for entry in files)
    home.store.put(f"{below}/SHA256SUMS", sums.encode())
    manifest = {"schema": SCHEMA, **claims, "files": files}
    home.store.put(f"{below}/manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode())


def read_manifest(home: Home, model_key: str) -> dict[str, Any]:
    """The bundle's manifest; empty if nothing was released."""
    key = f"{folder(model_key)}/manifest.json"
    return json.loads(home.store.get(key)) if home.store.exists(key) else {}


def problems(home: Home, model_key: str, entry: Mapping[str, Any]) -> list[str]:
    """What is wrong with one stored file of the bundle, its bytes or its marks; empty if it may leave."""
    try:
        path = home.store.fetch(f"{folder(model_key)}/{entry['name']}")
    except FileNotFoundError:
        return ["missing"]
    intact = hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    return ([] if intact else ["not the bytes in the manifest"]) + list(read_marks(path, home.signing).problems)


def unmarked(home: Home, model_key: str) -> dict[str, list[str]]:
    """Every video in the bundle's folder with a problem, including those that the manifest does not name."""
    entries = {entry["name"]: entry for entry in read_manifest(home, model_key).get("files", [])}
    present = {key.rsplit("/", 1)[-1] for key in home.store.list(folder(model_key)) if key.endswith(".mp4")}
    faults = {}
    for name in sorted(entries.keys() | present):
        if why := problems(home, model_key, entries[name]) if name in entries else ["not in the manifest"]:
            faults[name] = why
    return faults
