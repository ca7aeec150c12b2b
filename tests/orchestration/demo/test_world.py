"""The sample world is complete, the same every time, and says where its footage comes from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from assets.home import Home
from assets.ingestion.delivery_items import item_id
from assets.ingestion.manifests import manifest_reasons
from assets.requests.parse import parse_line
from assets.requests.store import list_requests
from orchestration.demo.deliveries import DELIVERIES, REQUESTS
from orchestration.demo.footage import CUTS
from orchestration.demo.story import CASES, outcome
from orchestration.demo.world import build_world, manifest


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


def inbox(home: Home) -> dict[str, tuple[str, int]]:
    """Digest and time of change of every file in the inbox."""
    paths = {key: home.store.fetch(key) for key in home.store.list("inbox")}
    return {key: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for key, p in paths.items()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Home:
    vendor = Path(__file__).resolve().parents[3] / ".vendor"
    if not (vendor / "footage").is_dir():
        pytest.skip("the sample footage is not there; `python -m orchestration.demo.fetch` brings it")
    home = Home.local(tmp_path_factory.mktemp("world"), vendor=vendor)
    build_world(home)
    return home


@pytest.mark.slow
def test_building_the_world_again_changes_nothing(built: Home) -> None:
    before, requests = inbox(built), list_requests(built.database_url)
    build_world(built)
    assert inbox(built) == before
    assert list_requests(built.database_url) == requests
    assert not any(built.scratch("sample-world").iterdir())


@pytest.mark.slow
def test_a_broken_off_delivery_is_completed_and_its_files_are_the_same(built: Home) -> None:
    before = inbox(built)
    key = "inbox/2026-11-05/d-park/delivery.json"
    for name in ("delivery.json", "sun.mp4"):
        built.store.delete(key.replace("delivery.json", name))
    build_world(built)
    assert {k: digest for k, (digest, _) in inbox(built).items()} == {k: digest for k, (digest, _) in before.items()}


@pytest.mark.slow
def test_each_delivery_carries_its_files_its_papers_and_a_manifest(built: Home) -> None:
    for delivery in DELIVERIES:
        folder = f"inbox/{delivery.day}/{delivery.delivery_id}"
        names = {key.removeprefix(f"{folder}/") for key in built.store.list(folder)}
        assert names == {clip.file for clip in delivery.clips} | {"consent/events.json", "delivery.json"}


@pytest.mark.slow
def test_no_private_key_reaches_the_inbox(built: Home) -> None:
    for key in built.store.list("inbox"):
        assert b"PRIVATE KEY" not in built.store.get(key)
