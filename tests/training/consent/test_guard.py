"""The snapshot's seal and the training process's own refusal: each holds when everything before it was bypassed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.consent.ledger import Ledger
from tests.training.consent.people import CLIP, FILE, People, clip
from training.consent import events as ev
from training.consent.eligibility import Person, decision_window, eligible
from training.consent.guard import ConsentGuard, ConsentViolation
from training.consent.snapshot import SnapshotError, members_root, seal, verify_manifest
from training.consent.state import ConsentState
from training.consent.times import time_text

OTHER_CLIP, OTHER_FILE = "1" * 64, "2" * 64


def member(consent_ids: list[str], **changes: Any) -> dict[str, Any]:
    facts = clip(**changes)
    same = ("clip_id", "item_id", "shot_index", "bytes_sha256", "contributor_id", "dup_group")
    return {
        **{name: getattr(facts, name) for name in same},
        "media_key": f"media/{facts.bytes_sha256}.mp4",
        "start_frame": 0,
        "end_frame": 40,
        "split": "train",
        "caption": "a cat",
        "caption_short": "cat",
        "facts": facts.to_dict(),
        "consent_ids": consent_ids,
    }


def resealed(people: People, members: list[dict[str, Any]]) -> dict[str, Any]:
    head = people.ledger.head()
    at, until = decision_window(head, people.now)
    stripped = [{name: value for name, value in m.items() if name != "decision_digest"} for m in members]
    return seal(stripped, purpose="train", at=at, until=until, ledger=head)


class Sealed:
    """A snapshot of two clips of two consents, on disk, with the guard that a training process would make."""

    def __init__(self, people: People, folder: Path) -> None:
        self.people, self.path = people, folder / "manifest.json"
        self.consents = [people.grant("c-ann"), people.grant("c-ann", assets=[OTHER_FILE])]
        first, second = ([body["consent_id"]] for body in self.consents)
        other = {"clip_id": OTHER_CLIP, "bytes_sha256": OTHER_FILE, "dup_group": OTHER_CLIP}
        self.manifest = resealed(people, [member(first), member(second, **other)])
        self.root = self.manifest["root"]
        self.write()

    def write(self) -> None:
        self.path.write_text(json.dumps(self.manifest))

    def guard(self, root: str | None = None) -> ConsentGuard:
        return ConsentGuard(self.path, root or self.root, self.people.url)

    def violation(self, root: str | None = None) -> dict[str, tuple[str, ...]]:
        with pytest.raises(ConsentViolation) as raised:
            self.guard(root).check(self.people.now)
        return raised.value.reasons


@pytest.fixture
def sealed(people: People, tmp_path: Path) -> Sealed:
    return Sealed(people, tmp_path)


@pytest.mark.parametrize("captions", [["a cat", "a cat"], ["a dog", "a cat"], [], "a cat", ["a cat", 1]])
def test_phrasings_that_are_not_different_texts_with_the_clips_own_first_are_not_sealed(
    people: People, captions: Any
) -> None:
    consent = people.grant("c-ann")["consent_id"]
    assert resealed(people, [member([consent]) | {"captions": ["a cat", "cat by day"]}])["n"] == 1
    with pytest.raises(SnapshotError, match="captions") as raised:
        resealed(people, [member([consent]) | {"captions": captions}])
    assert raised.value.code == "snapshot.schema"


def test_training_starts_and_goes_on_while_consent_stands(sealed: Sealed) -> None:
    guard = sealed.guard()
    for day in (0, 1, 29):
        guard.check(sealed.people.now + timedelta(days=day))


def _drop(manifest: dict[str, Any]) -> None:
    manifest["members"].pop()
    manifest["n"] -= 1


def _edit(change: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["members"][0].update(change)


EDITS: list[Callable[[dict[str, Any]], None]] = [
    _drop,
    _edit({"caption": "another"}),
    _edit({"media_key": "media/other.mp4"}),
    _edit({"split": "heldout"}),
    _edit({"bytes_sha256": "9" * 64}),
    _edit({"consent_ids": ["consent-forged"]}),
    _edit({"extra": 1}),
    lambda manifest: manifest["members"][0]["facts"].update(approvals=9),
    lambda manifest: manifest["members"].reverse(),
    lambda manifest: manifest.update(purpose="eval"),
    lambda manifest: manifest.update(territory="BE"),
    lambda manifest: manifest.update(recipient="o-acme"),
    lambda manifest: manifest.update(ids_root="0" * 64),
    lambda manifest: manifest.pop("ids_root"),
    lambda manifest: manifest.update(root="0" * 64),
    lambda manifest: manifest.update(n=7),
    lambda manifest: manifest.update(until="2026-01-01T00:00:00Z"),
    lambda manifest: manifest.update(policy_version="none"),
    lambda manifest: manifest.update(ledger={"size": 3, "root": "0" * 64}),
]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_manifest_is_refused_whatever_was_edited(
    sealed: Sealed, edit: Callable[[dict[str, Any]], None]
) -> None:
    edit(sealed.manifest)
    sealed.write()
    assert "*" in sealed.violation()


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"schema":"rushes.snapshot/2"}', "{" * 9, "\udcff"])
def test_a_manifest_that_cannot_be_read_is_refused(sealed: Sealed, text: str) -> None:
    sealed.path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "*" in sealed.violation()


def test_another_snapshot_than_the_one_asked_for_is_refused(sealed: Sealed) -> None:
    assert sealed.violation(root="0" * 64) == {"*": ("snapshot.root",)}
    with pytest.raises(ConsentViolation):
        ConsentGuard(sealed.path, "", sealed.people.url)


def test_a_smuggled_clip_is_refused_by_the_ledger_even_under_a_recomputed_root(sealed: Sealed) -> None:
    """Mart and seal are both bypassed: a clip nobody consented to is sealed in, with a root and digests that fit."""
    smuggled = member(["consent-forged"], clip_id="0" * 64, bytes_sha256="7" * 64, dup_group="0" * 64)
    sealed.manifest = resealed(sealed.people, [*sealed.manifest["members"], smuggled])
    sealed.write()
    verify_manifest(sealed.manifest, sealed.manifest["root"])
    assert sealed.violation(root=sealed.manifest["root"]) == {"0" * 64: ("consent.none",)}


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"approvals": 0}, "review.pending"),
        ({"persons": (Person("p-bob"),)}, "legal.missing_model_release"),
        ({"faces_max": None}, "legal.persons_unmeasurable"),
        ({"verdicts_ok": False}, "quality.unresolved"),
    ],
)
def test_a_clip_sealed_in_spite_of_its_facts_is_refused(sealed: Sealed, facts: dict[str, Any], reason: str) -> None:
    first = member([sealed.consents[0]["consent_id"]], **facts)
    sealed.manifest = resealed(sealed.people, [first])
    sealed.write()
    assert sealed.violation(root=sealed.manifest["root"]) == {CLIP: (reason,)}


def test_a_revocation_between_snapshot_and_training_is_refused(sealed: Sealed) -> None:
    sealed.people.revoke(sealed.consents[0])
    assert sealed.violation() == {CLIP: ("consent.revoked",)}


def test_a_revocation_during_training_stops_it_at_the_next_checkpoint(sealed: Sealed) -> None:
    guard = sealed.guard()
    guard.check(sealed.people.now)
    sealed.people.revoke(sealed.consents[1])
    with pytest.raises(ConsentViolation, match=r"consent\.revoked") as raised:
        guard.check(sealed.people.now)
    assert raised.value.reasons == {OTHER_CLIP: ("consent.revoked",)}


def test_a_clock_that_lags_neither_refuses_standing_consent_nor_misses_a_revocation(sealed: Sealed) -> None:
    guard = sealed.guard()
    guard.check(sealed.people.now - timedelta(days=300))
    sealed.people.revoke(sealed.consents[0])
    with pytest.raises(ConsentViolation):
        guard.check(sealed.people.now - timedelta(days=300))


def test_a_new_grant_after_a_revocation_needs_a_new_snapshot(sealed: Sealed) -> None:
    guard = sealed.guard()
    sealed.people.revoke(sealed.consents[0])
    body = sealed.people.grant("c-ann")
    now = sealed.people.now
    assert eligible(clip(), "train", now, now, ConsentState.fold(sealed.people.ledger.events())).eligible
    with pytest.raises(ConsentViolation, match=r"consent\.not_yet|consent\.revoked"):
        guard.check(now)
    sealed.manifest = resealed(sealed.people, [member([body["consent_id"]])])
    sealed.write()
    sealed.guard(sealed.manifest["root"]).check(now)


def test_a_narrowed_consent_stops_training(sealed: Sealed) -> None:
    guard, people = sealed.guard(), sealed.people
    people.append(ev.amend(sealed.consents[0], people.now, scopes=["eval"]), "c-ann")
    with pytest.raises(ConsentViolation, match=r"consent\.scope"):
        guard.check(people.now)


def test_consent_that_ends_while_training_goes_on_past_the_horizon_stops_it(sealed: Sealed) -> None:
    guard, people = sealed.guard(), sealed.people
    end = time_text(people.now + timedelta(days=40))
    people.append(ev.amend(sealed.consents[0], people.now, expires_at=end), "c-ann")
    guard.check(people.now)
    with pytest.raises(ConsentViolation, match=r"consent\.expires"):
        guard.check(people.now + timedelta(days=41))


def test_a_ledger_that_lost_its_events_is_refused(sealed: Sealed, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = People(f"sqlite:///{tmp_path / 'other' / 'rushes.db'}", "c-ann")
    with pytest.raises(ConsentViolation, match="sealed"):
        ConsentGuard(sealed.path, sealed.root, other.url).check(other.now)


@pytest.mark.parametrize("content", [None, b"", b"no database at all, but a file of some length" * 99])
def test_without_a_readable_ledger_nothing_is_trained(sealed: Sealed, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "elsewhere.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConsentViolation) as raised:
        ConsentGuard(sealed.path, sealed.root, f"sqlite:///{path}").check(sealed.people.now)
    assert raised.value.reasons == {"*": ("ledger.unreadable",)}


def test_an_erased_consent_is_no_consent(sealed: Sealed) -> None:
    last = sealed.people.ledger.entry(sealed.people.ledger.size() - 1)
    assert last is not None
    sealed.people.revoke(last.body)
    sealed.people.ledger.erase(last.body["consent_id"], "asked for", sealed.people.now)
    assert sealed.violation() == {OTHER_CLIP: ("consent.none",)}


def test_the_root_depends_on_the_members_and_not_on_when_they_were_sealed(sealed: Sealed) -> None:
    sealed.people.grant("x-mal", assets=["8" * 64])
    sealed.people.now += timedelta(days=3)
    again = resealed(sealed.people, list(reversed(sealed.manifest["members"])))
    assert again["root"] == sealed.root
    assert again["at"] != sealed.manifest["at"]


def test_a_clip_is_in_a_snapshot_once(sealed: Sealed) -> None:
    with pytest.raises(SnapshotError) as raised:
        members_root([sealed.manifest["members"][0]] * 2)
    assert raised.value.code == "snapshot.repeated"


def test_the_guard_writes_nothing(sealed: Sealed) -> None:
    before = Ledger(sealed.people.url).head()
    sealed.guard().check(sealed.people.now)
    assert Ledger(sealed.people.url).head() == before
    assert before.size == sealed.people.ledger.size()
    assert sealed.manifest["members"][1]["bytes_sha256"] == FILE
