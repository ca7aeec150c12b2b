"""Faults of the world around: clocks, names, hostile footage, forks of the ledger."""

from __future__ import annotations

import json
import shutil
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from assets.consent.admission import Rule
from assets.consent.eligibility import decide
from assets.consent.intake import Admitted, Refused
from assets.consent.ledger import Ledger
from tests.training.conftest import make_world
from tests.training.consent.people import FILE, People, bob, clip, key_id, key_of
from training.consent import events as ev
from training.consent import merkle
from training.consent.eligibility import ClipFacts, Person, eligible
from training.consent.guard import ConsentGuard, ConsentViolation
from training.consent.keys import checkpoint_holds, public_bytes
from training.consent.state import ConsentState
from training.consent.times import instant, time_text

TERMS: dict[str, Any] = {"notice_sha256": "a" * 64, "terms_sha256": "b" * 64}


def allowed(people: People, at: datetime | None = None) -> bool:
    moment = at or people.now
    return eligible(clip(), "train", moment, moment, ConsentState.fold(people.ledger.events())).eligible


def test_a_revocation_recorded_by_a_clock_that_stepped_back_acts_after_the_grant_it_ends(people: People) -> None:
    body = people.grant("c-ann")
    assert allowed(people)
    before = people.now - timedelta(days=3)
    revocation = ev.revoke(body["consent_id"], "c-ann", "contributor", before)
    outcome = people.append(revocation, "c-ann", now=before)
    assert isinstance(outcome, Admitted)
    assert outcome.recorded_at >= people.ledger.events()[-2].recorded_at
    assert not allowed(people)
    assert not allowed(people, people.now + timedelta(days=400))
    people.ledger.verify(workers=1)


@pytest.mark.parametrize(
    "text",
    [
        "2016-12-31T23:59:60Z",  # a leap second that was, which no calendar here can hold
        "2026-11-02T24:00:00Z",
        "2026-11-02T08:00:00",  # naive
        "2026-11-02T08:00:00+02:00",  # local
        "2026-11-02T08:00:00.1234567Z",
        "2026-02-29T08:00:00Z",
    ],
)
@pytest.mark.parametrize("field", ["issued_at", "effective_at", "expires_at"])
def test_a_time_that_is_not_one_instant_of_utc_is_refused_by_name(people: People, field: str, text: str) -> None:
    body = ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **TERMS) | {field: text}
    size = people.ledger.size()
    outcome = people.append(body, "c-ann")
    assert isinstance(outcome, Refused)
    assert outcome.rule is Rule.SCHEMA
    assert people.ledger.size() == size


def test_the_hour_that_happens_twice_is_two_hours() -> None:
    """Brussels, 25 October 2026: 02:30 in summer time, and an hour later 02:30 again."""
    summer = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Brussels"), fold=0)
    winter = summer.replace(fold=1)
    assert (time_text(summer), time_text(winter)) == ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z")
    assert instant(winter) - instant(summer) == timedelta(hours=1)


def test_nobody_signs_or_asks_with_a_clock_that_has_no_zone(people: People) -> None:
    naive = datetime(2026, 11, 2, 8, 0)
    with pytest.raises(ValueError, match="zone"):
        ev.grant("c-ann", "contributor", [FILE], ["train"], naive, **TERMS)
    with pytest.raises(ValueError, match="zone"):
        eligible(clip(), "train", naive, naive, ConsentState())
    with pytest.raises(ValueError, match="zone"):
        eligible(clip(), "train", datetime.now(UTC), datetime.now(), ConsentState())


