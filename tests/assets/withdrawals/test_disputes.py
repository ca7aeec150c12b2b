"""Disputes seal, and their decisions bring back or delete; a consent that is given anew brings back too."""

from __future__ import annotations

from assets.registry.versions import CHAMPION
from assets.requests.store import list_proposals
from assets.withdrawals.plan import act_on_ledger
from assets.withheld import withheld
from tests.assets.withdrawals.states import NOW, decided, disputed, everything
from tests.worlds import Copy


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
