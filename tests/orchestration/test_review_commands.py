"""`rushes review` as a reviewer types it: the queue, the contact sheet, a walk through it, disputes and appeals."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.consent.clips import Clip, read_clips
from assets.home import Home
from assets.withdrawals.artifacts import forget_pages
from tests.training.consent.people import key_of
from tests.worlds import World, enrol_reviewers

HOSTILE = "</td><script>alert('x')</script> [bold]\x1b[31m&amp; "
Rushes = Callable[..., str]


@pytest.fixture
def world(home: Home) -> World:
    """One consented clip by c-1 that waits for people, with text from outside wherever text can be."""
    world = World(home)
    world.deliver("c-1", clips=1)
    item = world.tables["delivery_items"][0]
    item |= {"declared_subject": HOSTILE, "declared_location": HOSTILE, "device": HOSTILE}
    item["properties_json"] = json.dumps([{"owner_id": "o-villa", "what": HOSTILE}])
    item["persons_json"] = json.dumps([{"person_id": "p-bob", "identifiable": False, "minor": False}])
    failed = world.tables["verdicts"][0] | {"check": "aspect_ratio", "verdict": "fail", "severity": "quality"}
    world.tables["verdicts"].append(failed | {"reason": "spec.aspect", "detail": HOSTILE})
    world.settle(review=False)
    enrol_reviewers(home.database_url, "v-3")
    return world


@pytest.fixture
def rushes(rushes: Rushes, world: World, monkeypatch: pytest.MonkeyPatch) -> Rushes:
    """Types `rushes review ...` over the world's home; `opened` lists what went to the browser."""
    monkeypatch.setenv("RUSHES_HOME", str(world.home.state))
    monkeypatch.setenv("RUSHES_VENDOR", str(world.home.vendor))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    opened: list[str] = []

    def run(*arguments: str, **options: Any) -> str:
        return rushes("review", *arguments, **options)

    run.opened = opened  # type: ignore[attr-defined]
    return run


def clip(world: World) -> Clip:
    (clip,) = read_clips(world.home)
    return clip


def test_reviewers_are_enrolled_listed_and_retired(rushes: Rushes, world: World) -> None:
    assert "enrolled" in rushes("enrol", "v-9", "--organisation", "org-nine", "--by", "o-ida")
    assert "org-nine" in rushes("reviewers")
    assert "retired" in rushes("retire", "v-9")
    output = rushes("approve", clip(world).facts.clip_id[:12], "-r", "v-9", "--persons", "0", code=1)
    assert "rushes review enrol" in output


def test_the_queue_is_listed_and_text_from_outside_is_neither_markup_nor_control(rushes: Rushes, world: World) -> None:
    output = rushes("list")
    assert clip(world).facts.clip_id[:16] in output
    assert "OVERDUE" in output
    assert "[bold]" in output
    assert "\x1b[31m" not in output
    assert clip(world).facts.clip_id[:16] not in rushes("list", "--reviewer", "v-unknown")


def test_the_sheet_is_one_page_that_asks_for_nothing_and_runs_nothing(rushes: Rushes, world: World) -> None:
    path = Path(rushes("show", clip(world).facts.clip_id[:12], "--no-open").strip())
    page = path.read_text()
    assert rushes.opened == []  # type: ignore[attr-defined]
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    addresses = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\'\s>]+)', page)
    assert addresses
    assert all(address.startswith("data:image/webp;base64,") for address in addresses)
    assert path.stat().st_mode & 0o077 == 0


def test_the_sheet_shows_frames_by_number_and_time_who_agreed_and_every_earlier_reason(
    rushes: Rushes, world: World
) -> None:
    name = clip(world).facts.clip_id[:12]
    rushes("reject", name, "-r", "v-1", "--persons", "2", "--reason", "legal.privacy", "--reason", "quality.focus")
    rushes("show", name)
    (address,) = rushes.opened  # type: ignore[attr-defined]
    page = Path(address.removeprefix("file://")).read_text()
    assert page.count("<figure>") == 12
    assert "frame 0 · 0.000000 s" in page
    assert "frame 23 · 1.916667 s" in page
    for part in ("p-bob", "o-villa", "not released", "spec.aspect", "legal.privacy", "quality.focus", "rejected by 1"):
        assert part in page


