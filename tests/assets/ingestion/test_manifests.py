"""A manifest is judged whole: every error with its place, whatever the bytes."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.ingestion.manifests import NotJson, manifest_reasons, strict_json, unsafe_name
from assets.reasons import Code, code_of, printable
from tests.assets.samples import clip, manifest


def test_a_complete_manifest_has_no_reasons_against_it() -> None:
    full = clip(
        "a.mp4",
        captured_at="2026-11-01T12:00:00.5Z",
        latitude=50.8,
        longitude=4.35,
        device="phone",
        persons=[{"person_id": "p-1", "identifiable": True, "minor": False}],
        properties=[{"owner_id": "o-villa", "what": "the villa on the hill"}, {"owner_id": "o-shop"}],
        source={"name": "bikes", "licence": "BSD"},
    )
    assert manifest_reasons(manifest(full, clip("b.mp4"), request_id="r-1")) == []


@pytest.mark.parametrize(("depth", "taken"), [(32, True), (33, False), (900, False), (100_000, False)])
def test_a_document_is_only_so_deep_whoever_reads_it(depth: int, taken: bool) -> None:
    text = b"[" * depth + b"]" * depth
    with contextlib.nullcontext() if taken else pytest.raises(NotJson, match="nested too deeply"):
        strict_json(text)


def test_every_error_is_named_with_its_place() -> None:
    broken = manifest(
        clip("a.mp4", time_of_day="noonish", length_s=-1), clip("b.mp4", resolution="HD"), contributor_id=7
    )
    del broken["clips"][1]["subject"]
    reasons = manifest_reasons(broken)
    for pointer in (
        "/clips/0/time_of_day:",
        "/clips/0/length_s:",
        "/clips/1/resolution:",
        "/clips/1:",
        "/contributor_id:",
    ):
        assert any(f"{Code.MANIFEST_SCHEMA}: {pointer}" in reason for reason in reasons), pointer
    assert len(reasons) == 5


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "rushes.delivery/2"},
        {"received_at": "2026-02-30T10:00:00Z"},
        {"received_at": "2026-11-02 10:00"},
        {"clips": []},
        {"delivery_id": "../../etc"},
        {"surprise": 1},
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused(change: dict[str, Any]) -> None:
    reasons = manifest_reasons(manifest(clip("a.mp4")) | change)
    assert {code_of(reason) for reason in reasons} == {Code.MANIFEST_SCHEMA}


def test_control_characters_and_broken_unicode_are_refused_outside_file_names() -> None:
    reasons = manifest_reasons(manifest(clip("bad\x00name.mp4", subject="a\x1b[31mb", device="\ud800", location="x\n")))
    assert sorted(code_of(reason) for reason in reasons) == [
        Code.MANIFEST_CONTROL_CHARACTER,
        Code.MANIFEST_CONTROL_CHARACTER,
        Code.MANIFEST_NOT_UNICODE,
    ]
    assert all(reason.isprintable() for reason in reasons)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b"1" * 100_000,
        b"{} {}",
    ],
)
def test_what_is_no_strict_json_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(NotJson):
        strict_json(data)


def test_a_byte_order_mark_is_no_offence() -> None:
    assert strict_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "name",
    [
        "../a.mp4",
        "a/../../b.mp4",
        "/etc/passwd",
        "C:\\a.mp4",
        "a\\b.mp4",
        "./a.mp4",
        "a//b.mp4",
        "a/",
        "",
        " ",
        "a\nb.mp4",
        "a\x7f.mp4",
        ".hidden.mp4",
        "delivery.json",
        "consent/a.json",
        "\ud800.mp4",
    ],
)
def test_names_that_leave_the_folder_or_hide_are_unsafe(name: str) -> None:
    assert unsafe_name(name)


@pytest.mark.parametrize("name", ["a.mp4", "clips/a.mp4", "été à Köln.mov", "日没.mp4", "a..b.mp4", "a b.mp4"])
def test_ordinary_names_of_any_language_are_fine(name: str) -> None:
    assert unsafe_name(name) is None


@given(st.text(max_size=400))
def test_printable_text_is_printable_and_short(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 300
    shown.encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_no_document_makes_the_judge_raise(document: Any) -> None:
    if document != manifest():
        assert manifest_reasons(document)


@given(st.data())
def test_one_wrong_value_anywhere_is_never_taken_silently_for_right(data: st.DataObject) -> None:
    person, villa = {"person_id": "p", "identifiable": True, "minor": False}, {"owner_id": "o", "what": "a villa"}
    document = manifest(clip("a.mp4", latitude=1.0, persons=[person], properties=[villa]))
    target: Any = document
    while isinstance(target, dict | list) and target:
        keys = list(target) if isinstance(target, dict) else range(len(target))
        key = data.draw(st.sampled_from(list(keys)))
        if not isinstance(target[key], dict | list) or data.draw(st.booleans()):
            target[key] = {"not": "expected"}
            break
        target = target[key]
    assert manifest_reasons(document)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(NotJson):
        json.dumps(strict_json(data))
