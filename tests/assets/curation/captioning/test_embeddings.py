"""Captions become vectors once; a search finds exactly the clips that comparing with everything finds, never withdrawn ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assets.curation.captioning import embeddings
from assets.curation.captioning.embeddings import Hit, SearchError, embedding_rows, encoder_name, search
from assets.home import Home
from training.model.text import TextEncoderError

DAYS = ("2026-11-02", "2026-11-03")
Row = dict[str, Any]


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=384).astype(np.float32)
    return vector / np.linalg.norm(vector)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that the encoder was asked for. In its place stands one that gives `unit(n)` for the text `n`."""
    asked: list[str] = []

    class Encoder:
        def __init__(self, path: Path) -> None:
            pass

        def embed(self, texts: Sequence[str]) -> np.ndarray:
            asked.extend(texts)
            return np.stack([unit(int(text)) for text in texts])

    monkeypatch.setattr(embeddings, "TextEncoder", Encoder)
    return asked


@pytest.fixture
def equipped(home: Home, tmp_path: Path, encoded: list[str]) -> Home:
    """A home whose encoder's weights are a few bytes."""
    weights = tmp_path / "vendor" / "minilm" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    return dataclasses.replace(home, vendor=tmp_path / "vendor")


def caption(index: int, text: str, kind: str = "long") -> Row:
    clip = {"clip_id": f"c-{index}", "item_id": f"i-{index}", "shot_index": 0, "received_day": DAYS[0]}
    return clip | {"kind": kind, "variant": 0, "text": text, "captioner": "structured/1", "refused": []}


def test_long_captions_become_rows_and_each_text_is_encoded_once(equipped: Home, encoded: list[str]) -> None:
    captions = [caption(0, "2"), caption(0, "3", "short"), caption(1, "2"), caption(2, "1")]
    first = embedding_rows(equipped, captions)
    assert encoded == ["1", "2"]
    assert embedding_rows(equipped, captions) == first
    assert encoded == ["1", "2"]
    assert [row["clip_id"] for row in first] == ["c-0", "c-1", "c-2"]
    assert first[0]["vector"] == first[1]["vector"] != first[2]["vector"]
    assert equipped.lake.write("embeddings", first, DAYS[0]).rows == 3


def test_a_missing_encoder_says_what_to_run_and_is_not_missed_without_captions(home: Home, tmp_path: Path) -> None:
    bare = dataclasses.replace(home, vendor=tmp_path / "nothing")
    assert embedding_rows(bare, []) == []
    with pytest.raises(TextEncoderError, match="make setup"):
        embedding_rows(bare, [caption(0, "a wall")])


# -- search ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lake(equipped: Home) -> Callable[..., None]:
    def written(day: str, vectors: dict[str, np.ndarray], model: str = "", captioner: str = "structured/1") -> None:
        where = [{"clip_id": clip, "item_id": f"i-{clip}", "shot_index": 0, "received_day": day} for clip in vectors]
        of = {"captioner": captioner, "variant": 0}
        model = model or encoder_name(equipped.text_encoder)
        rows = [row | of | {"model": model, "vector": vectors[row["clip_id"]].tolist()} for row in where]
        captions = [row | of | {"kind": "long", "sources_json": "[]", "refused": []} for row in where]
        equipped.lake.write("captions", [row | {"text": f"what {row['clip_id']} shows"} for row in captions], day)
        equipped.lake.write("embeddings", rows, day)

    return written


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.clip_id for hit in hits]


def test_the_nearest_clips_of_all_days_come_first_with_caption_and_likeness(equipped: Home, lake: Any) -> None:
    near = unit(7) + 0.02 * unit(8)
    lake(DAYS[0], {"a": unit(1), "b": near / np.linalg.norm(near)})
    lake(DAYS[1], {"c": unit(7), "d": unit(2)})
    hits = search(equipped, "7", top=2)
    assert ids(hits) == ["c", "b"]
    assert hits[0].similarity == pytest.approx(1.0, abs=1e-5)
    assert [hit.caption for hit in hits] == ["what c shows", "what b shows"]
    assert {hit.state for hit in hits} == {"unknown"}  # before anything was decided


