"""Files handed to strangers: honest ones hold, and every other byte, part, key or claim is found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.consent.proofs.statements import ProofError, file_bytes, sign_statement
from assets.consent.proofs.verification import verify_file
from tests.assets.consent.proofs.conftest import ABSENT, CLIPS, PLATFORM_SIGNS, PUBLIC, Platform
from tests.training.consent.people import key_of
from training.consent.canonical import sha256_hex
from training.consent.keys import public_bytes, sign_checkpoint

KINDS = ["checkpoint", "model", "exclusion", "inclusion", "receipt", "completion"]
MALLORY = key_of("mallory")


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_file_holds_and_says_what_it_shows_and_what_it_does_not(files: dict[str, Path], kind: str) -> None:
    verified = verify_file(files[kind].read_bytes(), PUBLIC)
    assert verified.schema == f"rushes.{kind}/1"
    assert verified.shown
    assert verified.not_shown
    assert all(sentence.endswith((".", ":")) or ": " in sentence for sentence in verified.shown)


def test_what_is_shown_is_said_in_sentences(files: dict[str, Path], consent: dict[str, Any]) -> None:
    texts = {kind: "\n".join(verify_file(files[kind].read_bytes(), PUBLIC).shown) for kind in KINDS}
    assert f"Clip {ABSENT} is in none of the 2 sets" in texts["exclusion"]
    assert "listed whole and in order" in texts["exclusion"]
    assert f"Clip {CLIPS[3]} is in snapshot {sha256_hex(chr(112) + 'arent' + chr(39) + 's')}" in texts["inclusion"]
    assert f"c-ann (contributor) granted consent {consent['consent_id']} for train" in texts["receipt"]
    assert f"c-ann (contributor) withdrew consent {consent['consent_id']}" in texts["receipt"]
    assert "Model m-1 (version 7, champion; not tainted) saw it" in texts["receipt"]
    assert "credited (500 EUR minor units for i-1)" in texts["receipt"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_holds_with_another_key(files: dict[str, Path], kind: str) -> None:
    with pytest.raises(ProofError):
        verify_file(files[kind].read_bytes(), public_bytes(MALLORY))


# -- every byte ------------------------------------------------------------------------------------------------------


def refused(content: bytes) -> bool:
    try:
        verify_file(content, PUBLIC)
    except ProofError:
        return True
    return False


@pytest.fixture(scope="module")
def short_receipt(platform: Platform, consent: dict[str, Any]) -> bytes:
    """Of one grant, used nowhere: every part of a receipt, and few bytes."""
    grant = next(event.body for event in platform.people.ledger.events(parties=["x-mal"]) if event.type == "grant")
    assert grant["consent_id"] != consent["consent_id"]
    return file_bytes(platform.receipt(grant, None))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_byte_is_changed_deleted_or_inserted_is_found(
    files: dict[str, Path], short_receipt: bytes, kind: str
) -> None:
    """Every position; another digit, the other case, white space, one bit, a byte that is not UTF-8."""
    honest = short_receipt if kind == "receipt" else files[kind].read_bytes()
    assert not refused(honest)
    for at, byte in enumerate(honest):
        before, after = honest[:at], honest[at + 1 :]
        others = {bytes([byte]).swapcase(), b"0", b" ", bytes([byte ^ 1]), bytes([byte ^ 128]), b""}
        for other in others - {bytes([byte])}:
            assert refused(before + other + after), (at, bytes([byte]), other)
        for more in (b" ", b"0"):
            if before + more != honest[: at + 1]:
                assert refused(before + more + honest[at:]), (at, more)
    assert refused(honest + b" ")
    assert refused(honest + b"\n")
    assert refused(b"")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_several_bytes_changed_at_once_are_found(files: dict[str, Path], data: st.DataObject) -> None:
    honest = files[data.draw(st.sampled_from(KINDS))].read_bytes()
    start = data.draw(st.integers(0, len(honest) - 1))
    end = data.draw(st.integers(start, min(len(honest), start + 80)))
    other = data.draw(st.one_of(st.binary(max_size=80), st.just(honest[start:end][::-1])))
    if other != honest[start:end]:
        assert refused(honest[:start] + other + honest[end:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_content_in_another_spelling_is_found(statements: dict[str, Any], kind: str) -> None:
    for spelled in (
        json.dumps(statements[kind]),
        json.dumps(statements[kind], indent=1),
        json.dumps(statements[kind], separators=(",", ":")),
        json.dumps(statements[kind], separators=(",", ":"), sort_keys=True, ensure_ascii=True) + "\n\n",
        "\ufeff" + file_bytes(statements[kind]).decode(),
    ):
        assert refused(spelled.encode())


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"{", b"[" * 100_000, b"\xff", b'{"schema":1}\n'])
def test_what_is_no_file_of_ours_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(ProofError):
        verify_file(content, PUBLIC)


def test_a_kind_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ProofError, match="cannot be checked"):
        verify_file(file_bytes(sign_statement({"schema": "rushes.other/1"}, PLATFORM_SIGNS)), PUBLIC)


# -- forgeries that are signed properly ------------------------------------------------------------------------------


def resigned(statement: dict[str, Any], change: Callable[[dict[str, Any]], Any], key: Any = PLATFORM_SIGNS) -> bytes:
    """The statement after an edit, signed anew over its whole: what a dishonest platform could hand out."""
    edited = copy.deepcopy(statement)
    change(edited)
    del edited["signature"]
    if "receipt_id" in edited:
        del edited["receipt_id"]
        edited["receipt_id"] = f"receipt-{sha256_hex(edited)[:32]}"
    return file_bytes(sign_statement(edited, key))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "checkpoint"])
def test_a_file_signed_by_somebody_else_does_not_hold(statements: dict[str, Any], kind: str) -> None:
    forged = resigned(statements[kind], lambda _: None, MALLORY)
    assert not refused(resigned(statements[kind], lambda _: None))
    assert refused(forged)
    inner = json.loads(forged)
    inner["signature"]["key_id"] = statements[kind]["signature"]["key_id"]
    assert refused(file_bytes(inner))


def entry(receipt: dict[str, Any], type_: str) -> dict[str, Any]:
    return next(e for e in reversed(receipt["entries"]) if e["envelope"]["body"]["type"] == type_)


RECEIPT_FORGERIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "the person's words": lambda r: entry(r, "grant")["envelope"]["body"].update(scopes=["eval"]),
    "a wider amendment": lambda r: entry(r, "amend")["envelope"]["body"].update(territories=["*"]),
    "the time of recording": lambda r: entry(r, "revoke").update(recorded_at="2026-11-09T08:00:00Z"),
    "the salt": lambda r: entry(r, "grant").update(salt="0" * 64),
    "the leaf": lambda r: entry(r, "grant").update(leaf="0" * 64),
    "the place": lambda r: entry(r, "grant").update(seq=entry(r, "grant")["seq"] + 1),
    "the path": lambda r: entry(r, "grant")["path"].reverse(),
    "the person's signature": lambda r: entry(r, "grant")["envelope"].update(sig="0" * 128),
    "the key's name": lambda r: entry(r, "grant")["envelope"].update(key_id="k-" + "0" * 32),
    "a withdrawal left out": lambda r: r["entries"].remove(entry(r, "revoke")),
    "the key's registration left out": lambda r: r["entries"].remove(entry(r, "register_key")),
    "the enrolment left out": lambda r: r["entries"].remove(entry(r, "enrol")),
    "entries out of order": lambda r: r["entries"].reverse(),
    "an entry twice": lambda r: r["entries"].append(r["entries"][-1]),
    "no entries": lambda r: r["entries"].clear(),
    "another consent": lambda r: r.update(consent_id="consent-other"),
    "the record's purposes": lambda r: r["record"].update(purposes=[]),
    "the record's retention": lambda r: r["record"].update(retention_period="for ever"),
    "the notice": lambda r: next(iter(r["notices"].values())).update(text="other"),
    "the checkpoint's size": lambda r: r["checkpoint"].update(size=r["checkpoint"]["size"] + 1),
    "the checkpoint's key": lambda r: r["checkpoint"].update(public_key="0" * 64),
    "the checkpoint's key name": lambda r: r["checkpoint"].update(key_id="k-" + "0" * 32),
    "another clip in the set": lambda r: r["used"][0]["clips"][0].update(clip_id=ABSENT),
    "another set": lambda r: r["used"][0].update(ids_root="0" * 64),
    "a set that the model did not see": lambda r: r["used"][0].update(snapshot_root="0" * 64),
    "another model's commitment": lambda r: r["used"][0]["models"][0].update(model_key="m-2"),
    "an edited commitment": lambda r: r["used"][0]["models"][0]["commitment"].update(model_key="m-1 "),
    "credited without entries": lambda r: r["paid"].update(entries=[]),
    "an unknown state of payment": lambda r: r["paid"].update(state="soon"),
    "a field more": lambda r: r.update(extra=1),
    "a field less": lambda r: r.pop("paid"),
}


@pytest.mark.parametrize("name", RECEIPT_FORGERIES)
def test_a_receipt_that_the_platform_itself_forged_does_not_hold(statements: dict[str, Any], name: str) -> None:
    assert refused(resigned(statements["receipt"], RECEIPT_FORGERIES[name]))


def test_the_receipt_id_is_that_of_its_content(statements: dict[str, Any]) -> None:
    other = {name: value for name, value in statements["receipt"].items() if name != "signature"}
    assert refused(file_bytes(sign_statement(other | {"receipt_id": "receipt-1"}, PLATFORM_SIGNS)))


EXCLUSION_FORGERIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a set left out": lambda s: s["sets"].pop(),
    "the sets' proofs swapped": lambda s: s["sets"][0].update(snapshot_root=s["sets"][-1]["snapshot_root"]),
    "one set's proof for both": lambda s: s["sets"][0].update({**s["sets"][1], "snapshot_root": _root(s, 0)}),
}
ANSWER_FORGERIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a set twice": lambda s: s["sets"].append(s["sets"][0]),
    "no sets": lambda s: s["sets"].clear(),
    "another clip": lambda s: s.update(clip_id=CLIPS[0] if s["schema"].startswith("rushes.excl") else ABSENT),
    "a set of another model": lambda s: s["sets"][0].update(snapshot_root="0" * 64),
    "the other claim": lambda s: s.update(schema=s["schema"].replace("excl", "INCL").replace("incl", "excl").lower()),
    "the model's exposure shortened": lambda s: s["model"]["exposure"].pop(),
    "the checkpoint replaced": lambda s: s.update(checkpoint=s["model"]["ledger"]["start"]),
    "the consistency": lambda s: s["consistency"].append("0" * 64),
    "the weights": lambda s: s["model"]["weights_sha256"].update({"transformer.safetensors": "2" * 64}),
}


@pytest.mark.parametrize("kind", ["exclusion", "inclusion"])
@pytest.mark.parametrize("name", ANSWER_FORGERIES)
def test_an_answer_that_the_platform_itself_forged_does_not_hold(
    statements: dict[str, Any], kind: str, name: str
) -> None:
    assert refused(resigned(statements[kind], ANSWER_FORGERIES[name]))


@pytest.mark.parametrize("name", EXCLUSION_FORGERIES)
def test_an_absence_is_shown_of_every_set_by_its_own_proof(statements: dict[str, Any], name: str) -> None:
    assert refused(resigned(statements["exclusion"], EXCLUSION_FORGERIES[name]))


def _root(statement: dict[str, Any], index: int) -> str:
    return statement["sets"][index]["snapshot_root"]


def test_the_absence_from_a_set_cannot_be_claimed_for_a_member(platform: Platform, statements: dict[str, Any]) -> None:
    """The parent's set holds the clip, the model's own does not: the own set's proof is shown for both."""
    honest = platform.answer(CLIPS[3], statements["model"])
    assert honest["schema"] == "rushes.inclusion/1"
    own = platform.answer(ABSENT, statements["model"])
    assert refused(resigned(own, lambda s: s.update(clip_id=CLIPS[3])))


