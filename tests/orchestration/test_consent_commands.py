"""Consent at the keyboard: people sign with their own keys, officers verify who they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Type = Callable[..., str]


def enrol(rushes: Type, tmp_path: Path, party: str, key: str) -> str:
    """An officer enrols the key that a first, refused attempt to sign named; returns what was said."""
    paper = tmp_path / "passport.jpg"
    paper.write_bytes(b"a passport")
    refused = rushes("consent", "grant", party, "ab" * 32, "--key", key, code=1)
    command = refused.split("rushes consent enrol ")[1].split(" --officer")[0].split()
    return rushes("consent", "enrol", *command, "--officer", "o-ida", "--evidence", str(paper))


def test_consent_is_granted_shown_verified_and_revoked_with_ones_own_key(rushes: Type, tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"footage")
    key = str(tmp_path / "amina.pem")
    enrol(rushes, tmp_path, "c-amina", key)
    consent_id = rushes("consent", "grant", "c-amina", str(clip), "--key", key).split()[0]
    assert consent_id in rushes("consent", "show")
    assert "every signature and commitment holds" in rushes("consent", "verify")
    stranger = rushes("consent", "revoke", consent_id, "--key", str(tmp_path / "other.pem"), code=1)
    assert "refused" in stranger
    assert "revoked" in rushes("consent", "revoke", consent_id, "--key", key)
    assert "revoke" in rushes("consent", "show", consent_id)


def test_a_key_that_nobody_verified_waits_for_an_officer(rushes: Type, tmp_path: Path) -> None:
    key = str(tmp_path / "amina.pem")
    output = rushes("consent", "grant", "c-amina", "ab" * 32, "--key", key, code=1)
    assert "rushes consent enrol c-amina k-" in output
    assert "c-amina" in rushes("consent", "waiting")
    assert "1 registrations taken" in enrol(rushes, tmp_path, "c-amina", key)
    assert "c-amina" not in rushes("consent", "waiting")
    assert "granted by c-amina" in rushes("consent", "grant", "c-amina", "ab" * 32, "--key", key)


def test_a_guardian_signs_for_a_minor_once_an_officer_attested_to_it(rushes: Type, tmp_path: Path) -> None:
    key = str(tmp_path / "eve.pem")
    enrol(rushes, tmp_path, "g-eve", key)
    grant = ("consent", "grant", "m-kid", "ab" * 32, "--guardian", "g-eve", "--key", key, "--scope", "train")
    assert "acting_for" in rushes(*grant, code=1)
    proof = ("--officer", "o-ida", "--evidence", "cd" * 32)
    assert "g-eve signs for m-kid" in rushes("consent", "guardian", "m-kid", "g-eve", *proof)
    consent_id = rushes(*grant).split()[0]
    rushes("consent", "guardian", "m-kid", "g-eve", *proof, "--end")
    assert "acting_for" in rushes(*grant, code=1)
    assert "acting_for" in rushes("consent", "revoke", consent_id, "--key", key, code=1)
    assert "revoked" in rushes("consent", "revoke", consent_id, "--for-owner")


def test_a_key_is_rotated_and_the_old_one_ends(rushes: Type, tmp_path: Path) -> None:
    old, new = str(tmp_path / "old.pem"), str(tmp_path / "new.pem")
    enrol(rushes, tmp_path, "c-amina", old)
    rushes("consent", "rotate-key", "c-amina", "--key", new, "--old-key", old)
    first = next(line for line in rushes("consent", "keys", "c-amina").splitlines() if "enrolled" in line).split()[0]
    assert "is revoked" in rushes("consent", "revoke-key", "c-amina", first, "--key", new)
    assert "key_revoked" in rushes("consent", "grant", "c-amina", "ab" * 32, "--key", old, code=1)
    assert "granted" in rushes("consent", "grant", "c-amina", "ab" * 32, "--key", new)


def test_a_revoked_consent_can_be_erased_and_the_ledger_still_verifies(rushes: Type, tmp_path: Path) -> None:
    key = str(tmp_path / "amina.pem")
    enrol(rushes, tmp_path, "c-amina", key)
    consent_id = rushes("consent", "grant", "c-amina", "ab" * 32, "--key", key).split()[0]
    assert "is not revoked" in rushes("consent", "erase", consent_id, code=1)
    rushes("consent", "revoke", consent_id, "--key", key)
    assert "2 events erased" in rushes("consent", "erase", consent_id)
    assert consent_id not in rushes("consent", "show")
    assert "every signature and commitment holds" in rushes("consent", "verify")


def test_withdrawing_takes_ones_key_or_the_platforms_and_not_both(rushes: Type, tmp_path: Path) -> None:
    key = str(tmp_path / "amina.pem")
    enrol(rushes, tmp_path, "c-amina", key)
    consent_id = rushes("consent", "grant", "c-amina", "ab" * 32, "--key", key).split()[0]
    for options in ((), ("--key", key, "--for-owner")):
        assert "--for-owner" in rushes("consent", "revoke", consent_id, *options, code=1)


def test_a_consent_can_be_written_for_a_delivery_without_touching_the_ledger(rushes: Type, tmp_path: Path) -> None:
    out = tmp_path / "consent" / "mine.json"
    digest = "ab" * 32
    rushes("consent", "grant", "c-luc", digest, "--key", str(tmp_path / "luc.pem"), "--output", str(out))
    types = [envelope["body"]["type"] for envelope in json.loads(out.read_text())]
    assert types == ["register_key", "grant"]
    assert "events  1" in rushes("consent", "verify"), "the platform's key alone"


def test_a_consent_for_something_that_is_no_file_names_it(rushes: Type, tmp_path: Path) -> None:
    output = rushes("consent", "grant", "c-luc", "missing.mp4", "--key", str(tmp_path / "luc.pem"), code=1)
    assert "missing.mp4" in output


def test_an_unusable_consent_is_not_written_for_a_delivery(rushes: Type, tmp_path: Path) -> None:
    out = tmp_path / "mine.json"
    arguments = ("consent", "grant", "c-luc", "ab" * 32, "--key", str(tmp_path / "luc.pem"), "--output", str(out))
    assert "scopes" in rushes(*arguments, "--scope", "*", code=1)
    assert not out.exists()


@pytest.mark.parametrize("days", ["0", "-3", "99999999"])
def test_a_consent_ends_after_at_least_a_day_and_at_most_a_century(rushes: Type, tmp_path: Path, days: str) -> None:
    rushes("consent", "grant", "c-luc", "ab" * 32, "--key", str(tmp_path / "luc.pem"), "--days", days, code=2)
