"""A withdrawal and a dispute from event to receipt, over everything that was made of a clip."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assets.consent.ledger import Ledger
from assets.consent.platform import checkpoint_key
from assets.consent.proofs.statements import read_file
from assets.consent.proofs.verification import check_completion
from assets.home import Home
from assets.registry import CANDIDATE, CHAMPION
from assets.requests.store import list_proposals
from assets.withdrawals import receipt as completion
from assets.withdrawals.artifacts import PolicyError, RetentionPolicy
from assets.withdrawals.plan import act_on_ledger
from assets.withheld import withheld
from tests.assets.withdrawals.states import NOW, decided, disputed, everything
from tests.rows import DAY
from tests.worlds import Copy
from training.consent.keys import public_bytes


def receipt_of(home: Home, withdrawal_id: str) -> dict[str, Any]:
    data = home.store.get(completion.key(withdrawal_id))
    return read_file(data, public_bytes(checkpoint_key(home)))


def test_a_revocation_acts_on_everything_made_of_the_clip_and_says_so(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    actions = act_on_ledger(at.home, at.size, NOW)
    left = everything(at.home)
    assert (actions.affected_clips, actions.unfinished) == ((at.clip,), ())
    assert not [key for key in left if at.clip in key and not key.startswith(("sealed/", "receipts/"))]
    assert not [key for key in left if key.startswith(("samples/m-1/", "release/m-1/"))]
    (withdrawal,) = actions.withdrawals
    assert left[f"sealed/{withdrawal}/release/m-1/s-1.mp4"] == b"marked sample"
    assert f"sealed/{withdrawal}/{at.media_key}" in left
    assert at.media_key not in left
    for table in ("captions", "visual_captions", "embeddings"):
        rows = at.home.lake.rows(table, DAY)
        assert rows, "others keep theirs"
        assert at.clip not in {row["clip_id"] for row in rows}
    assert at.home.lake.rows("samples") == []
    clean, champion, candidate = sorted(at.registry.versions(), key=lambda version: int(version.number))
    assert (clean.taint, clean.aliases) == (None, (CHAMPION,))
    assert "consent.revoked" in (champion.taint or "")
    assert candidate.taint == "started from m-1, which is tainted"
    assert at.registry.alias(CANDIDATE) is None


def test_the_receipt_is_signed_rests_on_the_ledger_and_names_nobody_but_pseudonyms(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    (withdrawal,) = act_on_ledger(at.home, at.size, NOW).withdrawals
    receipt = receipt_of(at.home, withdrawal)
    lines = check_completion(receipt, public_bytes(checkpoint_key(at.home)))
    assert any("which the ledger contains" in line for line in lines)
    assert receipt["subject"] == at.world.grants[at.clip][1]
    assert receipt["reached"]["clips"] == [{"clip_id": at.clip, "reasons": ["consent.revoked"], "snapshots": [at.root]}]
    assert set(receipt["reached"]["models"]) == {"2", "3"}
    acts = {done["what"]: done["act"] for done in receipt["done"]}
    assert acts[f"frames/17f/{at.clip}.safetensors"] == "delete"
    assert acts["release/m-1/s-1.mp4"] == "seal"
    assert acts["alias champion"] == "take away"
    assert "version 1 is champion" in receipt["aliases"]["champion"]
    assert len(receipt["proposals"]) == 1
    assert receipt["left"] == 0


def test_the_page_of_the_version_says_what_happened(copied: Copy) -> None:
    from assets.registry import MODEL

    at = copied()
    at.world.revoke(at.clip)
    (withdrawal,) = act_on_ledger(at.home, at.size, NOW).withdrawals
    page = at.registry.client.get_model_version(MODEL, "2").description
    assert "Tainted" in page
    assert "consent.revoked" in page
    assert withdrawal in page
    assert at.root in page
    tags = at.registry.version("2").tags
    assert tags["taint_clips"] == at.clip
    assert tags["taint_ledger_size"] == str(at.size + 1)


def test_what_is_kept_sealed_or_deleted_is_the_homes_to_say(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    at.home.retention.update(derived="seal", generated="delete", media="keep")
    (withdrawal,) = act_on_ledger(at.home, at.size, NOW).withdrawals
    left = everything(at.home)
    assert f"sealed/{withdrawal}/frames/17f/{at.clip}.safetensors" in left
    kept = json.loads(left[f"sealed/{withdrawal}/lake/captions/{at.clip}/{DAY}.json"])
    assert {row["kind"] for row in kept["rows"]} == {"short", "long"}
    assert not [key for key in left if "release/m-1" in key]
    assert at.media_key in left


@pytest.mark.parametrize("retention", [{"derived": "keep"}, {"generated": "burn"}, {"frames": "seal"}])
def test_a_policy_that_makes_no_sense_is_refused_before_anything_is_done(
    copied: Copy, retention: dict[str, str]
) -> None:
    at = copied()
    at.home.retention.update(retention)
    with pytest.raises(PolicyError):
        RetentionPolicy.of(at.home)
    at.world.revoke(at.clip)
    with pytest.raises(PolicyError):
        act_on_ledger(at.home, at.size, NOW)
    assert Ledger(at.home.database_url).size() == at.size + 1


def test_an_open_dispute_seals_and_deletes_nothing_and_its_dismissal_brings_everything_back(copied: Copy) -> None:
    at = copied()
    before = everything(at.home)
    dispute = disputed(at)
    (held,) = act_on_ledger(at.home, at.size, NOW).withdrawals
    assert "dispute.open" in (at.registry.version("2").taint or "")
    assert f"sealed/{held}/frames/17f/{at.clip}.safetensors" in everything(at.home)
    assert not at.home.store.exists(f"frames/17f/{at.clip}.safetensors")
    assert at.home.store.exists(at.media_key), "the delivered file is not touched while nothing is decided"
    assert list_proposals(at.home.database_url) == []
    assert at.clip in withheld(at.home.database_url)

    decided(at, dispute, "dismissed")
    act_on_ledger(at.home, at.size + 1, NOW)
    after = everything(at.home)
    assert {key: data for key, data in after.items() if not key.startswith("receipts/")} == before
    assert [version.taint for version in at.registry.versions()] == [None, None, None]
    assert "dispute.open" in at.registry.version("2").tags["taint_lifted"]
    assert withheld(at.home.database_url) == {}
    assert len(list(at.home.store.list("receipts"))) == 2


def test_an_upheld_dispute_deletes_what_was_sealed_and_seals_the_file(copied: Copy) -> None:
    at = copied()
    dispute = disputed(at)
    (held,) = act_on_ledger(at.home, at.size, NOW).withdrawals
    decided(at, dispute, "upheld")
    actions = act_on_ledger(at.home, at.size + 1, NOW)
    (final,) = actions.withdrawals
    assert actions.unfinished == (), "its receipt is signed"
    left = everything(at.home)
    assert not [key for key in left if key.startswith((f"sealed/{held}/frames", f"sealed/{held}/latents"))]
    assert not [key for key in left if key.startswith(f"sealed/{held}/lake/captions")]
    assert f"sealed/{final}/{at.media_key}" in left
    assert len(list_proposals(at.home.database_url)) == 1


def test_a_clip_that_a_dispute_gave_back_can_be_withdrawn_to_the_end(copied: Copy) -> None:
    at = copied()
    dispute = disputed(at)
    act_on_ledger(at.home, at.size, NOW)
    decided(at, dispute, "dismissed")
    act_on_ledger(at.home, at.size + 1, NOW)
    at.world.revoke(at.clip)
    actions = act_on_ledger(at.home, at.size + 2, NOW)
    assert actions.unfinished == ()
    assert not [row for row in at.home.lake.rows("captions") if row["clip_id"] == at.clip]


def test_a_clip_that_is_granted_anew_returns_to_use_and_the_models_stay_tainted(copied: Copy) -> None:
    at = copied()
    contributor = at.world.grants[at.clip][1]
    at.world.revoke(at.clip)
    act_on_ledger(at.home, at.size, NOW)
    assert not at.home.store.exists(at.media_key)
    at.world.grant(at.clip, contributor)
    act_on_ledger(at.home, at.size + 1, NOW)
    assert at.home.store.exists(at.media_key)
    assert withheld(at.home.database_url) == {}
    assert at.registry.version("2").taint
    assert at.registry.alias(CHAMPION) == "1"
