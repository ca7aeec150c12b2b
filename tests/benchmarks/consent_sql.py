"""What deciding consent in SQL costs: every clip's decision, over a lake of a million clips and as many consents.

`python -m tests.benchmarks.consent_sql --clips 100000` for another size. The models run as they do in the warehouse, as
views over Parquet files, with two threads.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from assets.lake import Lake
from assets.store import LocalStore
from tests.dbt.plain import PlainModels

# {n} clips of 10,000 contributors; somebody is seen in one of four; one consent in a hundred is revoked
_ITEMS = "select 'item-' || i as item_id, sha256('file' || i) as bytes_sha256, i from range({n}) as t (i)"
_EVENT = """
    select
        'event-' || type || i as event_id, consent || i as consent_id, type, party || (i % 10000) as party_id, role,
        party || (i % 10000) as actor, '2026-11-01T00:00:00Z' as issued_at, '2026-11-01T00:00:00Z' as effective_at,
        '2026-11-01T00:00:00Z' as recorded_at, ['train', 'eval'] as scopes, ['*'] as territories,
        ['*'] as recipients, [sha256('file' || i)] as assets, '-' as leaf_hash
    from range({{n}}) as t (i) cross join (values ('{type}', '{consent}', '{party}', '{role}')) as said
        (type, consent, party, role)
    where i % {every} = 0
"""
_EVENTS = " union all ".join(
    _EVENT.format(type=type_, consent=consent, party=party, role=role, every=every)
    for type_, consent, party, role, every in (
        ("grant", "k-", "c-", "contributor", 1),
        ("grant", "release-", "p-", "depicted", 4),
        ("revoke", "k-", "c-", "contributor", 100),
    )
)
_TABLES = {
    "delivery_items": """
        select item_id, 'c-' || (i % 10000) as contributor_id, 'accepted' as state, '[]' as properties_json,
            case when i % 4 = 0 then '[{{"person_id": "p-' || (i % 10000) || '"}}]' else '[]' end as persons_json
        from items""",
    "media": "select item_id, bytes_sha256, sha256('frames' || i) as frames_sha256, 'accepted' as state from items",
    "shots": "select sha256('clip' || i) as clip_id, item_id, 0 as shot_index, bytes_sha256 from items",
    "signals": """
        select sha256('clip' || i) as clip_id, item_id, 0 as shot_index, (i % 4 = 0)::bigint as faces_max from items""",
    "consent_events": "select row_number() over () as seq, * from (" + _EVENTS + ")",
}


def consent_sql(clips: int = 1_000_000) -> dict[str, Any]:
    """Seconds, processor seconds and memory of one pass over all decisions."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        Lake(LocalStore(root)).mirror(root)
        _write(root / "lake", clips)
        models = PlainModels(root / "lake")
        models.connection.execute("set memory_limit = '6GB'")
        model = models.make("int_consent_decisions")
        load = os.getloadavg()[0]
        began, before = time.perf_counter(), os.times()
        rows = models.connection.execute(f"select is_covered, count(*) from {model} group by all").fetchall()
        wall, after = time.perf_counter() - began, os.times()
    return {
        "clips": clips,
        "consents": clips + clips // 4,
        "covered": dict(rows)[True],
        "threads": 2,
        "load_before": round(load, 1),  # how many others wanted the processors
        "wall_s": round(wall, 1),
        "processor_s": round(after.user + after.system - before.user - before.system, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _write(lake: Path, clips: int) -> None:
    import duckdb

    connection = duckdb.connect(config={"threads": 2})
    connection.execute("create view items as " + _ITEMS.format(n=clips))
    for name, query in _TABLES.items():
        connection.execute(f"copy ({query.format(n=clips)}) to '{lake / name / 'part.parquet'}' (format parquet)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1_000_000)
    print(consent_sql(parser.parse_args().clips))
