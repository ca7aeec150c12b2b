"""How long a search over a million captions takes: exact, in blocks, from the lake's own files.

`python -m tests.benchmarks caption_search --clips 100000` for another size. The bare product is the least that any exact
search does: the same vectors, in memory already, times one query. The files lie in memory where the machine lets them.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assets.curation.captioning.embeddings import BLOCK_ROWS, nearest
from assets.home import Home
from assets.lake import parquet_bytes
from assets.tables import TABLES

CLIPS, DAYS, WIDTH, RUNS, TOP = 1_000_000, 20, 384, 3, 10
MODEL = "benchmark"


def fill(home: Home, clips: int) -> None:
    """Random unit vectors as the rows of `embeddings`, written as the lake writes them but for the check of each row."""
    for day in range(DAYS):
        rng, count = np.random.default_rng(day), clips // DAYS
        vectors = rng.standard_normal((count, WIDTH), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = [f"{day:02d}{number:062x}" for number in range(count)]
        date = f"2026-10-{day + 1:02d}"
        columns = {
            "clip_id": ids,
            "item_id": [f"i-{name}" for name in ids],
            "shot_index": np.zeros(count, np.int64),
            "received_day": [date] * count,
            "captioner": ["structured/2"] * count,
            "variant": np.zeros(count, np.int64),
            "model": [MODEL] * count,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), WIDTH),
        }
        path = home.state / home.lake.key("embeddings", date)
        path.parent.mkdir(parents=True)
        path.write_bytes(parquet_bytes(pa.table(columns, schema=TABLES["embeddings"].schema)))


def best_s(call: Callable[[], Any]) -> tuple[float, float]:
    """The least wall and the least processor time of a few calls, in seconds."""
    walls, cpus = [], []
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def bare_product_cpu_s(query: np.ndarray, clips: int) -> float:
    """The product of one block with the query, as often as there are blocks."""
    block = np.random.default_rng(0).standard_normal((BLOCK_ROWS, WIDTH), dtype=np.float32)
    return best_s(lambda: [block @ query for _ in range(10)])[1] / 10 * clips / BLOCK_ROWS


def caption_search(clips: int = CLIPS) -> dict[str, Any]:
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        home = Home.local(Path(folder))
        fill(home, clips)
        query = np.random.default_rng(99).standard_normal(WIDTH).astype(np.float32)
        query /= np.linalg.norm(query)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, cpu = best_s(lambda: nearest(home, query, MODEL, TOP))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        bare = bare_product_cpu_s(query, clips)
        return {
            "clips": clips,
            "search_wall_s": round(wall, 3),
            "search_cpu_s": round(cpu, 3),
            "bare_product_cpu_s": round(bare, 3),
            "cpu_ratio_to_bare_product": round(cpu / bare, 1),
            "load_average_over_cores": round(os.getloadavg()[0] / (os.cpu_count() or 1), 1),
            "peak_rss_mib": round(peak / 1024),
            "peak_rss_beyond_filling_mib": round((peak - before) / 1024),
            "embeddings_mib": round(sum(path.stat().st_size for path in Path(folder).rglob("part.parquet")) / 2**20),
        }
