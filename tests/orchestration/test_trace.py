"""What the trace says of a clip that was withdrawn, of its consent, and of the withdrawal itself."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from assets.home import Home
from assets.withdrawals import receipt
from assets.withdrawals.plan import act_on_ledger
from orchestration.trace import trace_of
from tests.assets.withdrawals.states import NOW, decided, disputed
from tests.rows import DAY
from tests.worlds import Copy, World


def read(home: Home, identity: str) -> str:
    """The tree as a person reads it, on a very wide terminal."""
    out = io.StringIO()
    Console(file=out, width=400).print(trace_of(home, identity))
    return out.getvalue()


def test_a_clip_in_use_shows_where_it_is(copied: Copy) -> None:
    at = copied()
    output = read(at.home, at.clip)
    assert f"snapshot {at.root}" in output
    assert "model version 2 (champion), m-1: clean" in output
    assert f"latents/codec-b/{at.clip}.safetensors" in output
    assert "withdrawn" not in output


def test_a_clip_shows_what_failed_what_could_not_be_measured_and_what_is_open(small_world: World) -> None:
    home = small_world.home
    (row, *others), shots = home.lake.rows("verdicts", DAY), home.lake.rows("shots", DAY)
    unmeasured = {
        "verdict": "not_measured",
        "reason": "platform.not_measured",
        "detail": "media.crashed: signal SIGSEGV",
    }
    more = (
        {"check": "flicker", "severity": "info", "verdict": "fail", "reason": "quality.artefacts", "detail": "0.1"},
        {"check": "nsfw", "severity": "info", "verdict": "not_yet", "detail": "no scorer for this is installed"},
        {"check": "sharpness", "severity": "quality"} | unmeasured,
    )
    home.lake.write("verdicts", [row, *others, *(row | verdict for verdict in more)], DAY)
    chosen = [shot for shot in shots if shot["clip_id"] == row["clip_id"]]
    home.lake.write("shots", [shot | {"not_measured": "media.crashed: signal SIGSEGV"} for shot in chosen], DAY)
    output = read(home, row["clip_id"])
    assert "4 checks: 1 pass, 1 fail, 1 not yet, 1 not measured" in output
    assert "flicker (info): fail quality.artefacts: 0.1" in output
    assert "nsfw (info): not yet stands against nothing: no scorer" in output
    assert "sharpness (quality): not measured platform.not_measured: media.crashed: signal SIGSEGV" in output
    assert "not measured, by an error of the platform: media.crashed: signal SIGSEGV" in output


def test_a_revoked_clip_shows_every_place_that_it_had_reached_and_what_was_done_there(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    (withdrawal,) = act_on_ledger(at.home, at.size, NOW).withdrawals
    output = read(at.home, at.clip)
    assert f"withdrawn by {withdrawal}" in output
    assert re.search(r"because of revoke of 20\d\d-\d\d", output)
    assert f"entry {at.size} of the ledger" in output
    assert f"in snapshot {at.root}: consent.revoked" in output
    assert "model version 2, m-1: tagged" in output
    assert "aliases then champion, now none" in output
    assert "alias champion: version 2 must not serve; version 1 is champion" in output
    for thing in ("frames/17f", "latents/codec-a", "latents/codec-b"):
        assert f"{thing}/{at.clip}.safetensors deleted" in output
    for thing in ("samples/m-1/s-1.mp4", "release/m-1/s-1.mp4", at.media_key):
        assert f"{thing} sealed" in output
    assert f"rows: lake/captions/{at.clip} deleted" in output
    assert receipt.key(withdrawal) in output


def test_a_withdrawal_and_a_consent_are_traced_by_their_names(copied: Copy) -> None:
    at = copied()
    consent_id, party = at.world.grants[at.clip]
    at.world.revoke(at.clip)
    (withdrawal,) = act_on_ledger(at.home, at.size, NOW).withdrawals
    assert at.clip[:16] in read(at.home, withdrawal[:8])
    output = read(at.home, consent_id)
    assert f"consent {consent_id} of {party}" in output
    assert f"went into snapshot {at.root}" in output
    assert "revoke of" in output
    assert withdrawal in output


def test_a_dismissed_dispute_shows_that_everything_came_back(copied: Copy) -> None:
    at = copied()
    dispute = disputed(at)
    act_on_ledger(at.home, at.size, NOW)
    decided(at, dispute, "dismissed")
    act_on_ledger(at.home, at.size + 1, NOW)
    output = read(at.home, at.clip)
    assert "because of dispute" in output
    assert "given back to use by r-" in output
    assert f"brought back: frames/17f/{at.clip}.safetensors" in output
    assert "model version 2, m-1: taint lifted" in output


def test_what_nobody_knows_is_said_to_be_unknown(copied: Copy) -> None:
    with pytest.raises(LookupError, match="no clip, file, request, snapshot, consent, withdrawal or model"):
        trace_of(copied().home, "nobody-knows-this")
