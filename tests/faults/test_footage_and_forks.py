"""Footage that is cut, encoded or declared anew after a release, consent that is taken back in part, and a ledger that shows
two faces."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.consent.eligibility import decide
from assets.consent.ledger import Ledger
from tests.training.conftest import make_world
from tests.training.consent.people import FILE, People, bob, clip, key_of
from training.consent import events as ev
from training.consent import merkle
from training.consent.checkpoint import checkpoint_holds
from training.consent.eligibility import ClipFacts, Person, eligible
from training.consent.guard import ConsentGuard, ConsentViolation
from training.consent.keys import public_bytes
from training.consent.state import ConsentState

ELSE, FRAMES = "7" * 64, "f" * 64


def reasons(people: People, facts: ClipFacts) -> tuple[str, ...]:
    state = ConsentState.fold(people.ledger.events())
    return eligible(facts, "train", people.now, people.now, state).reasons


# -- footage -------------------------------------------------------------------------------------------------------------


def test_consent_for_a_clip_does_not_follow_it_into_another_encoding(people: People) -> None:
    people.grant("c-ann", assets=[FILE])
    assert reasons(people, clip()) == ()
    assert reasons(people, clip(clip_id=ELSE, bytes_sha256="8" * 64)) == ("consent.none",)


def test_consent_for_the_frames_follows_a_container_that_changed_around_the_same_frames(people: People) -> None:
    people.grant("c-ann", assets=[FRAMES])
    assert reasons(people, clip(frames=(FRAMES,))) == ()
    assert reasons(people, clip(bytes_sha256="8" * 64, frames=(FRAMES,))) == ()
    assert reasons(people, clip(bytes_sha256="8" * 64, frames=("9" * 64,))) == ("consent.none",)


def test_somebody_declared_in_the_file_binds_every_clip_of_it_even_one_that_shows_nobody(people: People) -> None:
    people.grant("c-ann")
    empty = clip(persons=(bob(),), faces_max=0, persons_counted=0)
    assert reasons(people, empty) == ("legal.missing_model_release",)
    people.grant("p-bob", "depicted", assets=[FILE])
    assert reasons(people, empty) == ()


def test_a_release_for_one_clip_of_a_file_does_not_cover_the_next(people: People) -> None:
    people.grant("c-ann")
    first, second = clip(persons=(bob(),)), clip(clip_id=ELSE, shot_index=1, persons=(bob(),))
    people.grant("p-bob", "depicted", assets=[first.clip_id])
    assert reasons(people, first) == ()
    assert reasons(people, second) == ("legal.missing_model_release",)


def test_a_clip_trimmed_so_that_the_released_person_leaves_and_another_enters_is_judged_anew(world: Any) -> None:
    """The file and its release stay, the count of faces stays the same: only the reviewers can see who it is."""
    world.deliver("c-1", clips=1)
    declared = [{"person_id": "p-bob", "identifiable": True, "minor": False}]
    world.tables["delivery_items"][0]["persons_json"] = json.dumps(declared)
    world.tables["signals"][0]["faces_max"] = 1
    file = world.tables["shots"][0]["bytes_sha256"]
    now = datetime.fromisoformat("2026-11-02T08:00:00+00:00")
    for party, role in (("c-1", "contributor"), ("p-bob", "depicted")):
        terms = {"notice_sha256": "0" * 64, "terms_sha256": "0" * 64}
        world._append(party, ev.grant(party, role, [file], ["train"], now, **terms), _now())
    world.settle()
    ((before, decision),) = decide(world.home, "train", _now())
    assert decision.eligible, decision.reasons
    for table, rows in world.tables.items():  # the shot is cut elsewhere: other frames, another clip
        for row in rows:
            if row.get("clip_id") == before.clip_id:
                row["clip_id"] = ELSE
            if table == "shots":
                row["start_frame"] = 12
    world.settle(review=False)
    ((after, decision),) = decide(world.home, "train", _now())
    assert (after.clip_id, after.approvals) == (ELSE, 0)
    assert decision.reasons == ("review.pending",)


def _now() -> datetime:
    from training.consent.times import now_utc

    return now_utc()


def test_a_person_split_off_or_merged_after_the_release_needs_a_release_under_the_new_name(people: People) -> None:
    people.grant("c-ann")
    people.grant("p-bob", "depicted")
    one = clip(persons=(bob(),), faces_max=1, persons_counted=1)
    assert reasons(people, one) == ()
    split = replace(one, persons=(bob(), Person("p-bob-2")), persons_counted=2)
    assert reasons(people, split) == ("legal.missing_model_release",)
    merged = replace(one, persons=(Person("p-robert"),))
    assert reasons(people, merged) == ("legal.missing_model_release",)


# -- consent taken back in part ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("narrowed", "reason"),
    [
        ({"scopes": ["eval"]}, "consent.scope"),
        ({"territories": ["BE"]}, "consent.territory"),
        ({"recipients": ["r-lab"]}, "consent.recipient"),
        ({"assets": ["9" * 64]}, "consent.none"),
    ],
)
def test_narrowing_one_consent_of_a_snapshot_in_use_stops_exactly_its_clip(
    tmp_path: Path, narrowed: dict[str, Any], reason: str
) -> None:
    world = make_world(tmp_path, clips=5)
    guard = ConsentGuard(world.manifest, world.snapshot_root, world.people.url)
    guard.check()
    body = world.consents[0]
    world.people.append(ev.amend(body, world.people.now, **narrowed), "c-ann")
    with pytest.raises(ConsentViolation) as raised:
        guard.check()
    assert raised.value.reasons == {body["assets"][0]: (reason,)}


# -- a ledger with two faces ---------------------------------------------------------------------------------------------


@pytest.fixture
def forked(people: People, tmp_path: Path) -> tuple[Ledger, Ledger]:
    """One ledger and its copy, which went on differently."""
    for _ in range(5):
        people.grant("c-ann")
    path = Path(people.url.removeprefix("sqlite:///"))
    people.ledger.engine.dispose()
    (tmp_path / "fork").mkdir()
    for part in tmp_path.glob("rushes.db*"):
        shutil.copy(part, tmp_path / "fork" / part.name)
    other = Ledger(f"sqlite:///{tmp_path / 'fork' / path.name}")
    people.grant("p-bob", "depicted")
    body = ev.grant("p-bob", "depicted", [ELSE], ["train"], people.now, notice_sha256="a" * 64, terms_sha256="b" * 64)
    for number in range(3):
        later = people.now + timedelta(minutes=number)
        fresh = body | {"event_id": f"event-{number}", "consent_id": f"consent-{number}"}
        other.append(ev.sign(fresh, key_of("p-bob")), later)
    return people.ledger, other


def _consistent(earlier: dict[str, Any], later: dict[str, Any], ledger: Ledger) -> bool:
    """What a client does that kept a checkpoint and is shown another: both signed, and a proof by the ledger."""
    key = public_bytes(key_of("platform"))
    assert checkpoint_holds(earlier, key)
    assert checkpoint_holds(later, key)
    try:
        proof = ledger.consistency_proof(earlier["size"], later["size"])
    except (IndexError, ValueError):
        return False
    roots = bytes.fromhex(earlier["root"]), bytes.fromhex(later["root"])
    return merkle.verify_consistency(earlier["size"], later["size"], *roots, proof)


def test_two_clients_who_were_shown_different_ledgers_find_it_when_they_compare(forked: tuple[Ledger, Ledger]) -> None:
    one, other = forked
    first, second = (ledger.checkpoint_signed(key_of("platform")) for ledger in forked)
    assert first["size"] < second["size"]
    assert not _consistent(first, second, other)
    assert not _consistent(first, second, one)
    common = one.head(upto=first["size"] - 1)
    assert common == other.head(upto=first["size"] - 1)  # up to the fork they are one


def test_a_ledger_rolled_back_behind_a_checkpoint_cannot_show_that_it_goes_on_from_there(
    forked: tuple[Ledger, Ledger],
) -> None:
    longer, shorter = forked[1], forked[0]
    kept, shown = (ledger.checkpoint_signed(key_of("platform")) for ledger in (longer, shorter))
    assert shown["size"] < kept["size"]
    assert not _consistent(kept, shown, shorter)
    assert not merkle.verify_consistency(
        kept["size"], shown["size"], bytes.fromhex(kept["root"]), bytes.fromhex(shown["root"]), []
    )


def test_training_refuses_the_other_face_of_the_ledger(forked: tuple[Ledger, Ledger], tmp_path: Path) -> None:
    one, other = forked
    people = People.__new__(People)
    people.url, people.ledger, people.now = one.url, one, one.events()[-1].recorded_at
    people.join("c-ben")
    world = make_world(tmp_path / "world", clips=4, people=people)
    with pytest.raises(ConsentViolation) as raised:
        ConsentGuard(world.manifest, world.snapshot_root, other.url).check()
    assert raised.value.reasons == {"*": ("ledger.rewritten",)}
