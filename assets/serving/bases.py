"""Where the pretrained bases of a home lie: a package of a tuned model names its base by digest, never by a path."""

from __future__ import annotations

import json
from pathlib import Path

from assets.home import Home
from training.model.base_folder import digest, is_base


def keep(home: Home, folder: Path, sha256: str) -> None:
    """Note where the base of this digest lies; the newest note counts."""
    home.store.put(_key(sha256), json.dumps({"folder": str(folder)}).encode())


def folder(home: Home, sha256: str) -> str:
    """The folder of a base: the one that training is set to if it is that base, else the one noted; empty if there is none."""
    chosen = str(home.training.get("base", ""))
    if is_base(chosen) and digest(Path(chosen)) == sha256:
        return chosen
    return json.loads(home.store.get(_key(sha256)))["folder"] if home.store.exists(_key(sha256)) else ""


def _key(sha256: str) -> str:
    return f"bases/{sha256}.json"
