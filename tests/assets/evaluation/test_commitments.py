"""A model says once what it saw: the statement is signed, kept for good, shown on the version, and never replaced."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from safetensors.numpy import save, save_file

from assets.consent.platform import checkpoint_key
from assets.consent.proofs.verification import verify_file
from assets.dataset.snapshot import build
from assets.evaluation import commitments
from assets.evaluation.commitments import CommitmentError, commit, exposed_to, find
from assets.home import Home
from assets.model.published import CurrentModel
from assets.registry import MODEL, Registry, version_description
from assets.serving import serve
from training.consent.keys import public_bytes
from training.model.exposure import header

Publish = Callable[..., CurrentModel]


@pytest.fixture
def publish(home: Home, weights: Path) -> Publish:
    """Puts a model's weights and record where training would have left them."""

    def published(model_key: str, sealed: Any, number: float = 1, **more: Any) -> CurrentModel:
        save_file({"w": np.full(1, number, np.float32)}, weights / "transformer.safetensors")
        for file in weights.iterdir():
            home.store.put(f"models/{model_key}/{file.name}", file)
        record = {"model_key": model_key, "snapshot_root": sealed.root, "parent_model": None} | more
        home.store.put(f"models/{model_key}/result.json", json.dumps(record).encode())
        return CurrentModel(model_key, record, sealed)

    return published


@pytest.fixture
def sealed(home: Home, small_world: Any) -> Any:
    return build(home, datetime.now(UTC)).sealed


def verified(home: Home, model_key: str) -> str:
    """What the file in the store shows to a stranger."""
    content = home.store.get(commitments.key(model_key))
    return "\n".join(verify_file(content, public_bytes(checkpoint_key(home))).shown)


def test_a_commitment_holds_for_a_stranger_and_binds_weights_and_snapshot(
    home: Home, sealed: Any, publish: Publish
) -> None:
    kept = commit(home, publish("m-1", sealed))
    commitment = verified(home, "m-1")
    assert sealed.root in commitment
    for digest in kept.statement["weights_sha256"].values():
        assert digest in commitment
    assert set(kept.statement["weights_sha256"]) == {"codec.safetensors", "transformer.safetensors"}
    assert find(home, "m-1") == kept


def test_it_is_made_once_however_the_ledger_grows(home: Home, sealed: Any, publish: Publish, small_world: Any) -> None:
    model = publish("m-1", sealed)
    first = commit(home, model)
    small_world.revoke(next(iter(small_world.grants)))
    assert commit(home, model) == first
    assert first.statement["ledger"]["end"]["size"] < small_world.ledger.size()


def test_another_commitment_for_the_same_model_is_refused_loudly(home: Home, sealed: Any, publish: Publish) -> None:
    first = commit(home, publish("m-1", sealed))
    with pytest.raises(CommitmentError, match="weights_sha256"):
        commit(home, publish("m-1", sealed, number=2))
    assert find(home, "m-1") == first


def test_what_the_weights_saw_cannot_be_made_less_later(
    home: Home, sealed: Any, publish: Publish, small_world: Any
) -> None:
    parent = publish("m-0", sealed)
    small_world.deliver("c-5")
    small_world.settle()
    later = build(home, datetime.now(UTC)).sealed
    assert later.root != sealed.root
    child = commit(home, publish("m-1", later, parent_model=parent.model_key))
    assert [entry["snapshot_root"] for entry in child.statement["exposure"]] == sorted([sealed.root, later.root])
    with pytest.raises(CommitmentError, match="exposure"):
        commit(home, publish("m-1", later))
    assert [entry.statement["model_key"] for entry in exposed_to(home, sealed.root)] == ["m-1"]


def test_the_exposure_in_the_record_counts_too(home: Home, sealed: Any, publish: Publish, small_world: Any) -> None:
    small_world.deliver("c-5")
    small_world.settle()
    later = build(home, datetime.now(UTC)).sealed
    kept = commit(home, publish("m-1", later, exposure=[sealed.root, later.root]))
    assert len(kept.statement["exposure"]) == 2
    assert sorted(kept.tags["exposure"].split(",")) == sorted([sealed.root, later.root])


def test_what_the_weights_themselves_say_counts_even_where_the_record_hides_it(
    home: Home, sealed: Any, publish: Publish, small_world: Any
) -> None:
    small_world.deliver("c-5")
    small_world.settle()
    later = build(home, datetime.now(UTC)).sealed
    model = publish("m-1", later)
    metadata = header({sealed.root: "2026-11-01T00:00:00Z", later.root: "2026-11-02T00:00:00Z"})
    home.store.put("models/m-1/transformer.safetensors", save({"w": np.ones(1, np.float32)}, metadata))
    roots = [entry["snapshot_root"] for entry in commit(home, model).statement["exposure"]]
    assert roots == sorted([sealed.root, later.root])


