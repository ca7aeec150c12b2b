"""Long captions as unit vectors, remembered by text, so that the encoder is loaded for new captions only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from assets.home import Home

Row = Mapping[str, Any]


def embedding_rows(home: Home, captions: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of table `embeddings`: of each captioner the first long caption that may be used.

    Raises training.model.text.TextEncoderError where new captions need the encoder and it is not there.
    """
    rows = _first_phrasings(row for row in captions if row["kind"] == "long" and not row["refused"])
    if not rows:
        return []
    model = encoder_name(home.text_encoder)
    vectors = text_vectors(home, model, sorted({row["text"] for row in rows}))
    keys = ("clip_id", "item_id", "shot_index", "received_day", "captioner", "variant")
    return [{key: row[key] for key in keys} | {"model": model, "vector": vectors[row["text"]]} for row in rows]


def _first_phrasings(captions: Iterable[Row]) -> list[Row]:
    first: dict[tuple[Any, ...], Row] = {}
    for row in captions:
        key = tuple(row[name] for name in ("clip_id", "item_id", "shot_index", "captioner"))
        if key not in first or row["variant"] < first[key]["variant"]:
            first[key] = row
    return list(first.values())


def encoder_name(folder: Path) -> str:
    """The encoder's folder name and the start of its weights' SHA-256."""
    from training.model.text import TextEncoderError

    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise TextEncoderError(f"no text encoder at {folder} (model.safetensors is missing): run `make setup`")
    with weights.open("rb") as file:
        return f"{folder.name}-{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def text_vectors(home: Home, model: str, texts: list[str]) -> dict[str, list[float]]:
    from training.model.text import TextEncoder, text_key

    keys = {text: f"cache/embeddings/{model}/{text_key(text)[:2]}/{text_key(text)}.json" for text in texts}
    found = {text: json.loads(home.store.get(key)) for text, key in keys.items() if home.store.exists(key)}
    if missing := [text for text in texts if text not in found]:
        for text, vector in zip(missing, TextEncoder(home.text_encoder).embed(missing), strict=True):
            found[text] = [float(value) for value in vector]
            home.store.put(keys[text], json.dumps(found[text]).encode())
    return found