@pytest.mark.parametrize(("granted", "withdrawn"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_the_same_person_however_its_accents_are_spelled(
    people: People, granted: str, withdrawn: str
) -> None:
    name = "c-amélie-ångström"
    spelled = {form: unicodedata.normalize(form, name) for form in ("NFC", "NFD")}  # type: ignore[arg-type]
    assert spelled["NFC"] != spelled["NFD"]
    key = key_of("amelie")
    attested = ev.enrol(spelled[granted], key_id("amelie"), people.now, evidence_sha256="e" * 64, officer="o-ida")
    assert isinstance(people.append(attested, "platform"), Admitted)
    registration = ev.register_key(spelled[withdrawn], key, people.now)
    assert isinstance(people.append(registration, "amelie"), Admitted)
    body = ev.grant(spelled[granted], "contributor", [FILE], ["train"], people.now, **TERMS)
    assert isinstance(people.append(body, "amelie"), Admitted)
    facts = clip(contributor_id=spelled["NFC"])
    state = ConsentState.fold(people.ledger.events())
    assert eligible(facts, "train", people.now, people.now, state).eligible
    revocation = ev.revoke(body["consent_id"], spelled[withdrawn], "contributor", people.now)
    assert isinstance(people.append(revocation, "amelie"), Admitted)
    state = ConsentState.fold(people.ledger.events())
    assert not eligible(facts, "train", people.now, people.now, state).eligible


def test_two_spellings_of_one_field_in_one_event_are_refused(people: People) -> None:
    envelope = ev.sign(ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **TERMS), key_of("c-ann"))
    twice = json.dumps(envelope)[:-1] + ', "é": 1, "é": 2}'
    outcome = people.ledger.append(twice, people.now)
    assert isinstance(outcome, Refused)
    assert outcome.rule is Rule.MALFORMED


@pytest.mark.parametrize("number", ["9007199254740993", "1" + "0" * 400, "1e400", "-1e999", "NaN", "-0"])
def test_a_number_that_readers_disagree_about_never_enters(people: People, number: str) -> None:
    envelope = ev.sign(ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **TERMS), key_of("c-ann"))
    text = json.dumps(envelope).replace('"prev": null', f'"prev": {number}')
    assert number in text
    size = people.ledger.size()
    outcome = people.ledger.append(text, people.now)
    assert isinstance(outcome, Refused)
    assert outcome.rule in (Rule.MALFORMED, Rule.SCHEMA)
    assert people.ledger.size() == size


def test_a_key_that_is_rotated_mid_stream_hands_its_consents_to_the_next_and_keeps_none(people: People) -> None:
    granted = people.grant("c-ann")
    registration = ev.sign(ev.register_key("c-ann", key_of("ann-2"), people.now), key_of("ann-2"))
    assert isinstance(people.ledger.append(ev.endorse(registration, key_of("c-ann")), people.now), Admitted)
    people.append(ev.revoke_key("c-ann", key_id("c-ann"), people.now), "ann-2")
    assert allowed(people)  # what the old key signed stands
    stolen = people.append(ev.amend(granted, people.now, recipients=["x-mal"]), "c-ann")
    assert isinstance(stolen, Refused)
    assert stolen.rule is Rule.KEY_REVOKED
    narrowed = ev.amend(granted, people.now, scopes=["eval"])
    assert isinstance(people.append(narrowed, "ann-2"), Admitted)
    assert not allowed(people)
    revocation = ev.revoke(granted["consent_id"], "c-ann", "contributor", people.now)
    assert isinstance(people.append(revocation, "c-ann"), Refused)
    assert isinstance(people.append(revocation, "ann-2"), Admitted)
    people.ledger.verify(workers=1)


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
    released = clip(persons=(bob(),), faces_max=1, persons_counted=1)
    assert reasons(people, released) == ()
    split = replace(released, persons=(bob(), Person("p-bob-2")), persons_counted=2)
    assert reasons(people, split) == ("legal.missing_model_release",)
    merged = replace(released, persons=(Person("p-robert"),))
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
    first_ledger, other = forked
    first, second = (ledger.checkpoint_signed(key_of("platform")) for ledger in forked)
    assert first["size"] < second["size"]
    assert not _consistent(first, second, other)
    assert not _consistent(first, second, first_ledger)
    common = first_ledger.head(upto=first["size"] - 1)
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
    first_ledger, other = forked
    people = People.__new__(People)
    people.url, people.ledger, people.now = first_ledger.url, first_ledger, first_ledger.events()[-1].recorded_at
    people.join("c-ben")
    world = make_world(tmp_path / "world", clips=4, people=people)
    with pytest.raises(ConsentViolation) as raised:
        ConsentGuard(world.manifest, world.snapshot_root, other.url).check()
    assert raised.value.reasons == {"*": ("ledger.rewritten",)}
