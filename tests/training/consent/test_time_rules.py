"""What events mean over time: nothing is backdated, nothing is postponed, and arrival order does not matter in the end."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.consent import intake
from assets.consent.admission import Register, judge
from assets.consent.intake import Admitted
from tests.training.consent.people import FILE, NOTICE, NOW, TERMS, People, clip, key_of
from training.consent import events as ev
from training.consent.eligibility import decision_window, eligible
from training.consent.events import PLATFORM, Event
from training.consent.state import ConsentState
from training.consent.times import SKEW, parse_time, shifted, time_text

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def _grant(at: datetime = NOW, **more: object) -> ev.Body:
    given_: dict = {"scopes": ["train"], "assets": [FILE], "notice_sha256": NOTICE, "terms_sha256": TERMS} | more
    return ev.grant("c-ann", "contributor", issued_at=at, consent_id="consent-1", **given_)


def _state(*recorded: tuple[ev.Body, datetime]) -> ConsentState:
    return ConsentState.fold(Event(seq, at, body, "k", "") for seq, (body, at) in enumerate(recorded))


def _allowed(state: ConsentState, at: datetime, until: datetime | None = None) -> bool:
    return eligible(clip(), "train", at, until or at, state).eligible


def _reasons(state: ConsentState, at: datetime, until: datetime | None = None) -> tuple[str, ...]:
    return eligible(clip(), "train", at, until or at, state).reasons


def test_a_grant_acts_from_its_record_even_when_backdated() -> None:
    state = _state((_grant(effective_at=NOW - 30 * DAY), NOW))
    assert _reasons(state, NOW - HOUR) == ("consent.not_yet",)
    assert _allowed(state, NOW)


def test_a_grant_for_later_acts_later() -> None:
    state = _state((_grant(effective_at=NOW + DAY), NOW))
    assert _reasons(state, NOW) == ("consent.not_yet",)
    assert _allowed(state, NOW + DAY)


def test_a_window_that_starts_before_the_grant_is_not_covered() -> None:
    assert _reasons(_state((_grant(), NOW)), NOW - HOUR, NOW + HOUR) == ("consent.not_yet",)


def _revoked(effective_at: datetime, recorded: datetime) -> ConsentState:
    revocation = ev.revoke("consent-1", "c-ann", "contributor", recorded, effective_at=effective_at)
    return _state((_grant(), NOW), (revocation, recorded))


def test_a_post_dated_revocation_acts_at_once() -> None:
    assert _reasons(_revoked(NOW + 30 * DAY, NOW + DAY), NOW + DAY) == ("consent.revoked",)


def test_a_back_dated_revocation_acts_from_its_claimed_time() -> None:
    state = _revoked(NOW + HOUR, NOW + DAY)
    assert _allowed(state, NOW, NOW + HOUR - timedelta(seconds=1))
    assert _reasons(state, NOW + 2 * HOUR) == ("consent.revoked",)


def test_a_revocation_within_the_horizon_blocks_the_whole_window() -> None:
    state = _revoked(NOW + 2 * DAY, NOW + 2 * DAY)
    assert _reasons(state, NOW, NOW + 30 * DAY) == ("consent.revoked",)


def test_expiry_is_exclusive_and_earlier_by_the_clocks_allowance() -> None:
    ends = NOW + 10 * DAY
    state = _state((_grant(expires_at=ends), NOW))
    assert _allowed(state, NOW, ends - SKEW - timedelta(seconds=1))
    assert _reasons(state, NOW, ends - SKEW) == ("consent.expires",)


def test_consent_that_ends_within_the_horizon_does_not_cover_it() -> None:
    assert _reasons(_state((_grant(expires_at=NOW + 10 * DAY), NOW)), NOW, NOW + 30 * DAY) == ("consent.expires",)


def test_an_extension_that_comes_after_the_end_leaves_a_gap() -> None:
    grant = _grant(expires_at=NOW + 2 * DAY)
    late = ev.amend(grant, NOW + 3 * DAY, expires_at=None)
    in_time = ev.amend(grant, NOW + DAY, expires_at=None)
    assert _reasons(_state((grant, NOW), (late, NOW + 3 * DAY)), NOW, NOW + 5 * DAY) == ("consent.expires",)
    assert _allowed(_state((grant, NOW), (in_time, NOW + DAY)), NOW, NOW + 5 * DAY)


def test_narrowing_acts_from_its_record_on() -> None:
    grant = _grant()
    state = _state((grant, NOW), (ev.amend(grant, NOW + DAY, scopes=["eval"]), NOW + DAY))
    assert _allowed(state, NOW, NOW + DAY - timedelta(seconds=1))
    assert _reasons(state, NOW, NOW + 2 * DAY) == ("consent.scope",)


def test_widening_does_not_reach_back() -> None:
    grant = _grant(scopes=["eval"])
    state = _state((grant, NOW), (ev.amend(grant, NOW + DAY, scopes=["train"], effective_at=time_text(NOW)), NOW + DAY))
    assert _reasons(state, NOW, NOW + 2 * DAY) == ("consent.scope",)
    assert _allowed(state, NOW + DAY)


def test_a_new_grant_does_not_cover_the_gap_after_a_revocation() -> None:
    revocation = ev.revoke("consent-1", "c-ann", "contributor", NOW + DAY)
    again = _grant(NOW + 2 * DAY) | {"consent_id": "consent-2", "event_id": "event-again"}
    state = _state((_grant(), NOW), (revocation, NOW + DAY), (again, NOW + 2 * DAY))
    assert _allowed(state, NOW + 2 * DAY, NOW + 30 * DAY)
    assert not _allowed(state, NOW, NOW + 30 * DAY)
    assert not _allowed(state, NOW + DAY)


def _delivered(events: list[ev.Body], clocks: list[int]) -> ConsentState:
    """The state after the ledger's rules judged these events in this order, recorded at these minutes."""
    register, recorded = Register(), []
    key = key_of("c-ann")
    for actor in (PLATFORM, "c-ann"):
        register.record(ev.sign(ev.register_key(actor, key_of(actor), NOW), key_of(actor)))
    for body, minute in zip(events, clocks, strict=True):
        envelope, at = ev.sign(body, key), NOW + timedelta(minutes=minute)
        if judge(register, envelope, at) is None:
            register.record(envelope)
            recorded.append((body, at))
    return _state(*recorded)


