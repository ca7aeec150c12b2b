from __future__ import annotations

import json
import unicodedata

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from training.consent.canonical import CanonicalError, canonical, nfc, parse_strictly, sha256_hex

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé", max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_canonical_bytes_read_back_as_the_same_canonical_bytes(value: object) -> None:
    once = canonical(value)
    assert canonical(json.loads(once)) == once


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(
    ["\U0001f600", "\uffff", "\x7f"]
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=10,
)


@given(ANYTHING)
def test_the_quick_way_writes_what_the_reference_implementation_writes(value: object) -> None:
    try:
        normal = nfc(value)
    except CanonicalError:
        return  # two keys became one
    assert canonical(value) == rfc8785.dumps(normal)


def test_key_order_plays_no_part() -> None:
    assert canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1}) == b'{"a":2,"b":1}'


def test_names_that_look_equal_are_equal() -> None:
    composed, decomposed = unicodedata.normalize("NFC", "Zoë"), unicodedata.normalize("NFD", "Zoë")
    assert composed != decomposed
    assert sha256_hex({"name": composed}) == sha256_hex({"name": decomposed})


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, b"bytes", {1, 2}, {"\u00e9": 1, "e\u0301": 2}, "\ud800"]
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(CanonicalError):
        canonical(value)


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', "NaN", "[Infinity]", "{", "", "[" * 100_000, "9" * 5000])
def test_json_that_readers_disagree_about_is_refused(text: str) -> None:
    with pytest.raises(CanonicalError):
        canonical(parse_strictly(text))
