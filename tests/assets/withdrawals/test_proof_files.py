"""Receipts and proofs made from a whole home, each handed to a stranger who has the public key alone."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from assets.consent import notices
from assets.consent.notices import Notice, NoticeError
from assets.consent.platform import checkpoint_key
from assets.consent.proofs.receipts import NOT_KNOWN
from assets.consent.proofs.statements import Statement, file_bytes
from assets.consent.proofs.verification import verify_file
from assets.dataset.snapshot import build
from assets.evaluation import commitments
from assets.home import Home
from assets.model.published import CurrentModel
from assets.registry import CHAMPION, MODEL, Registry
from assets.withdrawals import receipt as completion
from assets.withdrawals.answers import answer, clips_named, receipt
from assets.withdrawals.plan import act_on_ledger
from training.consent.keys import public_bytes

STRANGE = "ab" * 32


def shown(home: Home, statement: Statement) -> str:
    """What a stranger is shown."""
    verified = verify_file(file_bytes(statement), public_bytes(checkpoint_key(home)))
    return "\n".join(verified.shown)


@pytest.fixture
def sealed(home: Home, small_world: Any) -> Any:
    return build(home, datetime.now(UTC)).sealed


@pytest.fixture
def registered(home: Home, sealed: Any, empty_registry: Path) -> Home:
    """A home whose one model was trained on the sealed snapshot, is committed to it and is version 1, the champion."""
    shutil.copyfile(empty_registry, home.state / "mlflow.db")
    for part in ("codec", "transformer"):
        home.store.put(f"models/m-1/{part}.safetensors", save({"w": np.ones(1, np.float32)}))
        home.store.put(f"models/m-1/{part}.json", b"{}")
    record = {"model_key": "m-1", "snapshot_root": sealed.root, "parent_model": None}
    home.store.put("models/m-1/result.json", json.dumps(record).encode())
    kept = commitments.commit(home, CurrentModel("m-1", record, sealed))
    tags = {"model_key": "m-1", "snapshot_root": sealed.root, **kept.tags}
    registry = Registry(home)
    registry.client.create_model_version(MODEL, "file:///nowhere", tags=tags)
    registry.set_alias(CHAMPION, "1")
    return home


# -- receipts --------------------------------------------------------------------------------------------------------


def test_a_receipt_of_a_consent_shows_the_event_the_models_and_what_is_not_known(
    registered: Home, small_world: Any, sealed: Any
) -> None:
    consent_id, party = small_world.grants[sealed.clip_ids[0]]
    made = receipt(registered, consent_id)
    text = shown(registered, made)
    assert f"{party} (contributor) granted consent {consent_id} for review, train" in text
    assert f"1 clips that rest on it are in snapshot {sealed.root} of {len(sealed.clip_ids)} clips" in text
    assert "Model m-1 (version 1, champion; not tainted) saw it: its commitment binds it to this snapshot" in text
    assert made["paid"] == {"state": "not known", "entries": []}  # the warehouse has no payout book
    assert [clip["clip_id"] for clip in made["used"][0]["clips"]] == [sealed.clip_ids[0]]


def test_a_receipt_is_found_by_any_event_of_the_consent(registered: Home, small_world: Any, sealed: Any) -> None:
    consent_id, _ = small_world.grants[sealed.clip_ids[0]]
    (event,) = (e for e in small_world.ledger.events() if e.body.get("consent_id") == consent_id)
    assert receipt(registered, event.body["event_id"])["consent_id"] == consent_id
    for unknown in ("consent-none", "genesis"):
        with pytest.raises(LookupError):
            receipt(registered, unknown)


def test_a_receipt_names_nobody_else_and_no_other_clip(registered: Home, small_world: Any, sealed: Any) -> None:
    clip_id = sealed.clip_ids[0]
    consent_id, party = small_world.grants[clip_id]
    content = file_bytes(receipt(registered, consent_id)).decode()
    others = {owner for _, owner in small_world.grants.values()} - {party}
    assert [name for name in (*others, *sealed.clip_ids[1:]) if name in content] == []


def test_after_a_withdrawal_the_receipt_shows_it(registered: Home, small_world: Any, sealed: Any) -> None:
    clip_id = sealed.clip_ids[0]
    small_world.revoke(clip_id)
    made = receipt(registered, small_world.grants[clip_id][0])
    assert "withdrew consent" in shown(registered, made)
    assert made["record"]["events"][-1]["event_state"] == "consent withdrawn"


def test_the_completion_receipt_of_a_withdrawal_is_named_and_holds(
    registered: Home, small_world: Any, sealed: Any
) -> None:
    clip_id = sealed.clip_ids[0]
    consent_id = small_world.grants[clip_id][0]
    size = small_world.ledger.size()
    small_world.revoke(clip_id)
    act_on_ledger(registered, size)
    made = receipt(registered, consent_id)
    (withdrawal,) = made["withdrawals"]
    assert withdrawal["completed"]
    text = shown(registered, made)
    assert f"{withdrawal['withdrawal']} is in its own completion receipt" in text
    assert "tainted: " in text
    assert "champion" not in text
    content = registered.store.get(completion.key(withdrawal["withdrawal"]))
    verified = verify_file(content, public_bytes(checkpoint_key(registered)))
    assert verified.schema == "rushes.completion/1"
    assert made["entries"][-1]["leaf"] in "\n".join(verified.shown)
    other = next(consent for clip, (consent, _) in small_world.grants.items() if clip != clip_id)
    assert receipt(registered, other)["withdrawals"] == []


def test_a_receipt_of_a_consent_that_nothing_rests_on_says_so(home: Home, small_world: Any, sealed: Any) -> None:
    (clip_id,) = small_world.deliver("c-9", clips=1)
    assert "no sealed training set rests on it" in shown(home, receipt(home, small_world.grants[clip_id][0]))


@pytest.mark.parametrize("entries", [[], [500]])
def test_what_was_credited_is_told_and_nothing_credited_is_not_the_same_as_unknown(
    home: Home, small_world: Any, sealed: Any, entries: list[int]
) -> None:
    import duckdb

    clip_id = sealed.clip_ids[0]
    consent_id, party = small_world.grants[clip_id]
    item_id = next(row["item_id"] for row in home.lake.rows("shots") if row["clip_id"] == clip_id)
    with duckdb.connect(str(home.warehouse_path)) as connection:
        connection.execute(
            "create table fct_payouts (entry_id text, transaction_id text, account text, amount_minor bigint,"
            " currency text, request_id text, item_id text, contributor_id text)"
        )
        for sum_ in entries:
            for account, amount in ((f"contributor:{party}", -sum_), ("requester:o", sum_), ("contributor:c-x", -9)):
                row = [account, "t", account, amount, "EUR", "r-1", item_id, party]
                connection.execute("insert into fct_payouts values (?, ?, ?, ?, ?, ?, ?, ?)", row)
    paid = receipt(home, consent_id)["paid"]
    assert paid["state"] == ("credited" if entries else "not paid yet")
    assert [entry["amount_minor"] for entry in paid["entries"]] == entries


# -- notices ---------------------------------------------------------------------------------------------------------


def test_the_record_tells_the_notice_that_was_shown_even_when_a_later_one_is_shown_now(
    home: Home, small_world: Any
) -> None:
    first = notices.current(home)
    later = first.model_copy(update={"version": "2", "retention_period": "one year"})
    (clip_id,) = small_world.deliver("c-9", clips=1, consent=False)
    small_world.grant(clip_id, "c-9", notice=first.sha256)
    notices.show_from_now(home, later.document())
    (other,) = small_world.deliver("c-8", clips=1, consent=False)
    small_world.grant(other, "c-8", notice=later.sha256)
    periods = [receipt(home, small_world.grants[clip][0])["record"]["retention_period"] for clip in (clip_id, other)]
    assert periods == [first.retention_period, "one year"]
    assert notices.current(home) == later


def test_of_a_notice_that_nobody_kept_nothing_is_made_up(home: Home, small_world: Any) -> None:
    consent_id = next(iter(small_world.grants.values()))[0]
    record = receipt(home, consent_id)["record"]
    assert record["privacy_notice"]["text"] == record["jurisdiction"] == record["lawful_basis"] == NOT_KNOWN
    assert record["pii_controllers"] == [NOT_KNOWN]
    assert record["withdrawal_method"] == "rushes consent revoke"  # the event itself tells this


def test_every_mandatory_field_of_the_standard_is_in_the_record(home: Home, small_world: Any) -> None:
    (clip_id,) = small_world.deliver("c-9", clips=1, consent=False)
    small_world.grant(clip_id, "c-9", notice=notices.current(home).sha256)
    made = receipt(home, small_world.grants[clip_id][0])
    record = made["record"]
    fields = {
        *("schema_version", "record_id", "pii_principal_id", "privacy_notice", "language", "purposes"),
        *("pii_information", "pii_controllers", "storage_locations", "retention_period", "jurisdiction", "recipients"),
        *("withdrawal_method", "lawful_basis", "collection_method", "processing_method", "geographic_restrictions"),
        *("privacy_rights", "party_identification", "events"),
    }
    assert fields <= set(record)
    assert all(record[name] not in (None, "", [], NOT_KNOWN) for name in fields)
    parties = {"party_id", "party_name", "party_address", "party_contact", "party_type", "party_role"}
    assert all(parties <= set(party) for party in record["party_identification"])
    event = {"event_time", "validity_duration", "entity_id", "event_type", "event_state"}
    assert all(event <= set(entry) for entry in record["events"])
    assert made["receipt_id"].startswith("receipt-")


def edited(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (notices.FIRST.document() | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (edited(text=" "), "text"),
        (edited(jurisdiction=None), "jurisdiction"),
        (edited(extra="x"), "extra"),
        (edited(purposes={"train": "learns"}), "purposes.eval"),
        (edited(purposes=notices.FIRST.purposes | {"sell": "sells"}), "sell"),
        (edited(storage_locations=[]), "storage_locations"),
        (edited(storage_locations="here"), "storage_locations"),
        (edited(controller={"party_id": "p"}), "controller.name"),
        (edited(controller=None), "controller"),
        (edited(schema="other"), "rushes.notice/1"),
        ([], "rushes.notice/1"),
    ],
)
def test_a_notice_that_leaves_something_out_is_not_shown_to_anybody(home: Home, document: Any, named: str) -> None:
    with pytest.raises(NoticeError, match=named):
        notices.show_from_now(home, document)
    assert notices.current(home) == notices.BUILT_IN[-1]


def test_a_notice_survives_its_way_through_a_file() -> None:
    assert Notice.from_document(json.loads(json.dumps(notices.FIRST.document()))) == notices.FIRST
    pinned = "7116a28238f00805a2f43bc264a5edd8761158d0b4a573ddf35821bad85177db"
    assert notices.FIRST.sha256 == pinned, "people have signed this one: add a notice, never edit one"


# -- proofs ----------------------------------------------------------------------------------------------------------


def test_a_clip_that_no_model_saw_gets_a_proof_of_that(registered: Home, sealed: Any) -> None:
    for version in ("1", "champion"):
        text = shown(registered, answer(registered, STRANGE, version))
        assert f"Clip {STRANGE} is in none of the 1 sets that the model ever saw" in text
        assert sealed.root in text


def test_a_clip_that_a_model_saw_gets_none(registered: Home, sealed: Any) -> None:
    text = shown(registered, answer(registered, sealed.clip_ids[2], "1"))
    assert f"Clip {sealed.clip_ids[2]} is in snapshot {sealed.root}" in text


def test_a_proof_of_presence_shows_no_other_clip(registered: Home, sealed: Any) -> None:
    content = file_bytes(answer(registered, sealed.clip_ids[2], "1")).decode()
    assert [clip for clip in sealed.clip_ids if clip in content] == [sealed.clip_ids[2]]


def test_a_version_without_a_commitment_proves_nothing(registered: Home) -> None:
    Registry(registered).client.create_model_version(MODEL, "file:///nowhere")
    for version, why in (("2", "no commitment"), ("3", "no version"), ("other", "alias")):
        with pytest.raises(LookupError, match=why):
            answer(registered, STRANGE, version)


def test_a_clip_is_meant_by_its_id_a_prefix_or_its_file(registered: Home, sealed: Any, tmp_path: Path) -> None:
    clip_id = sealed.clip_ids[0]
    media = next(row["media_key"] for row in registered.lake.rows("shots") if row["clip_id"] == clip_id)
    file = tmp_path / "mine.mp4"
    file.write_bytes(registered.store.get(media))
    assert clips_named(registered, str(file)) == clips_named(registered, clip_id[:12]) == [clip_id]
    assert clips_named(registered, STRANGE) == [STRANGE]
    file.write_bytes(b"other footage")
    for unknown in (str(file), "abc", "zzzz", ""):
        with pytest.raises(LookupError):
            clips_named(registered, unknown)