_THREE = [
    grant_ := _grant(),
    ev.amend(grant_, NOW, scopes=["eval", "train"]),
    ev.revoke("consent-1", "c-ann", "contributor", NOW),
]


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_once_the_revocation_arrived_every_order_ends_in_no(order: tuple[int, ...]) -> None:
    state = _delivered([_THREE[index] for index in order], [1, 2, 3])
    for at in (NOW + timedelta(minutes=3), NOW + DAY, NOW + 365 * DAY):
        assert not _allowed(state, at)


OFFSETS = st.integers(-10_000, 10_000)


@given(
    st.permutations(range(5)),
    st.lists(OFFSETS, min_size=5, max_size=5),
    st.lists(st.integers(0, 500), min_size=5, max_size=5),
    st.data(),
)
def test_revocation_is_absorbing_whatever_the_order_clocks_and_repeats(
    order: list[int], claimed: list[int], clocks: list[int], data: st.DataObject
) -> None:
    when = [time_text(NOW + timedelta(minutes=minutes)) for minutes in claimed]
    grant = _grant() | {"effective_at": when[0]}
    first = ev.amend(grant, NOW, effective_at=when[1], scopes=["train", "eval"])
    second = ev.amend(first, NOW, effective_at=when[2], expires_at=None)
    revocation = ev.revoke("consent-1", "c-ann", "contributor", NOW) | {"effective_at": when[3]}
    again = _grant() | {"event_id": "event-again", "effective_at": when[4]}
    events = [[grant, first, second, revocation, again][index] for index in order]
    repeats = data.draw(st.lists(st.sampled_from(events), max_size=3))
    times = sorted([*clocks, *(500 for _ in repeats)])
    state = _delivered([*events, *repeats], times)
    last = NOW + timedelta(minutes=max(times))
    later = data.draw(st.integers(0, 10_000))
    assert not _allowed(state, last + timedelta(minutes=later))


