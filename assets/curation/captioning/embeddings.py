"""Embeddings of captions, and the search for the captions nearest in meaning to some words: exact, over every day.

A caption is encoded once, ever. Vectors come from table `embeddings` in blocks, so memory does not grow with the corpus; a
vector of unit length times another is their cosine. Clips that stand withdrawn are left out before anything is ranked:
their rows leave the lake as well, and this does not wait for that.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.home import Home
from assets.withheld import withheld
from training.consent.canonical import file_sha256
from training.consent.eligibility import PURPOSE
from training.model.text import TextEncoder, TextEncoderError, text_key

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

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
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise TextEncoderError(f"no text encoder at {folder} (model.safetensors is missing): run `make setup`")
    return f"{folder.name}-{file_sha256(weights)[:12]}"


def text_vectors(home: Home, model: str, texts: list[str]) -> dict[str, list[float]]:
    keys = {text: f"cache/embeddings/{model}/{text_key(text)[:2]}/{text_key(text)}.json" for text in texts}
    vectors = {text: json.loads(home.store.get(key)) for text, key in keys.items() if home.store.exists(key)}
    if missing := [text for text in texts if text not in vectors]:
        for text, vector in zip(missing, TextEncoder(home.text_encoder).embed(missing), strict=True):
            vectors[text] = [float(value) for value in vector]
            home.store.put(keys[text], json.dumps(vectors[text]).encode())
    return vectors


BLOCK_ROWS = 65_536  # of 384 floats: 100 MB
COLUMNS = ("clip_id", "item_id", "shot_index", "captioner", "variant", "model", "vector")


class SearchError(ValueError):
    """Nothing can be searched for, or the vectors are of another encoder. Says what to do."""


@dataclass(frozen=True)
class Hit:
    """A clip, the caption that was nearest, and whether the clip may be used. `state` is unknown before it is decided."""

    clip_id: str
    similarity: float
    caption: str
    captioner: str
    state: str  # eligible, not eligible, unknown
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class _Nearest:
    similarity: float
    clip_id: str
    day: str
    item_id: str
    shot_index: int
    captioner: str
    variant: int


def search(home: Home, words: str, top: int = 10) -> list[Hit]:
    """The `top` clips whose captions are nearest to the words, nearest first; one hit a clip.

    Raises SearchError for empty words, for a lake without embeddings, and where these were made by another encoder.
    """
    if not words.strip() or top < 1:
        raise SearchError("say what to search for, and for at least one clip")
    model = encoder_name(home.text_encoder)
    if not home.lake.partitions("embeddings"):
        raise SearchError("no caption was embedded yet: deliver footage and run `rushes run intake` first")
    query = TextEncoder(home.text_encoder).embed([words.strip()])[0]
    return _hits(home, nearest(home, query, model, top))


def nearest(home: Home, query: np.ndarray, model: str, top: int) -> list[_Nearest]:
    """The clips of the lake nearest to a unit vector f32 [384] of `model`. Raises SearchError for vectors of another."""
    import pyarrow as pa
    import pyarrow.compute as pc

    gone = pa.array(sorted(withheld(home.database_url)), pa.string())
    best: dict[str, _Nearest] = {}
    for day, block in _blocks(home):
        others = [name for name in pc.unique(block["model"]).to_pylist() if name != model]
        if others:
            raise SearchError(
                f"the captions of {day} were embedded with {others[0]}, the encoder here is {model}: materialise"
                f" `embeddings` of that day again, or set RUSHES_VENDOR to where {others[0]} is"
            )
        if len(gone):
            block = block.filter(pc.invert(pc.is_in(block["clip_id"], gone)))
        for row in _best_of(block, day, query, top):
            if row.clip_id not in best or best[row.clip_id] < row:
                best[row.clip_id] = row
        best = {row.clip_id: row for row in heapq.nlargest(top, best.values())}
    return sorted(best.values(), reverse=True)


def _blocks(home: Home) -> Iterator[tuple[str, pa.RecordBatch]]:
    import pyarrow.parquet as pq

    for day in home.lake.partitions("embeddings"):
        path = home.store.fetch(home.lake.key("embeddings", day))
        with pq.ParquetFile(path) as file:
            if missing := set(COLUMNS) - set(file.schema_arrow.names):
                why = f"the embeddings of {day} are of an earlier version, without {', '.join(sorted(missing))}"
                raise SearchError(f"{why}: materialise `captions` and `embeddings` of that day again")
            for block in file.iter_batches(BLOCK_ROWS, columns=list(COLUMNS)):
                yield day, block


def _best_of(block: pa.RecordBatch, day: str, query: np.ndarray, top: int) -> list[_Nearest]:
    """The best `top` clips of a block: rows in order of similarity until so many different clips were met."""
    import numpy as np

    count = block.num_rows
    vectors = block["vector"].flatten().to_numpy(zero_copy_only=False).reshape(count, len(query))
    similarities = vectors @ query
    taken = min(count, 4 * top)
    while True:
        rows = np.argpartition(-similarities, taken - 1)[:taken] if taken < count else np.arange(count)
        ids = block["clip_id"].take(rows).to_pylist()
        if len(set(ids)) >= top or taken == count:
            break
        taken = min(count, 2 * taken)
    named = block.select([name for name in COLUMNS if name not in ("vector", "model")]).take(rows).to_pylist()
    return [_Nearest(float(similarities[row]), day=day, **name) for row, name in zip(rows, named, strict=True)]


def _hits(home: Home, rows: Sequence[_Nearest]) -> list[Hit]:
    states, hits = _states(home, rows), []
    for row in rows:
        state, reasons = states.get((row.clip_id, row.item_id, row.shot_index), ("unknown", ()))
        hits.append(Hit(row.clip_id, row.similarity, _caption(home, row), row.captioner, state, reasons))
    return hits


def _caption(home: Home, nearest: _Nearest) -> str:
    filters = [("clip_id", "=", nearest.clip_id), ("item_id", "=", nearest.item_id), ("kind", "=", "long")]
    for row in _where(home, "captions", nearest.day, filters):
        if all(row[name] == getattr(nearest, name) for name in ("shot_index", "captioner", "variant")):
            return row["text"]
    return ""


def _states(home: Home, rows: Sequence[_Nearest]) -> dict[tuple[str, str, int], tuple[str, tuple[str, ...]]]:
    filters = [("clip_id", "in", sorted({row.clip_id for row in rows})), ("purpose", "=", PURPOSE)]
    return {
        (row["clip_id"], row["item_id"], row["shot_index"]): (
            "eligible" if row["eligible"] else "not eligible",
            tuple(row["reasons"]),
        )
        for row in _where(home, "eligibility", None, filters)
    }


def _where(home: Home, table: str, day: str | None, filters: list[tuple[str, str, Any]]) -> list[dict[str, Any]]:
    """Rows of one part of a table that fit, read without the rest of it."""
    import pyarrow.parquet as pq

    if not filters[0][2] or not home.store.exists(key := home.lake.key(table, day)):
        return []
    return pq.read_table(home.store.fetch(key), filters=filters).to_pylist()