def test_search_over_blocks_is_the_same_as_comparing_with_everything(
    equipped: Home, lake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = {f"c-{number:03}": unit(number) for number in range(300)}
    for day, part in zip(DAYS, (0, 1), strict=True):
        lake(day, {clip: vector for clip, vector in vectors.items() if int(clip[2:]) % 2 == part})
    expected = sorted(vectors, key=lambda clip: -float(vectors[clip] @ unit(1000)))
    for rows in (7, 64, 65_536):
        monkeypatch.setattr(embeddings, "BLOCK_ROWS", rows)
        assert ids(search(equipped, "1000", top=20)) == expected[:20]


def test_a_clip_that_came_many_times_is_one_hit_and_hides_no_other(equipped: Home, lake: Any) -> None:
    lake(DAYS[0], {"a": unit(1), "b": unit(2), "c": unit(3)})
    rows = equipped.lake.rows("embeddings", DAYS[0])
    copies = [row | {"item_id": f"copy-{n}"} for n in range(50) for row in rows if row["clip_id"] == "a"]
    equipped.lake.write("embeddings", rows + copies, DAYS[0])
    assert set(ids(search(equipped, "1", top=3))) == {"a", "b", "c"}


def test_a_withdrawn_clip_is_never_found_although_its_rows_are_still_there(
    equipped: Home, lake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake(DAYS[0], {"a": unit(1), "b": unit(2)})
    monkeypatch.setattr(embeddings, "withheld", lambda home: frozenset({"a"}))
    assert ids(search(equipped, "1")) == ["b"]


def test_whether_a_clip_may_be_used_is_told_with_its_reasons(equipped: Home, lake: Any) -> None:
    lake(DAYS[0], {"a": unit(1), "b": unit(2)})
    decided = {"shot_index": 0, "purpose": "train", "consent_ids": [], "decision_digest": "d"}
    equipped.lake.write(
        "eligibility",
        [
            decided | {"clip_id": "a", "item_id": "i-a", "eligible": True, "reasons": []},
            decided | {"clip_id": "b", "item_id": "i-b", "eligible": False, "reasons": ["consent.none"]},
            decided | {"clip_id": "b", "item_id": "i-b", "purpose": "show", "eligible": True, "reasons": []},
        ],
    )
    hits = search(equipped, "1")
    assert [(hit.clip_id, hit.state, hit.reasons) for hit in hits] == [
        ("a", "eligible", ()),
        ("b", "not eligible", ("consent.none",)),
    ]


def test_vectors_of_another_encoder_are_an_error_that_says_what_to_do(equipped: Home, lake: Any) -> None:
    lake(DAYS[0], {"a": unit(1)})
    lake(DAYS[1], {"b": unit(2)}, model="larger-0123456789ab")
    with pytest.raises(SearchError, match=r"2026-11-03 were embedded with larger-0123456789ab.*materialise"):
        search(equipped, "1")


@pytest.mark.parametrize(("words", "top"), [("  ", 10), ("1", 0)])
def test_nothing_is_not_searched_for(equipped: Home, words: str, top: int) -> None:
    with pytest.raises(SearchError, match="say what to search for"):
        search(equipped, words, top)


def test_a_lake_without_captions_says_what_to_run(equipped: Home) -> None:
    with pytest.raises(SearchError, match="rushes run intake"):
        search(equipped, "1")
    where = {"clip_id": "a", "item_id": "i", "shot_index": 0, "received_day": DAYS[0]}
    rows = [where | {"captioner": "structured/1", "variant": 0, "model": "m", "vector": unit(1).tolist()}]
    equipped.lake.write("embeddings", rows, DAYS[0])
    equipped.lake.write("embeddings", [], DAYS[0])
    assert search(equipped, "1") == []
