"""The sample world is complete and the same every time; its files are damaged, and its people sign, as each case needs."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from assets.consent.admission import Rule
from assets.consent.intake import Admitted
from assets.consent.platform import platform_ledger
from assets.home import Home
from assets.ingestion.delivery_items import item_id
from assets.ingestion.manifests import manifest_reasons
from assets.requests.parse import parse_line
from orchestration.demo.deliveries import CASES, CUTS, DELIVERIES, REQUESTS, Delivery
from orchestration.demo.footage import DamageError, overdeclared, truncated
from orchestration.demo.people import FORGED_PERSON, People, enrol_everybody, grants
from orchestration.demo.story import outcome
from orchestration.demo.world import manifest
from training.consent.canonical import sha256_hex
from training.consent.state import ConsentState
from training.consent.times import parse_time
from training.data.video import write_mp4

NOW = parse_time("2026-11-07T00:00:00Z")


@pytest.mark.parametrize("delivery", DELIVERIES, ids=lambda delivery: delivery.delivery_id)
def test_every_manifest_is_as_the_schema_wants_it(delivery) -> None:
    assert manifest_reasons(json.loads(json.dumps(manifest(delivery)))) == []


def test_every_filmed_or_drawn_clip_shows_its_source_and_licence() -> None:
    for delivery in DELIVERIES:
        for clip, declared in zip(delivery.clips, manifest(delivery)["clips"], strict=True):
            assert (clip.cut is None and clip.scene is None) or declared["source"]["licence"], clip.file


def test_people_who_could_be_recognised_are_only_in_clips_that_must_be_blocked() -> None:
    blocked = {case.clip for case in CASES}
    for delivery in DELIVERIES:
        for clip in delivery.clips:
            assert not clip.identifiable or f"{delivery.delivery_id}/{clip.file}" in blocked


def test_every_case_is_a_delivered_clip() -> None:
    delivered = {
        f"{d.delivery_id}/{clip.file}": item_id(d.delivery_id, n) for d in DELIVERIES for n, clip in enumerate(d.clips)
    }
    assert {case.clip: case.item_id for case in CASES}.items() <= delivered.items()


def test_the_world_is_as_large_as_the_demonstration_needs() -> None:
    cases = {case.clip for case in CASES}
    good = [c for d in DELIVERIES for c in d.clips if f"{d.delivery_id}/{c.file}" not in cases]
    assert sum(clip.cut is not None for clip in good) >= 25
    assert sum(clip.scene is not None for clip in good) >= 40
    assert len({d.contributor_id for d in DELIVERIES}) >= 6
    assert len({d.day for d in DELIVERIES}) == 5
    assert len({d.request_id for d in DELIVERIES} - {None}) >= 4


def test_a_withdrawal_comes_after_what_it_withdraws() -> None:
    received = {d.delivery_id: d for d in DELIVERIES}
    withdrawn = [(d, clip) for d in DELIVERIES for clip in d.clips if clip.revoked_by]
    assert withdrawn
    for delivery, clip in withdrawn:
        later = received[clip.revoked_by]
        assert later.received_at > delivery.received_at
        assert later.contributor_id == delivery.contributor_id


@pytest.mark.parametrize(("request_id", "asked"), REQUESTS.items(), ids=list(REQUESTS))
def test_every_request_is_understood_whole(request_id: str, asked: tuple[str, str]) -> None:
    parsed = parse_line(asked[1]).checked()
    assert parsed.not_understood == ()
    assert parsed.spec.subject
    assert request_id in {delivery.request_id for delivery in DELIVERIES}


def test_cuts_have_even_sides_and_keep_the_pictures_shape() -> None:
    for cut in CUTS.values():
        assert cut.end > cut.start
        assert all(side % 2 == 0 for side in cut.size)
        x, y, w, h = cut.crop
        for left, top in ((x, y), cut.to or (x, y)):
            assert left >= 0
            assert top >= 0
            assert left + w <= 1 + 1e-9
            assert top + h <= 1 + 1e-9


def test_a_case_without_rows_has_not_ended_as_expected(home: Home) -> None:
    ended = outcome(home.lake, CASES[0])
    assert not ended.as_expected
    assert ended.rows == "no row in media"


# -- damaged files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def film(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (24, 96, 128, 3), dtype=np.uint8)
    return write_mp4(tmp_path / "film.mp4", noise, 12)


def test_an_overdeclared_file_is_whole_and_promises_twice_its_frames(film: Path) -> None:
    film.write_bytes(overdeclared(film.read_bytes()))
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert stream.frames == 48
        assert len(list(container.decode(stream))) == 24


def test_a_truncated_file_opens_and_its_first_frames_decode(film: Path) -> None:
    film.write_bytes(truncated(film.read_bytes()))
    decoded = 0
    with av.open(str(film)) as container:
        assert container.streams.video[0].frames == 24
        for packet in container.demux(video=0):
            try:
                decoded += len(packet.decode())
            except av.FFmpegError:
                break
    assert 0 < decoded < 24


@pytest.mark.parametrize("damage", [truncated, overdeclared])
def test_what_is_no_mp4_cannot_be_damaged_on_purpose(damage) -> None:
    with pytest.raises(DamageError):
        damage(b"not a film at all")


# -- what people sign -------------------------------------------------------------------------------------------------


def digests(delivery: Delivery) -> dict[str, str]:
    return {clip.file: sha256_hex(f"{delivery.delivery_id}/{clip.file}") for clip in delivery.clips}


def test_a_ledger_admits_everything_that_enrolled_people_signed_and_nothing_that_was_forged(home: Home) -> None:
    enrol_everybody(home)
    ledger, people = platform_ledger(home), People(home)
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
    ledger, people = platform_ledger(home), People(home)
    for delivery in DELIVERIES:
        ledger.append_many(people.papers(delivery, digests(delivery)), NOW)
    consents = ConsentState.fold(ledger.events()).by_party["c-sigrun"]
    revoked = {consent_id for consent_id, consent in consents.items() if consent.revoked_from is not None}
    assert revoked == {"consent-d-eruption-slope"}
    assert len(consents) == 3


def test_signing_the_same_delivery_twice_gives_the_same_envelopes(home: Home) -> None:
    delivery = DELIVERIES[0]
    first, second = (People(home).papers(delivery, digests(delivery)) for _ in range(2))
    assert first == second


def test_two_homes_have_different_keys(home: Home, tmp_path) -> None:
    delivery, other = DELIVERIES[0], Home.local(tmp_path / "other")
    first, second = (People(h).papers(delivery, digests(delivery))[0]["key_id"] for h in (home, other))
    assert first != second


def test_private_keys_are_readable_by_their_owner_only(home: Home) -> None:
    People(home).papers(DELIVERIES[0], digests(DELIVERIES[0]))
    folder = home.state / "demo_people"
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*.key"))


def test_every_clip_but_the_one_without_consent_is_granted_once() -> None:
    for delivery in DELIVERIES:
        granted = sorted(clip.file for clips in grants(delivery).values() for clip in clips)
        assert granted == sorted(clip.file for clip in delivery.clips if clip.consent)
    assert [clip.file for d in DELIVERIES for clip in d.clips if not clip.consent] == ["ash.mp4"]
