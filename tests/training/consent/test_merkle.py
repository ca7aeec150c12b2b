"""What is hashed: canonical JSON, and Merkle trees as RFC 9162 has them."""

from __future__ import annotations

import hashlib
import json
import unicodedata

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from training.consent import merkle
from training.consent.canonical import CanonicalError, canonical, nfc, parse_strictly, sha256_hex

CT_LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
DATA = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def _hashed(data: list[bytes]) -> list[bytes]:
    return [merkle.leaf_hash(item) for item in data]


def test_the_eight_leaves_of_certificate_transparency_give_the_published_root() -> None:
    assert merkle.root(_hashed(CT_LEAVES)).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert merkle.root([]) == hashlib.sha256(b"").digest()


@given(DATA)
def test_roots_agree_with_an_independent_implementation(data: list[bytes]) -> None:
    tree = InmemoryTree(algorithm="sha256")
    for item in data:
        tree.append_entry(item)
    assert merkle.root(_hashed(data)) == tree.get_root()


@given(DATA)
def test_a_growing_tree_has_the_root_of_every_prefix(data: list[bytes]) -> None:
    leaves, growing = _hashed(data), merkle.GrowingTree()
    for size, leaf in enumerate(leaves):
        assert growing.root() == merkle.root(leaves[:size])
        growing.add(leaf)
    assert (growing.root(), growing.size) == (merkle.root(leaves), len(leaves))


@given(DATA, st.data())
def test_paths_agree_with_an_independent_implementation(data: list[bytes], draw: st.DataObject) -> None:
    tree, leaves = InmemoryTree(algorithm="sha256"), _hashed(data)
    for item in data:
        tree.append_entry(item)
    index = draw.draw(st.integers(0, len(data) - 1))
    theirs = {bytes.fromhex(node) for node in tree.prove_inclusion(index + 1, len(data)).serialize()["path"]}
    assert {
        leaves[index],
        *merkle.inclusion_proof(leaves, index),
    } == theirs  # theirs has the leaf, and in another order


@given(DATA, st.data())
def test_inclusion_is_proved_for_members_and_for_nothing_else(data: list[bytes], draw: st.DataObject) -> None:
    leaves = _hashed(data)
    index = draw.draw(st.integers(0, len(leaves) - 1))
    root, proof = merkle.root(leaves), merkle.inclusion_proof(leaves, index)
    assert merkle.verify_inclusion(leaves[index], index, len(leaves), proof, root)
    assert not merkle.verify_inclusion(merkle.leaf_hash(b"a stranger's leaf"), index, len(leaves), proof, root)
    assert not merkle.verify_inclusion(leaves[index], index, len(leaves), [*proof, root], root)
    assert not merkle.verify_inclusion(leaves[index], len(leaves), len(leaves), proof, root)
    if proof:
        assert not merkle.verify_inclusion(leaves[index], index, len(leaves), proof[:-1], root)


@given(DATA, st.data())
def test_consistency_is_proved_for_prefixes_and_not_for_a_rewritten_past(
    data: list[bytes], draw: st.DataObject
) -> None:
    leaves = _hashed(data)
    first = draw.draw(st.integers(1, len(leaves)))
    old, new, proof = merkle.root(leaves[:first]), merkle.root(leaves), merkle.consistency_proof(leaves, first)
    assert merkle.verify_consistency(first, len(leaves), old, new, proof)
    changed = merkle.root([merkle.leaf_hash(b"rewritten"), *leaves[1:]])
    assert not merkle.verify_consistency(first, len(leaves), old, changed, proof)
    assert not merkle.verify_consistency(first, len(leaves), merkle.leaf_hash(b"other"), new, proof)


@pytest.mark.parametrize("index", [-1, 8])
def test_there_is_no_proof_for_a_leaf_that_is_not_there(index: int) -> None:
    with pytest.raises(IndexError):
        merkle.inclusion_proof(_hashed(CT_LEAVES), index)


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
