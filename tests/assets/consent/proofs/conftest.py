"""Honest files of every kind, as a small platform hands them out: made once, since every test only reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assets.consent.proofs.membership import ClipTree
from assets.consent.proofs.models import answer_body, model_body
from assets.consent.proofs.receipts import receipt_body, used_set
from assets.consent.proofs.statements import file_bytes, sign_statement
from assets.withdrawals.answers import consent_entries
from tests.training.consent.people import FILE, People, key_of
from training.consent.canonical import sha256_hex
from training.consent.keys import public_bytes, sign_checkpoint
from training.consent.snapshot import ids_root

PLATFORM_SIGNS = key_of("checkpoint")
PUBLIC = public_bytes(PLATFORM_SIGNS)
CLIPS = [(i * 7).to_bytes(32, "big").hex() for i in range(1, 6)]
ABSENT = (15).to_bytes(32, "big").hex()


def a_set(name: str, clips: list[str]) -> dict[str, Any]:
    return {"snapshot_root": sha256_hex(name), "ids_root": ids_root(clips), "n": len(clips)}


@dataclass
class Platform:
    """A platform over a ledger of a few people, and what it signs."""

    people: People

    def checkpoint(self, size: int | None = None) -> dict[str, Any]:
        return sign_checkpoint(self.people.ledger.head(upto=size), PLATFORM_SIGNS)

    def consistency(self, first: int) -> list[str]:
        ledger = self.people.ledger
        return [node.hex() for node in ledger.consistency_proof(first, ledger.size())]

    def entries(self, consent: Mapping[str, Any]) -> list[dict[str, Any]]:
        return consent_entries(self.people.ledger, consent["consent_id"], self.people.ledger.size())

    def model(self, start: int = 3) -> dict[str, Any]:
        """The commitment of a model that started from another one, which saw one clip more."""
        own, parents = a_set("own", CLIPS[:3]), a_set("parent's", CLIPS[:4])
        ends = {"start": self.checkpoint(start), "end": self.checkpoint()}
        body = model_body(
            "m-1",
            {"transformer.safetensors": "1" * 64},
            own,
            [parents],
            {**ends, "consistency": self.consistency(start)},
        )
        return sign_statement(body, PLATFORM_SIGNS)

    def answer(self, clip_id: str, model: dict[str, Any]) -> dict[str, Any]:
        sets = {sha256_hex("own"): CLIPS[:3], sha256_hex("parent's"): CLIPS[:4]}
        size = model["ledger"]["end"]["size"]
        return sign_statement(
            answer_body(clip_id, model, sets, self.checkpoint(), self.consistency(size)), PLATFORM_SIGNS
        )

    def receipt(self, consent: Mapping[str, Any], model: dict[str, Any] | None, notices: Any = None) -> dict[str, Any]:
        entries = self.entries(consent)
        saw = {"model_key": "m-1", "version": "7", "aliases": ["champion"], "taint": None, "released": []}
        own, seen_by = a_set("own", CLIPS[:3]), [saw | {"commitment": model}]
        used = [used_set(own, ClipTree(CLIPS[:3]), CLIPS[:1], seen_by)] if model else []
        paid = {"transaction_id": "t", "request_id": "r", "item_id": "i-1", "amount_minor": 500, "currency": "EUR"}
        body = receipt_body(
            consent["consent_id"],
            entries,
            notices or {},
            self.checkpoint(),
            used=used,
            paid={"state": "credited", "entries": [paid]},
            withdrawals=[{"withdrawal": "w-1", "completed": True}],
        )
        return sign_statement(body, PLATFORM_SIGNS)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """A ledger of three people, none of whom has consented yet."""
    return Platform(People(f"sqlite:///{tmp_path_factory.mktemp('proofs') / 'rushes.db'}", "c-ann", "g-guy", "x-mal"))


@pytest.fixture(scope="module")
def notice() -> dict[str, Any]:
    """A notice as an installation keeps it."""
    controller = {"party_id": "platform", "name": "P", "address": "A", "contact": "C", "type": "controller"}
    lists = {name: [name] for name in ("pii_types", "storage_locations", "privacy_rights")}
    named = ("retention_period", "jurisdiction", "lawful_basis", "collection_method", "processing_method", "text")
    texts = {name: name for name in named}
    return {"controller": controller, "purposes": {"train": "learns"}, "version": "1", **lists, **texts}


@pytest.fixture(scope="module")
def consent(platform: Platform, notice: dict[str, Any]) -> dict[str, Any]:
    """Ann's consent: granted under the notice, amended, withdrawn."""
    from training.consent import events as ev

    people = platform.people
    body = people.grant("c-ann", notice_sha256=sha256_hex(notice), assets=[FILE])
    people.grant("x-mal")
    amended = ev.amend(body, people.now, territories=["BE"])
    people.append(amended, "c-ann")
    people.revoke(body)
    return body


@pytest.fixture(scope="module")
def statements(platform: Platform, consent: dict[str, Any], notice: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """One honest document of every kind, by kind."""
    model = platform.model()
    checkpoint = platform.checkpoint()
    (cause,) = (e for e in platform.entries(consent) if e["envelope"]["body"]["type"] == "revoke")
    done = {
        "schema": "rushes.completion/1",
        "withdrawal": "w-1",
        "kind": "withdrawal",
        "subject": "c-ann",
        "opened_at": cause["recorded_at"],
        "completed_at": cause["recorded_at"],
        "causes": [
            {"kind": "revoke", "at": cause["recorded_at"], "seq": cause["seq"], "leaf_hash": cause["leaf"]}
            | {"proof": cause["path"]},
            {"kind": "expiry", "at": cause["recorded_at"], "named": "consent-1"},
        ],
        "checkpoint": checkpoint,
        "reached": {"clips": [{"clip_id": CLIPS[0]}], "models": []},
        "done": [],
        "left": 0,
    }
    return {
        "checkpoint": checkpoint,
        "model": model,
        "exclusion": platform.answer(ABSENT, model),
        "inclusion": platform.answer(CLIPS[3], model),
        "receipt": platform.receipt(consent, model, {sha256_hex(notice): notice}),
        "completion": sign_statement(done, PLATFORM_SIGNS),
    }


@pytest.fixture(scope="module")
def files(statements: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same as files."""
    folder = tmp_path_factory.mktemp("files")
    for kind, statement in statements.items():
        (folder / kind).write_bytes(file_bytes(statement))
    return {kind: folder / kind for kind in statements}
