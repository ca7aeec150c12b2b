"""What is done about a withdrawal, where and in which order; killed between any two writes it ends the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from assets.consent.ledger.opening import checkpoint_key, platform_key
from assets.consent.withdrawals import completion
from assets.consent.withdrawals.artifacts import PolicyError, RetentionPolicy
from assets.consent.withdrawals.journal import Journal
from assets.consent.withdrawals.taint import act_on_ledger
from assets.evaluation.registry import CANDIDATE, CHAMPION
from assets.home import Home
from assets.requests.store import list_proposals
from assets.store import LocalStore
from tests.assets.conftest import DAY
from tests.assets.consent.conftest import Copy, Reached, register
from training.consent import events
from training.consent.keys import public_bytes
from training.consent.ledger import Admitted, Ledger
from training.consent.proofs.completions import check_completion
from training.consent.statements import read_file

NOW = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
SHA = "0" * 64


def everything(home: Home) -> dict[str, bytes]:
    """The store's objects that a withdrawal may touch."""
    parts = ("frames", "latents", "samples", "release", "media", "sealed", "receipts", "lake")
    return {key: home.store.get(key) for part in parts for key in home.store.list(part)}


def end_state(home: Home) -> dict[str, Any]:
    """All that a withdrawal leaves behind."""
    from assets.evaluation.registry import MODEL, Registry

    registry, journal = Registry(home), Journal(home.database_url)
    pages = {v.number: registry.client.get_model_version(MODEL, v.number).description for v in registry.versions()}
    return {
        "store": everything(home),
        "versions": [(v.number, dict(v.tags), v.aliases, pages[v.number]) for v in registry.versions()],
        "proposals": list_proposals(home.database_url),
        "withdrawals": journal.withdrawals(),
        "items": [journal.items(one.number) for one in journal.withdrawals()],
        "steps": [journal.steps(one.number) for one in journal.withdrawals()],
        "mark": journal.mark(),
    }


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
    for table in ("captions", "embeddings"):
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
    said = check_completion(receipt, public_bytes(checkpoint_key(at.home)))
    assert any("which the ledger contains" in line for line in said)
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
    from assets.evaluation.registry import MODEL

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


# -- killed at any moment --------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As a process ends that is killed: nothing catches it."""