def test_weights_that_cannot_be_read_are_not_committed_to(home: Home, sealed: Any, publish: Publish) -> None:
    model = publish("m-1", sealed)
    home.store.put("models/m-1/codec.safetensors", b"no weights")
    with pytest.raises(CommitmentError, match="cannot be read"):
        commit(home, model)


def test_a_model_whose_past_is_unknown_is_not_committed_to(home: Home, sealed: Any, publish: Publish) -> None:
    with pytest.raises(CommitmentError, match="m-lost"):
        commit(home, publish("m-1", sealed, parent_model="m-lost"))
    with pytest.raises(CommitmentError, match="0000"):
        commit(home, publish("m-1", sealed, exposure=["0" * 64]))
    assert find(home, "m-1") is None


def test_a_model_of_the_repositorys_base_has_seen_its_own_snapshot_and_one_of_another_base_has_an_unknown_past(
    home: Home, sealed: Any, publish: Publish, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.base.folder", lambda size: weights if size == "nano" else None)
    monkeypatch.setattr("training.base.key", lambda size: "base-0123456789ab" if size == "nano" else None)
    kept = commit(home, publish("m-1", sealed, parent_model="base-0123456789ab"))
    assert [entry["snapshot_root"] for entry in kept.statement["exposure"]] == [sealed.root]
    with pytest.raises(CommitmentError, match="base-ffffffffffff"):
        commit(home, publish("m-2", sealed, parent_model="base-ffffffffffff"))


def test_an_edited_manifest_is_not_committed_to(home: Home, sealed: Any, publish: Publish) -> None:
    key = f"snapshots/{sealed.root}/manifest.json"
    manifest = json.loads(home.store.get(key))
    manifest["members"].pop()
    home.store.put(key, json.dumps(manifest).encode())
    with pytest.raises(CommitmentError, match=sealed.root):
        commit(home, publish("m-1", sealed))


def test_a_file_that_a_killed_process_left_out_is_put_again_and_another_one_is_no_slip(
    home: Home, sealed: Any, publish: Publish
) -> None:
    model = publish("m-1", sealed)
    commit(home, model)
    content = home.store.get(commitments.key("m-1"))
    home.store.delete(commitments.key("m-1"))
    commit(home, model)
    assert home.store.get(commitments.key("m-1")) == content
    home.store.put(commitments.key("m-1"), content.replace(b"m-1", b"m-2"))
    with pytest.raises(CommitmentError, match="is not the commitment"):
        commit(home, model)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE model_commitment SET statement = '{}'",
        "DELETE FROM model_commitment",
        "INSERT OR REPLACE INTO model_commitment SELECT model_key, sha256, '{}' FROM model_commitment",
    ],
)
def test_the_database_keeps_a_commitment_from_everybody(home: Home, sealed: Any, publish: Publish, sql: str) -> None:
    first = commit(home, publish("m-1", sealed))
    with sa.create_engine(home.database_url).connect() as connection, pytest.raises(sa.exc.DBAPIError):
        connection.exec_driver_sql(sql)
    assert find(home, "m-1") == first


def test_the_version_shows_root_checkpoint_and_commitment(registry: Registry, sealed: Any, publish: Publish) -> None:
    home = registry.home
    model = publish("m-1", sealed)
    kept = commit(home, model)
    run = registry.start_run("m-1", "m-1")
    tags = {"model_key": "m-1", "snapshot_root": sealed.root, "ledger_checkpoint": model.ledger_checkpoint}
    number = serve.register(registry, run, model.folder(home), tags | kept.tags)
    page = registry.client.get_model_version(MODEL, number).description
    shown = registry.version(number).tags
    assert shown["commitment_sha256"] == kept.sha256
    assert shown["exposure"] == sealed.root
    for value in (sealed.root, model.ledger_checkpoint, kept.sha256, kept.statement["ids_root"]):
        assert value in page
    assert "Tainted" not in page


def test_a_taint_and_what_it_quotes_stay_inside_the_page() -> None:
    page = version_description({"taint": "consent.revoked\n\n# big | `x` <script>", "snapshot_root": "a`b|c"})
    assert page.startswith("**Tainted:** consent.revoked # big \\| 'x' &lt;script>")
    assert "| Training snapshot (Merkle root) | `a'b\\|c` |" in page
