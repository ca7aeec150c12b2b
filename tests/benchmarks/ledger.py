"""What the consent ledger does on this machine: appends, proofs, and re-reading everything with suspicion.

`python -m tests.benchmarks ledger --events 1000000` for another size than the usual one. Since machines differ, rates are also
given as ratios to the rate at which the same machine, in the same run, verifies bare Ed25519 signatures in one thread.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assets.consent.intake import Admitted
from assets.consent.ledger import Ledger
from tests.benchmarks.harness import cpu_s, load_average, timed, wall_of
from training.consent import events as ev
from training.consent.canonical import canonical
from training.consent.keys import key_id_of, public_bytes

NOW = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
BATCH = 10_000
SINGLES = 200
TARGET_APPENDS_PER_S, TARGET_VERIFY_S_PER_MILLION = 2_000, 600


def envelopes(platform: Ed25519PrivateKey) -> Iterator[str]:
    """Without end: people who are enrolled, register a key, grant six times, amend once and revoke once."""
    terms = {"notice_sha256": "a" * 64, "terms_sha256": "b" * 64}
    number = 0
    while True:
        number += 1
        party, key = f"party-{number:08d}", Ed25519PrivateKey.generate()
        key_id = key_id_of(public_bytes(key))
        attested = ev.enrol(party, key_id, NOW, evidence_sha256="e" * 64, officer="officer-1")
        grants = [ev.grant(party, "contributor", [f"{number:060x}{i:04x}"], ["train"], NOW, **terms) for i in range(6)]
        revoked = ev.revoke(grants[0]["consent_id"], party, "contributor", NOW)
        bodies = [ev.register_key(party, key, NOW), *grants, ev.amend(grants[1], NOW, territories=["NL"]), revoked]
        for envelope in (ev.sign(attested, platform), *(ev.sign(body, key) for body in bodies)):
            yield canonical(envelope).decode()


def raw_verifications_per_s(count: int = 3000) -> float:
    key, message = Ed25519PrivateKey.generate(), b"m" * 700
    signature, public = key.sign(message), key.public_key()
    return count / wall_of(lambda: [public.verify(signature, message) for _ in range(count)])


def append_all(ledger: Ledger, source: Iterator[str], count: int) -> tuple[float, float]:
    """Seconds on the clock and of CPU that appending took; signing is not counted."""
    wall = cpu = 0.0
    while size := min(BATCH, count - ledger.size()):
        batch = list(islice(source, size))
        outcomes, spent = timed(lambda batch=batch: ledger.append_many(batch, NOW))
        wall, cpu = wall + spent["wall_s"], cpu + spent["cpu_s"]
        assert all(isinstance(outcome, Admitted) for outcome in outcomes)
    return wall, cpu


def ledger(events: int = 100_000) -> dict[str, Any]:
    """Figures of an SQLite ledger of so many events, with synchronous=FULL and real signatures."""
    platform = Ed25519PrivateKey.generate()
    source = envelopes(platform)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        book = Ledger(f"sqlite:///{path}")
        book.found(platform, NOW)
        raw = [raw_verifications_per_s()]
        wall, cpu = append_all(book, source, events)
        raw.append(raw_verifications_per_s())
        singles = list(islice(source, SINGLES))
        single, spent = timed(lambda: [book.append(envelope, NOW) for envelope in singles])
        assert all(isinstance(outcome, Admitted) for outcome in single)
        single_s = spent["wall_s"] / SINGLES
        size = book.size()
        proofs = {
            "head": book.head,
            "inclusion_proof": lambda: book.inclusion_proof(size // 3, size),
            "consistency_proof": lambda: book.consistency_proof(size // 3, size),
        }
        medians = {name: statistics.median(wall_of(call) for _ in range(25)) for name, call in proofs.items()}
        before = cpu_s()
        verify_s = wall_of(book.verify)
        verify_cpu_s = cpu_s() - before  # with the processes that it started
        raw.append(raw_verifications_per_s())
        file_bytes = path.stat().st_size
        book.engine.dispose()
    rate = statistics.mean(raw)
    return {
        "events": size,
        "raw_ed25519_verifications_per_s": round(rate),
        "appends_per_s_in_batches": round(events / wall),
        "appends_per_cpu_s_in_batches": round(events / cpu),
        "appends_to_raw_verifications": round(events / wall / rate, 3),
        "appends_per_s_single": round(1 / single_s),
        "median_ms": {name: round(1000 * seconds, 2) for name, seconds in medians.items()},
        "verify_s": round(verify_s, 1),
        "verify_cpu_s": round(verify_cpu_s, 1),
        "verified_per_s": round(size / verify_s),
        "verified_to_raw_verifications": round(size / verify_s / rate, 3),
        "verify_s_per_million": round(verify_s * 1e6 / size, 1),
        "verify_s_per_million_is": "measured" if size >= 1_000_000 else f"extrapolated from {size} events",
        "verify_processes": os.cpu_count(),
        "file_bytes_per_event": round(file_bytes / size),
        "peak_memory_mib": {
            "main": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "largest_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        },
        "load_average_at_end": load_average(),
        "promised": {
            "appends_per_s_in_batches": TARGET_APPENDS_PER_S,
            "verify_s_per_million": TARGET_VERIFY_S_PER_MILLION,
        },
    }
