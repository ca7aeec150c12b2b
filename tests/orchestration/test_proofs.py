"""Proofs at the keyboard: what one person writes with a home, another checks with the public key and nothing else."""

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
    from assets.registry.versions import MODEL, Registry

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
