"""Captions become vectors once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assets.curation.captioning import embeddings
from assets.curation.captioning.embeddings import embedding_rows
from assets.home import Home
from training.model.text import TextEncoderError


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that an encoder in the place of the real one was asked for."""
    asked: list[str] = []

    class Encoder:
        def __init__(self, path: Path) -> None:
            pass

        def embed(self, texts: Sequence[str]) -> np.ndarray:
            asked.extend(texts)
            vectors = np.random.default_rng(len(texts)).normal(size=(len(texts), 384)).astype(np.float32)
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr(embeddings, "TextEncoder", Encoder)
    return asked


@pytest.fixture
def equipped(home: Home, tmp_path: Path) -> Home:
    """A home whose encoder's weights are a few bytes."""
    weights = tmp_path / "vendor" / "minilm" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    return dataclasses.replace(home, vendor=tmp_path / "vendor")


def caption(index: int, text: str, kind: str = "long") -> dict[str, Any]:
    return {
        "clip_id": f"c-{index}",
        "item_id": f"i-{index}",
        "shot_index": 0,
        "received_day": "2026-11-02",
        "kind": kind,
        "variant": 0,
        "text": text,
        "captioner": "structured/1",
        "refused": [],
    }


def test_long_captions_become_rows_and_each_text_is_encoded_once(equipped: Home, encoded: list[str]) -> None:
    captions = [caption(0, "a wall"), caption(0, "wall", "short"), caption(1, "a wall"), caption(2, "a door")]
    first = embedding_rows(equipped, captions)
    assert encoded == ["a door", "a wall"]
    assert embedding_rows(equipped, captions) == first
    assert encoded == ["a door", "a wall"]
    assert [row["clip_id"] for row in first] == ["c-0", "c-1", "c-2"]
    assert first[0]["vector"] == first[1]["vector"] != first[2]["vector"]
    assert equipped.lake.write("embeddings", first, "2026-11-02").rows == 3


def test_a_missing_encoder_says_what_to_run_and_is_not_missed_without_captions(home: Home, tmp_path: Path) -> None:
    bare = dataclasses.replace(home, vendor=tmp_path / "nothing")
    assert embedding_rows(bare, []) == []
    with pytest.raises(TextEncoderError, match="make setup"):
        embedding_rows(bare, [caption(0, "a wall")])
