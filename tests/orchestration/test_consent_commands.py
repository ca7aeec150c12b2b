"""`rushes consent` and the proofs it hands out: what a person signs, sees and can check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from assets.home import Home
from tests.worlds import World

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


# -- proofs ------------------------------------------------------------------------------------------------------------


STRANGE = "ab" * 32
# the checker's process: the interpreter itself refuses every connection, to a network or to a database
ALONE = """
import sys
def refuse(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname") or event == "sqlite3.connect":
        raise AssertionError(f"a stranger has no such thing: {event} {arguments}")
sys.addaudithook(refuse)
from orchestration.cli import main
sys.argv = ["rushes", *sys.argv[1:]]
main()
"""


@pytest.fixture
def consent_id(rushes: Callable[..., str], tmp_path: Path) -> str:
    """A consent that was granted at this keyboard, by somebody whom an officer enrolled."""
    (tmp_path / "a.mp4").write_bytes(b"footage")
    key = str(tmp_path / "amina.pem")
    rushes("consent", "grant", "c-amina", "a.mp4", "--key", key, code=1)  # makes the key, which nobody enrolled yet
    rushes("consent", "enrol", "c-amina", key_id(Path(key)), "--officer", "o-ida", "--evidence", STRANGE)
    return rushes("consent", "grant", "c-amina", "a.mp4", "--key", key).split()[0]


def key_id(pem: Path) -> str:
    from training.consent.keys import key_id_of, load_or_create, public_bytes

    return key_id_of(public_bytes(load_or_create(pem)))


def alone(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """The command in a process of its own, in an empty folder, with a home that cannot be made."""
    empty = tmp_path / "elsewhere"
    empty.mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "RUSHES_HOME": "/proc/nowhere",
        "COLUMNS": "300",
    }
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert list(empty.iterdir()) == []
    return done.returncode, done.stdout + done.stderr


def test_a_receipt_is_checked_by_a_stranger_with_the_public_key_alone(
    rushes: Callable[..., str], consent_id: str, tmp_path: Path
) -> None:
    rushes("consent", "receipt", consent_id, "-o", "mine.json")
    rushes("consent", "key", "-o", "platform.pub")
    code, output = alone(tmp_path, "verify", str(tmp_path / "mine.json"), "--key", str(tmp_path / "platform.pub"))
    assert code == 0, output
    assert f"c-amina (contributor) granted consent {consent_id} for train" in output
    assert "It does not show" in output
    edited = (tmp_path / "mine.json").read_text().replace("c-amina", "c-anima")
    (tmp_path / "theirs.json").write_text(edited)
    code, output = alone(tmp_path, "verify", str(tmp_path / "theirs.json"), "--key", str(tmp_path / "platform.pub"))
    assert code == 1
    assert "does NOT hold" in output
    assert "Traceback" not in output


def test_the_record_of_a_consent_given_here_tells_the_notice_that_was_shown(
    rushes: Callable[..., str], consent_id: str
) -> None:
    record = json.loads(rushes("consent", "receipt", consent_id))["record"]
    shown = " ".join(rushes("consent", "notice").split())
    assert " ".join(record["privacy_notice"]["text"].split()) in shown
    assert record["privacy_notice"]["sha256"] in shown


def test_a_file_on_the_terminal_is_the_file_byte_for_byte(
    rushes: Callable[..., str], consent_id: str, tmp_path: Path
) -> None:
    printed = rushes("consent", "checkpoint")
    rushes("consent", "checkpoint", "-o", "head.json")
    assert (tmp_path / "head.json").read_text() == printed
    public = rushes("consent", "key").strip()
    assert "rushes.checkpoint/1 holds" in rushes("verify", "head.json", "--key", public)
    assert "does NOT hold" in rushes("verify", "head.json", "--key", STRANGE, code=1)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (("verify", "missing.json", "--key", STRANGE), "missing.json"),
        (("verify", "a.json", "--key", "short"), "neither a public key"),
        (("verify", "a.json", "--key", "AB" * 32), "neither a public key"),
        (("verify", "a.json", "--key", STRANGE), "does NOT hold"),
        (("consent", "receipt", "consent-none"), "no consent 'consent-none'"),
        (("prove", "--model", "1"), "--excluded CLIP or --included CLIP"),
        (("prove", "--excluded", STRANGE, "--included", STRANGE, "--model", "1"), "--excluded CLIP or --included CLIP"),
        (("prove", "--excluded", STRANGE, "--model", "1"), "no version 1"),
        (("prove", "--excluded", STRANGE, "--model", "champion"), "alias"),
        (("prove", "--excluded", "nothing.mp4", "--model", "1"), "no clip is called"),
        (("consent", "key", "-o", "."), "folder"),
        (("consent", "notice", "--replace", "a.json"), "rushes.notice/1"),
    ],
)
def test_misuse_is_one_line_and_exit_code_one(
    rushes: Callable[..., str], tmp_path: Path, arguments: tuple[str, ...], output: str
) -> None:
    (tmp_path / "a.json").write_text("{}\n")
    answer = rushes(*arguments, code=1)
    assert output in answer
    assert answer.count("\n") == 1


@pytest.fixture
def clip_ids(rushes: Callable[..., str], tmp_path: Path) -> list[str]:
    """Clips of a sealed snapshot; the model trained on it is version 1. One more clip was made of `outside.mp4`."""
    from assets.dataset.snapshot import build
    from assets.evaluation.commitments import commit
    from assets.model.published import CurrentModel
    from assets.registry import MODEL, Registry

    home = Home.local(tmp_path / "home")
    world = World(home)
    for name in ("c-1", "c-2", "c-3", "c-4"):
        world.deliver(name, clips=1)
    (outside,) = world.deliver("c-5", clips=1, consent=False)
    world.settle()
    sealed = build(home, datetime.now(UTC)).sealed
    media = next(row["media_key"] for row in home.lake.rows("shots") if row["clip_id"] == outside)
    (tmp_path / "outside.mp4").write_bytes(home.store.get(media))
    for part in ("codec", "transformer"):
        home.store.put(f"models/m-1/{part}.safetensors", save({"w": np.ones(1, np.float32)}))
        home.store.put(f"models/m-1/{part}.json", b"{}")
    record = {"model_key": "m-1", "snapshot_root": sealed.root, "parent_model": None}
    home.store.put("models/m-1/result.json", json.dumps(record).encode())
    tags = commit(home, CurrentModel("m-1", record, sealed)).tags | {"model_key": "m-1"}
    registry = Registry(home)
    registry.client.create_registered_model(MODEL)
    registry.client.create_model_version(MODEL, "file:///nowhere", tags=tags)
    return sealed.clip_ids


def test_absence_is_proved_of_a_file_and_presence_of_what_was_seen(
    rushes: Callable[..., str], clip_ids: list[str], tmp_path: Path
) -> None:
    public = str(tmp_path / "platform.pub")
    rushes("consent", "key", "-o", public)
    rushes("prove", "--excluded", "outside.mp4", "--model", "1", "-o", "absent.json")
    assert "is in none of the 1 sets" in rushes("verify", "absent.json", "--key", public)
    seen = rushes("prove", "--excluded", clip_ids[0], "--model", "1", "-o", "forged.json", code=1)
    assert "rushes trace" in seen
    assert "rushes consent revoke" in seen
    assert not (tmp_path / "forged.json").exists()
    rushes("prove", "--included", clip_ids[0][:16], "--model", "1", "-o", "present.json")
    assert f"Clip {clip_ids[0]} is in snapshot" in rushes("verify", "present.json", "--key", public)
    assert "--excluded" in rushes("prove", "--included", STRANGE, "--model", "1", code=1)


def test_an_operators_own_notice_is_shown_from_then_on(rushes: Callable[..., str], tmp_path: Path) -> None:
    rushes("consent", "notice", "-o", "notice.json")
    document = json.loads((tmp_path / "notice.json").read_text())
    (tmp_path / "ours.json").write_text(json.dumps(document | {"text": "Our own words.", "version": "2"}))
    assert "Our own words." in rushes("consent", "notice", "--replace", "ours.json")
    assert "Our own words." in rushes("consent", "notice")