@given(st.lists(st.tuples(st.integers(0, 2), OFFSETS, OFFSETS), max_size=6), st.integers(0, 900), st.integers(0, 900))
def test_a_yes_for_a_window_is_a_yes_at_every_moment_in_it(
    history: list[tuple[int, int, int]], start: int, length: int
) -> None:
    """Windows are no weaker than their moments, over generated histories of grants, amendments and expiries."""
    recorded: list[tuple[ev.Body, datetime]] = []
    for minute, (kind, effective, expires) in enumerate(history):
        at = NOW + timedelta(minutes=100 * minute)
        base = recorded[-1][0] if recorded else _grant()
        scopes = ["train"] if kind < 2 else ["eval"]
        end = time_text(at + timedelta(minutes=expires)) if kind == 1 else None
        claimed = time_text(at + timedelta(minutes=effective))
        body = base | {"type": "amend", "scopes": scopes, "expires_at": end, "effective_at": claimed}
        recorded.append((body, at))
    state = _state(*recorded)
    at, until = NOW + timedelta(minutes=start), NOW + timedelta(minutes=start + length)
    moments = {at, until, *(at + (until - at) * step / 7 for step in range(8))}
    moments |= {t for body, when in recorded for t in (when, parse_time(body["effective_at"])) if at <= t <= until}
    moments |= {parse_time(b["expires_at"]) for b, _ in recorded if b["expires_at"]} & moments
    if _allowed(state, at, until):
        assert all(_allowed(state, moment) for moment in moments)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_times_read_back(moment: datetime) -> None:
    text = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert time_text(parse_time(text)) == text


@pytest.mark.parametrize(
    "text", ["2026-11-02", "2026-11-02T08:00:00", "2026-11-02T08:00:00+01:00", "2026-02-30T00:00:00Z", ""]
)
def test_a_time_without_utc_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


# what a ledger may hold from before times had bounds
YEARS = ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.5Z", "2150-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]


@pytest.mark.parametrize("text", YEARS)
def test_a_ledger_from_before_times_had_bounds_is_read_judged_and_verified(
    people: People, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(intake, "judge_times", lambda body, now: None)
    terms = {"scopes": ["train"], "assets": ["7" * 64], "notice_sha256": NOTICE, "terms_sha256": TERMS}
    for name in ("issued_at", "effective_at", "expires_at")[text > "2027" :]:
        odd = ev.grant("c-ann", "contributor", issued_at=people.now, **terms) | {name: text}
        assert isinstance(people.append(odd, "c-ann"), Admitted)
    revoked = ev.revoke(odd["consent_id"], "c-ann", "contributor", people.now) | {"effective_at": text}
    assert isinstance(people.append(revoked, "c-ann"), Admitted)
    held = ev.dispute("p-bob", ["7" * 64], "legal.privacy", people.now) | {"effective_at": text}
    assert isinstance(people.append(held, "p-bob"), Admitted)
    people.grant("c-ann")
    people.ledger.verify(1)
    at, until = decision_window(people.ledger.head(), people.now)
    state = ConsentState.fold(people.ledger.events())
    assert eligible(clip(), "train", at, until, state).eligible
    assert not eligible(clip(bytes_sha256="7" * 64), "train", at, until, state).eligible


@pytest.mark.parametrize("last", [datetime(2150, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_a_clock_that_leapt_once_keeps_nobody_from_withdrawing(people: People, last: datetime) -> None:
    body = people.grant("c-ann")
    people.append(
        ev.grant("p-bob", "depicted", ["7" * 64], ["train"], people.now, notice_sha256=NOTICE, terms_sha256=TERMS),
        "p-bob",
        last,
    )
    assert isinstance(people.revoke(body), Admitted)
    people.ledger.verify(1)
    at, until = decision_window(people.ledger.head(), people.now)
    state = ConsentState.fold(people.ledger.events())
    assert eligible(clip(), "train", at, until, state).reasons == ("consent.revoked",)
    assert people.ledger.ending_between(people.now, shifted(at, SKEW)) == set()
