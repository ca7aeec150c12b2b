"""Small pictures of a withdrawn clip go from what is remembered of its file; the measurements and its neighbours stay."""

from __future__ import annotations

import json

from assets.signals.task import result_key
from assets.withdrawals.plan import AUDIT_EVERY, act_on_ledger
from tests.assets.withdrawals.states import NOW, disputed
from tests.worlds import Copy, Reached

VERSIONS = ("signals-1_shots-1", "signals-2_shots-1")  # older ones are remembered, too
SIGNALS = {"sharpness": 9.0}


def remember(at: Reached) -> list[str]:
    """The acting clip and another one of the same file, measured by two versions."""
    sha256 = at.media_key.removeprefix("media/").split("/")[-1].split(".")[0]
    keys = [result_key(version, sha256) for version in VERSIONS]
    shots = [
        {"clip_id": clip_id, "thumbnail": "cGljdHVyZQ==", "signals": {"sharpness": 9.0}}
        for clip_id in (at.clip, "f" * 64)
    ]
    for key in keys:
        at.home.store.put(key, json.dumps({"shots": shots}).encode())
    return keys


def shown(at: Reached, key: str) -> dict[str, bool]:
    shots = json.loads(at.home.store.get(key))["shots"]
    assert [shot["signals"] for shot in shots] == [SIGNALS] * 2
    return {shot["clip_id"]: bool(shot["thumbnail"]) for shot in shots}


def test_a_revocation_takes_the_pictures_of_its_clip_and_no_other(copied: Copy) -> None:
    at = copied()
    keys = remember(at)
    at.world.revoke(at.clip)
    (done,) = act_on_ledger(at.home, at.size, NOW).withdrawals
    assert [shown(at, key) for key in keys] == [{at.clip: False, "f" * 64: True}] * 2
    (receipt,) = (json.loads(at.home.store.get(key)) for key in at.home.store.list("receipts") if done in key)
    assert all(f"{key}/{at.clip}" in json.dumps(receipt) for key in keys)


def test_pictures_that_a_later_run_remembers_again_go_at_the_next_audit(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    act_on_ledger(at.home, at.size, NOW)
    keys = remember(at)
    act_on_ledger(at.home, at.size + 1, NOW + AUDIT_EVERY)
    assert [shown(at, key) for key in keys] == [{at.clip: False, "f" * 64: True}] * 2


def test_an_open_dispute_takes_no_picture(copied: Copy) -> None:
    at = copied()
    keys = remember(at)
    disputed(at)
    act_on_ledger(at.home, at.size, NOW)
    assert [shown(at, key) for key in keys] == [{at.clip: True, "f" * 64: True}] * 2