MODEL_FORGERIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "its own set is missing": lambda m: m.update(exposure=[s for s in m["exposure"] if s["n"] != m["n"]]),
    "a set twice": lambda m: m["exposure"].append(m["exposure"][0]),
    "sets out of order": lambda m: m["exposure"].reverse(),
    "a negative size": lambda m: m["exposure"][0].update(n=-1),
    "weights that are no digest": lambda m: m["weights_sha256"].update(x="1"),
    "no weights": lambda m: m.update(weights_sha256={}),
    "checkpoints swapped": lambda m: m["ledger"].update(start=m["ledger"]["end"], end=m["ledger"]["start"]),
    "an unproved history": lambda m: m["ledger"].update(consistency=[]),
}


@pytest.mark.parametrize("name", MODEL_FORGERIES)
def test_a_commitment_that_contradicts_itself_does_not_hold(statements: dict[str, Any], name: str) -> None:
    assert refused(resigned(statements["model"], MODEL_FORGERIES[name]))


COMPLETION_FORGERIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another event": lambda c: c["causes"][0].update(leaf_hash="0" * 64),
    "another place": lambda c: c["causes"][0].update(seq=c["causes"][0]["seq"] - 1),
    "no proof": lambda c: c["causes"][0].update(proof=[]),
    "no cause": lambda c: c["causes"].clear(),
    "another checkpoint": lambda c: c["checkpoint"].update(size=c["checkpoint"]["size"] + 1),
    "something left undone": lambda c: c.update(left=1),
}


