"""What the sample world's people sign holds up before a real ledger."""

from __future__ import annotations

from assets.consent.admission import Rule
from assets.consent.intake import Admitted
from assets.consent.platform import platform_ledger
from assets.home import Home
from orchestration.demo.deliveries import DELIVERIES, Delivery
from orchestration.demo.people import FORGED_PERSON, People, enrol_everybody, grants
from training.consent.canonical import sha256_hex
from training.consent.state import ConsentState
from training.consent.times import parse_time

NOW = parse_time("2026-11-07T00:00:00Z")


def digests(delivery: Delivery) -> dict[str, str]:
    return {clip.file: sha256_hex(f"{delivery.delivery_id}/{clip.file}") for clip in delivery.clips}


def test_a_ledger_admits_everything_that_enrolled_people_signed_and_nothing_that_was_forged(home: Home) -> None:
    enrol_everybody(home)
    ledger, people = platform_ledger(home), People.of(home)
    forged = []
    for delivery in DELIVERIES:
        for envelope in people.papers(delivery, digests(delivery)):
            outcome = ledger.append(envelope, NOW)
            assert isinstance(outcome, Admitted) is (envelope["body"]["party_id"] != FORGED_PERSON), envelope["body"]
            forged += [] if isinstance(outcome, Admitted) else [outcome.rule]
    assert forged == [Rule.KEY_NOT_ENROLLED, Rule.UNKNOWN_KEY]


def test_enrolling_everybody_again_changes_nothing(home: Home) -> None:
    assert enrol_everybody(home) == len({delivery.contributor_id for delivery in DELIVERIES})
    head = platform_ledger(home).head()
    assert enrol_everybody(home) == 0
    assert platform_ledger(home).head() == head


def test_the_withdrawal_in_a_later_delivery_ends_the_consent_of_an_earlier_one(home: Home) -> None:
    enrol_everybody(home)
    ledger, people = platform_ledger(home), People.of(home)
    for delivery in DELIVERIES:
        ledger.append_many(people.papers(delivery, digests(delivery)), NOW)
    consents = ConsentState.fold(ledger.events()).by_party["c-sigrun"]
    revoked = {consent_id for consent_id, consent in consents.items() if consent.revoked_from is not None}
    assert revoked == {"consent-d-eruption-slope"}
    assert len(consents) == 3


def test_signing_the_same_delivery_twice_gives_the_same_envelopes(home: Home) -> None:
    delivery = DELIVERIES[0]
    first, second = (People.of(home).papers(delivery, digests(delivery)) for _ in range(2))
    assert first == second


def test_two_homes_have_different_keys(home: Home, tmp_path) -> None:
    delivery, other = DELIVERIES[0], Home.local(tmp_path / "other")
    first, second = (People.of(h).papers(delivery, digests(delivery))[0]["key_id"] for h in (home, other))
    assert first != second


def test_private_keys_are_readable_by_their_owner_only(home: Home) -> None:
    People.of(home).papers(DELIVERIES[0], digests(DELIVERIES[0]))
    folder = home.state / "demo_people"
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*.key"))


def test_every_clip_but_the_one_without_consent_is_granted_once() -> None:
    for delivery in DELIVERIES:
        granted = sorted(clip.file for clips in grants(delivery).values() for clip in clips)
        assert granted == sorted(clip.file for clip in delivery.clips if clip.consent)
    assert [clip.file for d in DELIVERIES for clip in d.clips if not clip.consent] == ["ash.mp4"]