@contextmanager
def killed_at(moment: int | None) -> Iterator[Callable[[], int]]:
    """Ends the process, so to say, at that write: before or after an object of the store, before a row or a commit.

    Yields how many moments there were so far.
    """
    count = 0

    def passes() -> None:
        nonlocal count
        count += 1
        if count == moment:
            raise Killed

    def statement(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if text.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            passes()

    def commit(_connection: Any) -> None:
        passes()

    put, delete = LocalStore.put, LocalStore.delete
    with pytest.MonkeyPatch.context() as patch:
        for name, act in (("put", put), ("delete", delete)):
            patch.setattr(LocalStore, name, _around(act, passes))
        sa.event.listen(sa.Engine, "before_cursor_execute", statement)
        sa.event.listen(sa.Engine, "commit", commit)
        try:
            yield lambda: count
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", statement)
            sa.event.remove(sa.Engine, "commit", commit)


def _around(act: Callable[..., Any], passes: Callable[[], None]) -> Callable[..., Any]:
    def acted(*args: Any, **options: Any) -> None:
        passes()
        act(*args, **options)
        passes()

    return acted


def killed_and_run_again(at: Reached, moment: int) -> dict[str, Any]:
    with killed_at(moment), pytest.raises(Killed):
        act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    return end_state(at.home)


@pytest.fixture(scope="session")
def revoked(template: Reached, tmp_path_factory: pytest.TempPathFactory) -> Reached:
    """The template with its clip revoked and nothing done about it yet."""
    import shutil

    folder = tmp_path_factory.mktemp("revoked") / "home"
    shutil.copytree(template.home.state, folder)
    home = Home.local(folder, vendor=template.home.vendor)
    from tests.assets.conftest import World

    world = World(home, dict(template.world.keys), template.world.tables, dict(template.world.grants))
    world.revoke(template.clip)
    world.ledger.engine.dispose()
    return Reached(world, home, template.clip, template.root, template.size)


@pytest.fixture
def again(revoked: Reached, tmp_path: Any) -> Copy:
    import shutil

    made: list[int] = []

    def one() -> Reached:
        folder = tmp_path / f"home-{len(made)}"
        made.append(1)
        shutil.copytree(revoked.home.state, folder)
        return Reached(
            revoked.world, Home.local(folder, vendor=revoked.home.vendor), revoked.clip, revoked.root, revoked.size
        )

    return one


def moments_of(at: Reached) -> tuple[int, dict[str, Any]]:
    with killed_at(None) as count:
        act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    return count(), end_state(at.home)


PARTS = 12


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_between_any_two_writes_and_run_again_it_ends_the_same(again: Copy, part: int) -> None:
    moments, undisturbed = moments_of(again())
    assert moments > 60
    for moment in range(1 + part, moments + 1, PARTS):
        assert killed_and_run_again(again(), moment) == undisturbed, f"killed at write {moment} of {moments}"


def test_killed_at_some_writes_and_run_again_it_ends_the_same(again: Copy) -> None:
    moments, undisturbed = moments_of(again())
    for moment in range(5, moments, moments // 6):
        assert killed_and_run_again(again(), moment) == undisturbed, f"killed at write {moment} of {moments}"


def test_killed_again_and_again_nothing_tainted_serves_unnoticed(again: Copy) -> None:
    """From the first write on: as soon as an alias may have been looked at, either the plan or the taint is there."""
    at = again()
    for moment in range(1, 40, 3):
        with killed_at(moment):
            try:
                act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
            except Killed:
                continue
            break
    act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    assert at.registry.alias(CHAMPION) == "1"
    assert Journal(at.home.database_url).unfinished() == []


def test_acting_again_writes_nothing(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    act_on_ledger(at.home, at.size, NOW)
    before = end_state(at.home)
    act_on_ledger(at.home, 0, NOW)
    assert end_state(at.home) == before


# -- what stays open ---------------------------------------------------------------------------------------------------


def test_what_is_left_keeps_the_withdrawal_open_until_it_is_gone(copied: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    at = copied()
    at.world.revoke(at.clip)
    stubborn = f"latents/codec-b/{at.clip}.safetensors"
    delete = LocalStore.delete
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", lambda store, key: None if key == stubborn else delete(store, key))
        actions = act_on_ledger(at.home, at.size, NOW)
        assert actions.unfinished == actions.withdrawals
        assert not at.home.store.exists(completion.key(actions.withdrawals[0]))
    actions = act_on_ledger(at.home, at.size, NOW)
    assert actions.unfinished == ()
    assert not at.home.store.exists(stubborn)
    assert at.home.store.exists(completion.key(actions.withdrawals[0]))


def test_a_version_that_is_registered_too_late_is_tainted_when_it_comes(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    act_on_ledger(at.home, at.size, NOW)
    late = register(at.home, "m-late", at.root)
    at.registry.set_alias(CANDIDATE, late)
    actions = act_on_ledger(at.home, at.size + 1, NOW)
    assert actions.tainted_versions == (late,)
    assert "consent.revoked" in (at.registry.version(late).taint or "")
    assert at.registry.alias(CANDIDATE) is None


def test_what_a_run_that_had_begun_before_makes_anew_is_put_away_again(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    act_on_ledger(at.home, at.size, NOW)
    things = (f"frames/17f/{at.clip}.safetensors", "samples/m-1/s-9.mp4")
    for key in things:
        at.home.store.put(key, b"made anew")
    at.home.lake.write("captions", at.world.tables["captions"], DAY)
    act_on_ledger(at.home, at.size + 1, NOW + timedelta(minutes=5))
    assert at.home.store.exists(things[0]), "not looked for at every look"
    act_on_ledger(at.home, at.size + 1, NOW + timedelta(hours=2))
    assert not [key for key in things if at.home.store.exists(key)]
    assert at.clip not in {row["clip_id"] for row in at.home.lake.rows("captions", DAY)}


def test_what_does_not_fit_into_one_look_goes_on_with_the_next(copied: Copy) -> None:
    """But for what serves: that is never put off."""
    at = copied()
    at.world.revoke(at.clip)
    actions = act_on_ledger(at.home, at.size, NOW, budget_s=0.0)
    assert actions.unfinished == actions.withdrawals
    assert at.registry.alias(CHAMPION) == "1"
    assert at.home.store.exists(at.media_key)
    assert act_on_ledger(at.home, at.size + 1, NOW).unfinished == ()


# -- disputes ----------------------------------------------------------------------------------------------------------


def disputed(at: Reached) -> str:
    body = events.dispute("platform", [at.clip], "legal.privacy", datetime.now(UTC), dispute_id="d-1")
    assert isinstance(at.world.ledger.append(events.sign(body, platform_key(at.home)), datetime.now(UTC)), Admitted)
    return "d-1"


def decided(at: Reached, dispute_id: str, outcome: str) -> None:
    body = events.adjudicate(dispute_id, outcome, datetime.now(UTC), officer="o-ida")
    assert isinstance(at.world.ledger.append(events.sign(body, platform_key(at.home)), datetime.now(UTC)), Admitted)


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
    assert at.clip in Journal(at.home.database_url).withheld()

    decided(at, dispute, "dismissed")
    act_on_ledger(at.home, at.size + 1, NOW)
    after = everything(at.home)
    assert {key: data for key, data in after.items() if not key.startswith("receipts/")} == before
    assert [version.taint for version in at.registry.versions()] == [None, None, None]
    assert "dispute.open" in at.registry.version("2").tags["taint_lifted"]
    assert Journal(at.home.database_url).withheld() == {}
    assert len(list(at.home.store.list("receipts"))) == 2


def test_an_upheld_dispute_deletes_what_was_sealed_and_seals_the_file(copied: Copy) -> None:
    at = copied()
    dispute = disputed(at)
    (held,) = act_on_ledger(at.home, at.size, NOW).withdrawals
    decided(at, dispute, "upheld")
    (final,) = act_on_ledger(at.home, at.size + 1, NOW).withdrawals
    left = everything(at.home)
    assert not [key for key in left if key.startswith((f"sealed/{held}/frames", f"sealed/{held}/latents"))]
    assert not [key for key in left if key.startswith(f"sealed/{held}/lake/captions")]
    assert f"sealed/{final}/{at.media_key}" in left
    assert len(list_proposals(at.home.database_url)) == 1


def test_a_clip_that_is_granted_anew_returns_to_use_and_the_models_stay_tainted(copied: Copy) -> None:
    at = copied()
    contributor = at.world.grants[at.clip][1]
    at.world.revoke(at.clip)
    act_on_ledger(at.home, at.size, NOW)
    assert not at.home.store.exists(at.media_key)
    at.world.grant(at.clip, contributor)
    act_on_ledger(at.home, at.size + 1, NOW)
    assert at.home.store.exists(at.media_key)
    assert Journal(at.home.database_url).withheld() == {}
    assert at.registry.version("2").taint
    assert at.registry.alias(CHAMPION) == "1"


# -- policy ------------------------------------------------------------------------------------------------------------


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
