"""Invariants of consent itself: I1 who enters a snapshot, I2 people in the picture, I3 minors, I7 what the ledger takes,
I18 that withdrawing is no harder than granting."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from assets.consent.admission import Rule
from assets.consent.intake import Admitted, Refused
from assets.consent.ledger import Ledger
from assets.dataset.snapshot import build
from tests.training.consent.people import FILE, People, clip, key_of
from training.consent import events as ev
from training.consent.eligibility import ClipFacts, Person, eligible
from training.consent.events import PLATFORM
from training.consent.state import ConsentState

# -- I1: no clip enters a snapshot unless consent covers it at as_of and at the horizon, on the sealed prefix ------------


def test_i01_only_clips_whose_consent_covers_purpose_place_and_window_are_sealed_whatever_the_mart_offers(
    world: Any,
) -> None:
    now = datetime.now(UTC)
    good = [clip_id for name in ("c-1", "c-2", "c-3", "c-4") for clip_id in world.deliver(name, clips=1)]
    terms: dict[str, dict[str, Any]] = {
        "c-ends": {"expires_at": now + timedelta(days=10)},  # covers as_of, but not the horizon
        "c-scope": {"scopes": ("review", "eval")},
        "c-place": {"territories": ("BE",)},  # the snapshot is for everywhere
        "c-whom": {"recipients": ("r-lab",)},  # and for everybody
        "c-later": {"effective_at": now + timedelta(days=2)},
    }
    for name, term in terms.items():
        (made,) = world.deliver(name, clips=1, consent=False)
        world.grant(made, name, **term)
    world.deliver("c-none", clips=1, consent=False)
    (revoked,), (disputed,) = world.deliver("c-gone", clips=1), world.deliver("c-held", clips=1)
    everything = [row["clip_id"] for row in world.tables["shots"]]
    world.settle()
    world.revoke(revoked)
    held = ev.dispute("c-held", [disputed], "legal.privacy", datetime.now(UTC))
    world._append("c-held", held, datetime.now(UTC))
    world.write_mart(forced=everything)  # an edited mart offers them all

    built = build(world.home, datetime.now(UTC))
    assert sorted(built.sealed.clip_ids) == sorted(good)
    assert {row.clip_id for row in built.excluded} == set(everything) - set(good)
    manifest = built.sealed.manifest
    prefix = ConsentState.fold(world.ledger.events(upto=manifest["ledger"]["size"]))
    for moment in (manifest["at"], manifest["until"]):
        for member in built.sealed.members:
            assert eligible(ClipFacts.from_dict(member["facts"]), "train", moment, moment, prefix).eligible


# -- I2: nobody is seen beyond the released and those whom two reviewers call unidentifiable -----------------------------

RELEASED, UNRELEASED = ("p-1", "p-2"), ("p-3", "p-4")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[ConsentState, datetime]:
    people = People(f"sqlite:///{tmp_path_factory.mktemp('i02') / 'rushes.db'}", "c-ann", *RELEASED, *UNRELEASED)
    people.grant("c-ann")
    for name in RELEASED:
        people.grant(name, "depicted")
    return ConsentState.fold(people.ledger.events()), people.now


@given(
    names=st.sets(st.sampled_from([*RELEASED, *UNRELEASED])),
    faces=st.none() | st.integers(0, 5),
    counted=st.none() | st.integers(0, 5),
    unidentifiable=st.integers(0, 3),
)
def test_i02_a_clip_shows_no_more_people_than_are_released_or_unidentifiable(
    released: tuple[ConsentState, datetime],
    names: set[str],
    faces: int | None,
    counted: int | None,
    unidentifiable: int,
) -> None:
    state, now = released
    seen = {"faces_max": faces, "persons_counted": counted, "non_identifiable": unidentifiable}
    decision = eligible(clip(persons=tuple(map(Person, sorted(names))), **seen), "train", now, now, state)
    everybody = max(faces or 0, counted or 0)
    unknown = faces is None or counted is None  # unmeasured never passes
    may = not unknown and names <= set(RELEASED) and everybody <= len(names) + unidentifiable
    assert decision.eligible == may, decision.reasons


# -- I3: a minor needs a guardian, and the separate scope ----------------------------------------------------------------


def kid(minor: bool = True) -> ClipFacts:
    return clip(persons=(Person("m-kid", minor=minor),), faces_max=1, persons_counted=1)


def reasons(people: People, facts: ClipFacts, purpose: str = "train") -> tuple[str, ...]:
    state = ConsentState.fold(people.ledger.events())
    return eligible(facts, purpose, people.now, people.now, state).reasons


def test_i03_a_minors_own_release_is_none(people: People) -> None:
    people.grant("c-ann")
    people.grant("m-kid", "depicted", scopes=["train", "train_minor"])
    assert reasons(people, kid()) == ("legal.minor_no_guardian", "legal.missing_model_release")


def test_i03_only_an_appointed_guardian_signs_and_only_the_separate_scope_lets_a_minor_be_trained_on(
    people: People,
) -> None:
    people.grant("c-ann", scopes=["train", "eval"])
    signed = {"actor": "g-eve", "notice_sha256": "a" * 64, "terms_sha256": "b" * 64}
    stranger = ev.grant("m-kid", "guardian", [FILE], ["train", "train_minor"], people.now, **signed)
    refused = people.append(stranger, "g-eve")
    assert isinstance(refused, Refused)
    assert refused.rule is Rule.ACTING_FOR
    people.appoint("m-kid", "g-eve")
    people.grant("m-kid", "guardian", scopes=["train", "eval"], actor="g-eve")
    assert "legal.minor_no_guardian" in reasons(people, kid())
    assert reasons(people, kid(), "eval") == ()  # the separate scope is for what puts a minor into a model
    people.grant("m-kid", "guardian", scopes=["train_minor"], actor="g-eve")
    assert reasons(people, kid()) == ()


def test_i03_whoever_has_a_guardian_is_a_minor_whatever_a_delivery_says(people: People) -> None:
    people.grant("c-ann")
    people.appoint("m-kid", "g-eve")
    people.grant("m-kid", "depicted")
    assert "legal.minor_no_guardian" in reasons(people, kid(minor=False))


# -- I7: what the ledger takes -------------------------------------------------------------------------------------------

GRANT: dict[str, Any] = {"notice_sha256": "a" * 64, "terms_sha256": "b" * 64}


def _by_another_key(people: People) -> ev.Envelope:
    return ev.sign(ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **GRANT), key_of("x-mal"))


def _by_nobodys_key(people: People) -> ev.Envelope:
    return ev.sign(ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **GRANT), key_of("nobody"))


def _edited(people: People) -> ev.Envelope:
    envelope = ev.sign(ev.grant("c-ann", "contributor", [FILE], ["eval"], people.now, **GRANT), key_of("c-ann"))
    return {**envelope, "body": {**envelope["body"], "scopes": ["train"]}}


def _without_domain(people: People) -> ev.Envelope:
    from training.consent.canonical import canonical
    from training.consent.keys import sign_bytes

    envelope = ev.sign(ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **GRANT), key_of("c-ann"))
    return {**envelope, "sig": sign_bytes(b"another/domain", canonical(envelope["body"]), key_of("c-ann"))}


def _from_the_future(people: People) -> ev.Envelope:
    issued = people.now + timedelta(minutes=6)
    return ev.sign(ev.grant("c-ann", "contributor", [FILE], ["train"], issued, **GRANT), key_of("c-ann"))


def _same_event_id(people: People) -> ev.Envelope:
    body = ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, event_id="taken", **GRANT)
    people.append(ev.grant("p-bob", "depicted", [FILE], ["train"], people.now, event_id="taken", **GRANT), "p-bob")
    return ev.sign(body, key_of("c-ann"))


def _stale_amendment(people: People) -> ev.Envelope:
    first = people.grant("c-ann")
    people.append(ev.amend(first, people.now, scopes=["eval"]), "c-ann")
    return ev.sign(ev.amend(first, people.now, scopes=["train", "redistribute"]), key_of("c-ann"))


def _with_a_revoked_key(people: People) -> ev.Envelope:
    from tests.training.consent.people import key_id

    people.append(ev.revoke_key("c-ann", key_id("c-ann"), people.now), "c-ann")
    return ev.sign(ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **GRANT), key_of("c-ann"))


def _for_another(people: People) -> ev.Envelope:
    body = ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, actor="x-mal", **GRANT)
    return ev.sign(body, key_of("x-mal"))


@pytest.mark.parametrize(
    ("forge", "rule"),
    [
        (_by_another_key, Rule.KEY_OWNER),
        (_by_nobodys_key, Rule.UNKNOWN_KEY),
        (_edited, Rule.SIGNATURE),
        (_without_domain, Rule.SIGNATURE),
        (_from_the_future, Rule.FUTURE),
        (_same_event_id, Rule.EVENT_ID_REUSED),
        (_stale_amendment, Rule.PREV),
        (_with_a_revoked_key, Rule.KEY_REVOKED),
        (_for_another, Rule.ACTING_FOR),
    ],
)
def test_i07_what_is_not_signed_bound_new_and_in_time_changes_nothing_and_is_kept(
    people: People, forge: Any, rule: Rule
) -> None:
    envelope = forge(people)
    before, refusals = people.ledger.head(), len(people.ledger.refusals())
    outcome = people.ledger.append(envelope, people.now)
    assert isinstance(outcome, Refused)
    assert outcome.rule is rule
    assert people.ledger.head() == before
    assert [row["rule"] for row in people.ledger.refusals()][refusals:] == [rule.value]


def test_i07_the_same_envelope_again_is_the_same_event(people: People) -> None:
    envelope = ev.sign(ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **GRANT), key_of("c-ann"))
    first = people.ledger.append(envelope, people.now)
    again = people.ledger.append(envelope, people.now + timedelta(days=1))
    assert isinstance(first, Admitted)
    assert isinstance(again, Admitted)
    assert (again.seq, again.already) == (first.seq, True)
    assert Ledger(people.url).size() == first.seq + 1


# -- I18: withdrawing is no harder than granting -------------------------------------------------------------------------


def _parameters(name: str) -> dict[str, Any]:
    from orchestration.commands.consent import app

    command = typer.main.get_command(app)
    group = command.commands[name]  # type: ignore[attr-defined]
    return {parameter.name: parameter for parameter in group.params}


def test_i18_withdrawing_asks_for_no_more_than_granting_does() -> None:
    def demanded(name: str) -> set[str]:
        return {name for name, parameter in _parameters(name).items() if parameter.required}

    assert len(demanded("revoke")) <= len(demanded("grant"))
    assert demanded("revoke") == {"consent_id"}


def test_i18_withdrawing_knows_no_reason_confirmation_or_waiting() -> None:
    asked = {word for name in _parameters("revoke") for word in name.split("_")}
    assert not asked & {"reason", "reasons", "why", "confirm", "yes", "after", "notice", "at"}
    assert not any(parameter.prompt for parameter in _parameters("revoke").values() if hasattr(parameter, "prompt"))
    assert "reason" not in inspect.signature(ev.revoke).parameters


def test_i18_a_withdrawal_says_who_and_what_and_acts_at_once(people: People) -> None:
    body = people.grant("c-ann")
    withdrawal = ev.revoke(body["consent_id"], "c-ann", "contributor", people.now)
    assert set(withdrawal) < set(body)  # fewer fields than a grant has, and none of its own
    assert reasons(people, clip()) == ()
    assert isinstance(people.append(withdrawal, "c-ann"), Admitted)
    assert reasons(people, clip()) == ("consent.revoked",)


def test_i18_who_has_lost_the_key_withdraws_through_the_platform(people: People) -> None:
    body = people.grant("c-ann")
    withdrawal = ev.revoke(body["consent_id"], "c-ann", "contributor", people.now, actor=PLATFORM)
    assert isinstance(people.append(withdrawal, PLATFORM), Admitted)
    assert reasons(people, clip()) == ("consent.revoked",)
