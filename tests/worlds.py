"""A small world for tests that run the graph: real encoded scenes, real signatures, a handful of deliveries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assets.home import Home
from training.consent import events
from training.consent.keys import key_id_of, public_bytes
from training.data.video import write_mp4
from training.simulate import random_scene, render

SIGNED_AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOTICE = hashlib.sha256(b"notice").hexdigest()
WIDTH, HEIGHT, FPS, FRAMES = 160, 96, 10.0, 24


def key_of(party: str) -> Ed25519PrivateKey:
    """A party's key, the same in every test run."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(party.encode()).digest())


def registration(party: str) -> events.Envelope:
    return events.sign(
        events.register_key(party, key_of(party), SIGNED_AT, event_id=f"event-key-{party}"), key_of(party)
    )


def enrol(home: Home, *parties: str) -> None:
    """An officer of this home verified that these parties hold their keys."""
    from assets.consent.platform import enrol

    for party in parties:
        key_id = key_id_of(public_bytes(key_of(party)))
        enrol(home, party, key_id, officer="o-ida", evidence_sha256=NOTICE, now=SIGNED_AT)


def grant_for(party: str, digests: list[str], consent_id: str, **terms: Any) -> events.Envelope:
    body = events.grant(
        party,
        "contributor",
        digests,
        terms.pop("scopes", ["train"]),
        SIGNED_AT,
        notice_sha256=NOTICE,
        terms_sha256=NOTICE,
        consent_id=consent_id,
        event_id=f"event-{consent_id}",
        **terms,
    )
    return events.sign(body, key_of(party))


def revocation_of(party: str, consent_id: str, at: datetime) -> events.Envelope:
    return events.sign(events.revoke(consent_id, party, "contributor", at), key_of(party))


@dataclass
class SmallWorld:
    """Folders of deliveries below `root`, each ready for the inbox; `consents` by file name."""

    root: Path
    consents: dict[str, str] = field(default_factory=dict)

    def delivery(self, name: str, contributor: str, seeds: list[int], day: str, consented: bool = True) -> Path:
        """A delivery folder of simulated scenes with a signed consent that covers them."""
        folder = self.root / name
        folder.mkdir(parents=True)
        clips, digests = [], []
        for seed in seeds:
            scene = random_scene(seed)
            path = write_mp4(folder / f"scene-{seed}.mp4", render(scene, WIDTH, HEIGHT, FRAMES, FPS), FPS)
            digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
            clips.append(self._declared(path.name, scene.caption(), scene.time_of_day))
        manifest = {
            "schema": "rushes.delivery/1",
            "delivery_id": name,
            "contributor_id": contributor,
            "request_id": None,
            "received_at": f"{day}T09:00:00Z",
            "clips": clips,
        }
        (folder / "delivery.json").write_text(json.dumps(manifest))
        if consented:
            consent_id = f"consent-{name}"
            (folder / "consent").mkdir()
            envelopes = [registration(contributor), grant_for(contributor, digests, consent_id)]
            (folder / "consent" / "signed.json").write_text(json.dumps(envelopes))
            self.consents[name] = consent_id
        return folder

    @staticmethod
    def _declared(name: str, caption: str, time_of_day: str) -> dict[str, Any]:
        return {
            "file": name,
            "subject": caption,
            "location": "a simulation",
            "time_of_day": time_of_day,
            "resolution": f"{WIDTH}x{HEIGHT}",
            "aspect_ratio": "5:3",
            "length_s": FRAMES / FPS,
            "device": "simulator",
            "persons": [],
        }