def test_faces_are_boxed_where_a_detector_is(rushes: Rushes, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def __init__(self, model: Path) -> None: ...

        def boxes(self, rgb: Any) -> list[list[float]]:
            return [[0.1, 0.2, 0.3, 0.4, 0.9]]

    monkeypatch.setattr("assets.pages.stills.FaceFinder", Finder)
    monkeypatch.setattr("assets.home.Home.face_detector", Path(__file__))
    page = Path(rushes("show", clip(world).facts.clip_id[:12], "--no-open").strip()).read_text()
    assert page.count('style="left:10.00%;top:20.00%;width:30.00%;height:40.00%"') == 12
    assert "1 face" in page


def test_approvals_and_rejections_bind_what_the_sheet_showed(rushes: Rushes, world: World) -> None:
    name = clip(world).facts.clip_id[:12]
    page = Path(rushes("show", name, "--no-open").strip()).read_text()
    seen = re.search(r"--seen ([0-9a-f]{16})", page)[1]
    assert "approve" in rushes("approve", name, "-r", "v-1", "--persons", "0", "--seen", seen)
    world.tables["delivery_items"][0]["declared_subject"] = "something else"
    world.settle(review=False)
    output = rushes("approve", name, "-r", "v-2", "--persons", "0", "--seen", seen, code=1)
    assert "look at it again" in output
    assert clip(world).facts.approvals == 0


def test_whoever_has_a_part_in_the_clip_is_refused(rushes: Rushes, world: World) -> None:
    enrol_reviewers(world.home.database_url, "c-1", "p-bob", "o-villa")
    for reviewer in ("c-1", "p-bob", "o-villa"):
        output = rushes("approve", clip(world).facts.clip_id[:12], "-r", reviewer, "--persons", "0", code=1)
        assert "cannot judge" in output
    assert clip(world).reviews == ()


def test_an_unknown_reason_names_the_ones_near_it(rushes: Rushes, world: World) -> None:
    output = rushes("reject", clip(world).facts.clip_id[:12], "-r", "v-1", "--reason", "quality.focs", code=1)
    assert "quality.focus" in output


def test_people_have_to_be_counted_to_approve(rushes: Rushes, world: World) -> None:
    assert "--persons" in rushes("approve", clip(world).facts.clip_id[:12], "-r", "v-1", code=2)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a\n0\n0\n", [("approve", 0, 0, ())]),
        ("a\n2\n1\n", [("approve", 2, 1, ())]),
        ("r\nquality.focus, legal.privacy\n1\n0\n", [("reject", 1, 0, ("legal.privacy", "quality.focus"))]),
        ("r\n?\nquality.focus\n1\n0\n", [("reject", 1, 0, ("quality.focus",))]),
        ("r\nquality.nonsense\n1\n0\na\n0\n0\n", [("approve", 0, 0, ())]),  # not taken, asked again
        ("what\ns\n", []),
        ("q\n", []),
    ],
)
def test_a_walk_through_the_queue_asks_until_it_is_answered(
    rushes: Rushes, world: World, typed: str, expected: list[Any]
) -> None:
    rushes("next", "-r", "v-1", typed=typed)
    assert [(r.verdict, r.persons_counted, r.non_identifiable, r.reasons) for r in clip(world).reviews] == expected
    assert len(rushes.opened) == 1  # type: ignore[attr-defined]


def test_the_walk_offers_nothing_that_one_has_judged_or_may_not_judge(rushes: Rushes, world: World) -> None:
    rushes("next", "-r", "v-1", typed="a\n0\n0\n")
    assert "Nothing waits for you." in rushes("next", "-r", "v-1")
    assert "rushes review enrol" in rushes("next", "-r", "v-unknown", code=1)


def test_a_dispute_is_opened_listed_and_decided_by_somebody_else(rushes: Rushes, world: World, tmp_path: Path) -> None:
    name = clip(world).facts.clip_id[:12]
    key = tmp_path / "c-1.pem"
    key.write_bytes(_pem(key_of("c-1")))
    output = rushes("dispute", name, "--reason", "legal.privacy", "--party", "c-1", "--key", str(key))
    dispute_id = next(word for word in output.split() if word.startswith("dispute-"))
    assert dispute_id in rushes("disputes")
    assert "cannot decide" in rushes("adjudicate", dispute_id, "--outcome", "dismissed", "--officer", "c-1", code=1)
    assert "dismissed" in rushes("adjudicate", dispute_id, "--outcome", "dismissed", "--officer", "o-eli")
    assert dispute_id not in rushes("disputes")
    assert dispute_id in rushes("disputes", "--all")


def test_a_dispute_without_a_key_needs_an_officer_and_one_with_a_missing_key_names_it(
    rushes: Rushes, world: World, tmp_path: Path
) -> None:
    start = ("dispute", clip(world).facts.clip_id[:12], "--reason", "legal.privacy", "--party", "p-passer-by")
    assert "--platform" in rushes(*start, code=1)
    assert "officer" in rushes(*start, "--platform", code=1)
    assert "missing.pem" in rushes(*start, "--key", str(tmp_path / "missing.pem"), code=1)
    assert not (tmp_path / "missing.pem").exists()
    assert "held" in rushes(*start, "--platform", "--officer", "o-ida")


def test_during_a_walk_a_reviewer_can_object_for_somebody_in_the_picture(rushes: Rushes, world: World) -> None:
    rushes("next", "-r", "v-1", typed="d\np-passer-by\nlegal.privacy\n")
    listed = rushes("disputes")
    assert "p-passer-by" in listed
    assert "v-1" in listed


def test_a_contributor_is_told_every_reason_and_can_appeal(rushes: Rushes, world: World) -> None:
    name = clip(world).facts.clip_id[:12]
    rushes("reject", name, "-r", "v-1", "--reason", "legal.privacy", "--reason", "quality.focus")
    listed = rushes("reasons", name)
    for code in ("legal.privacy", "quality.focus", "spec.aspect", "legal.property_release", "review.rejected"):
        assert code in listed
    assert "v-1" not in listed
    assert "again" in rushes("appeal", name, "--contributor", "c-1")
    assert "appeal" in rushes("list")
    assert "fraud.stolen" in rushes("reasons")


@pytest.mark.parametrize("identity", ["", "zz", "0" * 64])
def test_a_clip_that_is_not_there_is_one_line(rushes: Rushes, world: World, identity: str) -> None:
    output = rushes("show", identity, "--no-open", code=1)
    assert "rushes review list" in output
    assert output.count("\n") == 1


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_pages_of_a_withdrawn_clip_are_removed_with_everything_else_made_of_it(rushes: Rushes, world: World) -> None:
    path = Path(rushes("show", clip(world).facts.clip_id[:12], "--no-open").strip())
    forget_pages(world.home, ["f" * 64])
    assert path.exists()
    forget_pages(world.home, [clip(world).facts.clip_id])
    assert not path.exists()


def test_pages_of_other_days_do_not_stay(rushes: Rushes, world: World) -> None:
    old = world.home.scratch("sheets") / "old.html"
    old.write_text("people")
    long_ago = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    os.utime(old, (long_ago, long_ago))
    rushes("show", clip(world).facts.clip_id[:12], "--no-open")
    assert not old.exists()