@pytest.mark.parametrize("name", COMPLETION_FORGERIES)
def test_a_completion_receipt_rests_on_events_of_the_ledger(statements: dict[str, Any], name: str) -> None:
    assert refused(resigned(statements["completion"], COMPLETION_FORGERIES[name]))


def test_a_rewritten_history_is_seen_between_two_checkpoints(platform: Platform, statements: dict[str, Any]) -> None:
    """A fork: the same length, another root, properly signed."""
    from dataclasses import replace

    fork = sign_checkpoint(replace(platform.people.ledger.head(), root="0" * 64), PLATFORM_SIGNS)
    assert refused(resigned(statements["model"], lambda m: m["ledger"].update(end=fork)))
    assert refused(resigned(statements["exclusion"], lambda s: s.update(checkpoint=fork)))


def test_parts_of_two_honest_receipts_make_no_third(
    platform: Platform, consent: dict[str, Any], statements: dict[str, Any]
) -> None:
    """Every part of another person's honest receipt, put into this one; signed by nobody, and signed anew."""
    events = platform.people.ledger.events(parties=["x-mal"])
    other_consent = next(event.body for event in events if event.type == "grant")
    own, other = statements["receipt"], platform.receipt(other_consent, statements["model"])
    assert not refused(file_bytes(other))
    for part in own:
        if own[part] != other[part]:
            mixed = {**own, part: other[part]}
            assert refused(file_bytes(mixed)), part
            if part not in ("signature", "receipt_id"):
                assert refused(resigned(own, lambda r, part=part: r.update({part: other[part]}))), part


def test_a_guardians_consent_shows_who_let_the_guardian_sign(platform: Platform, statements: dict[str, Any]) -> None:
    platform.people.appoint("m-mia", "g-guy")
    body = platform.people.grant("m-mia", "guardian", ("train", "train_minor"), actor="g-guy")
    receipt = platform.receipt(body, platform.model())
    assert "signed by g-guy" in "\n".join(verify_file(file_bytes(receipt), PUBLIC).shown)
    assert refused(resigned(receipt, lambda r: r["entries"].remove(entry(r, "guardian"))))
