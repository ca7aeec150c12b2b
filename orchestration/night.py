"""What a night would work from, as one digest: equal digests mean that a run could only repeat what is there.

Counted in: received footage and its verdicts, consents that came with it, the ledger's head, reviews, requests, what is
eligible on that date (consent can expire with no event) and the code and preset of the model. Plain Python.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass

from assets.home import Home

INPUTS_TAG = "rushes/inputs"


@dataclass(frozen=True)
class NightInputs:
    parts: dict[str, str]

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()

    @property
    def summary(self) -> str:
        return ", ".join(f"{name} {value[:12]}" for name, value in sorted(self.parts.items()))


def inputs_of(home: Home, at: dt.datetime) -> NightInputs:
    """Digest every input as it stands now, deciding eligibility as of `at` (an aware UTC or local time)."""
    from assets.consent.clip_facts import eligible_digest
    from assets.consent.ledger import Ledger
    from assets.consent.reviews import reviews_digest
    from assets.model.config import code_digest
    from assets.requests.store import requests_digest

    head = Ledger(home.database_url).head()
    return NightInputs(
        {
            "footage": received_digest(home, "verdicts"),
            "consents": received_digest(home, "consent_submissions"),
            "ledger": f"{head.size}:{head.root}",
            "reviews": reviews_digest(home.database_url),
            "requests": requests_digest(home.database_url),
            "eligible": eligible_digest(home, at),
            "model_code": code_digest(home.training),
        }
    )


def received_digest(home: Home, *tables: str) -> str:
    """Digest of every received day of these tables."""
    digest = hashlib.sha256()
    for table in tables:
        for day in home.lake.partitions(table):
            content = home.store.get(home.lake.key(table, day))
            digest.update(f"{table} {day} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def night_tags(inputs: NightInputs, why: str) -> dict[str, str]:
    """Tags of a run of the night, by whoever asks for it: the next night compares itself with the last one's inputs."""
    return {INPUTS_TAG: inputs.digest, "rushes/why": why[:400]}


def describe_change(before: str | None, now: NightInputs) -> str:
    return "first night" if before is None else f"inputs changed from {before[:12]} to {now.digest[:12]}"
