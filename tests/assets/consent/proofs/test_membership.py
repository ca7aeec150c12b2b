"""Presence and absence in a committed set: whoever is in yields no proof of absence, whoever is not always does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from assets.consent.proofs import membership
from assets.consent.proofs.membership import ClipTree, check_exclusion, check_inclusion
from assets.consent.proofs.statements import ProofError
from training.consent import merkle
from training.consent.snapshot import id_leaf, ids_root

# a clip id is 32 bytes; few distinct ones, at both ends and in the middle, so that neighbours touch
CLIPS = st.integers(0, 40).map(lambda i: (i * 7).to_bytes(32, "big").hex())
SETS = st.sets(CLIPS, max_size=24)
# a set with members, one of them, and a clip that is none of them
MEMBERS = st.lists(CLIPS, min_size=2, max_size=24, unique=True).map(
    lambda clips: (set(clips[:-1]), clips[0], clips[-1])
)


@pytest.fixture(params=[0, 4096], ids=["neighbours alone", "with the whole list"], autouse=True)
def listed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Every property holds of both forms of the proof."""
    monkeypatch.setattr(membership, "COMPLETE_UP_TO", request.param)
    return request.param


def committed(clips: set[str]) -> tuple[str, int]:
    return ids_root(clips), len(clips)


@given(clips=SETS, clip=CLIPS)
def test_a_clip_is_shown_to_be_in_or_to_be_out_and_never_both(clips: set[str], clip: str) -> None:
    if clip in clips:
        check_inclusion(ClipTree(clips).inclusion(clip), clip, *committed(clips))
        with pytest.raises(ValueError, match="is in the set"):
            ClipTree(clips).exclusion(clip)
    else:
        check_exclusion(ClipTree(clips).exclusion(clip), clip, *committed(clips))
        with pytest.raises(ValueError, match="is not in the set"):
            ClipTree(clips).inclusion(clip)


@given(MEMBERS)
def test_a_proof_of_absence_is_none_for_a_member(drawn: tuple[set[str], str, str]) -> None:
    """It may hold for another clip in the same gap; never for a member."""
    clips, member, outsider = drawn
    with pytest.raises(ProofError):
        check_exclusion(ClipTree(clips).exclusion(outsider), member, *committed(clips))


@given(MEMBERS, SETS)
def test_a_proof_of_one_set_says_nothing_of_another(drawn: tuple[set[str], str, str], others: set[str]) -> None:
    clips, _, clip = drawn
    assume(clips != others)
    with pytest.raises(ProofError):
        check_exclusion(ClipTree(clips).exclusion(clip), clip, *committed(others))


@given(MEMBERS)
def test_leaving_a_member_out_of_the_list_does_not_make_it_absent(drawn: tuple[set[str], str, str]) -> None:
    """The forger proves the absence in the set without the member, and then claims the root of the set with it."""
    clips, member, _ = drawn
    with pytest.raises(ProofError):
        check_exclusion(ClipTree(clips - {member}).exclusion(member), member, *committed(clips))


@given(clips=SETS.filter(lambda s: len(s) > 1), data=st.data())
def test_neighbours_that_are_not_adjacent_are_refused(clips: set[str], data: st.DataObject) -> None:
    """Both neighbours are honest members with honest paths, and the member between them is skipped."""
    ordered = sorted(clips)
    leaves = [id_leaf(clip) for clip in ordered]
    skipped = data.draw(st.integers(0, len(ordered) - 1))

    def at(index: int) -> dict[str, Any] | None:
        if not 0 <= index < len(ordered):
            return None
        path = [node.hex() for node in merkle.inclusion_proof(leaves, index)]
        return {"clip_id": ordered[index], "index": index, "path": path}

    forged = {"complete": False, "clip_ids": None, "left": at(skipped - 1), "right": at(skipped + 1)}
    with pytest.raises(ProofError):
        check_exclusion(forged, ordered[skipped], *committed(clips))


@given(clips=SETS.filter(len), data=st.data())
def test_a_path_is_that_of_the_standard(clips: set[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(clips) - 1))
    leaves = [id_leaf(clip) for clip in sorted(clips)]
    standard = {"index": index, "path": [node.hex() for node in merkle.inclusion_proof(leaves, index)]}
    assert ClipTree(clips).inclusion(sorted(clips)[index]) == standard


def edits(value: Any, place: Callable[[Any], None]) -> Any:
    """Every edit of one value in a proof: `place` puts the new value where the old one was."""
    if isinstance(value, dict):
        for key in value:
            yield from edits(value[key], lambda new, key=key: value.__setitem__(key, new))
            yield lambda key=key: value.pop(key)
        yield lambda: value.update(extra=1)
    elif isinstance(value, list):
        for i in range(len(value)):
            yield from edits(value[i], lambda new, i=i: value.__setitem__(i, new))
            yield lambda i=i: value.pop(i)
            yield lambda i=i: value.insert(i, "0" * 64)
        yield lambda: value.append("f" * 64)
        yield lambda: value.reverse()
    elif isinstance(value, bool):
        yield lambda: place(not value)
    elif isinstance(value, int):
        yield from (lambda new=new: place(new) for new in (value + 1, value - 1, -value - 1, str(value), None, 1.5))
    elif isinstance(value, str):
        flipped = ("0" if value[0] != "0" else "1") + value[1:]
        yield from (lambda new=new: place(new) for new in (flipped, value.upper(), value + "0", value[:-2], "", None))
    else:
        yield from (lambda new=new: place(new) for new in (0, "", [], {"clip_id": "0" * 64, "index": 0, "path": []}))


@settings(max_examples=25, deadline=None)
@given(MEMBERS)
def test_every_edit_of_a_proof_is_found(drawn: tuple[set[str], str, str]) -> None:
    clips, _, clip = drawn
    honest = ClipTree(clips).exclusion(clip)
    for number in range(sum(1 for _ in edits(honest, lambda _: None))):
        edited = copy.deepcopy(honest)
        list(edits(edited, lambda _: None))[number]()
        if edited != honest and repr(edited) != repr(honest):  # digits alone have no upper case
            with pytest.raises(ProofError):
                check_exclusion(edited, clip, *committed(clips))


def test_a_list_that_is_not_sorted_is_seen_where_it_is_given(listed: int) -> None:
    """A platform that commits to an unsorted tree could skip a member: the neighbours alone do not show it."""
    a, hidden, b, c = ((i * 7).to_bytes(32, "big").hex() for i in range(1, 5))
    leaves = [id_leaf(clip) for clip in (a, b, hidden, c)]  # `hidden` lies out of order, behind b
    root = merkle.root(leaves).hex()

    def at(clip: str, index: int) -> dict[str, Any]:
        return {"clip_id": clip, "index": index, "path": [n.hex() for n in merkle.inclusion_proof(leaves, index)]}

    forged = {"complete": False, "clip_ids": None, "left": at(a, 0), "right": at(b, 1)}
    check_exclusion(forged, hidden, root, 4)
    for order in ([a, b, hidden, c], sorted([a, b, hidden, c]), [a, b, c, c]):
        with pytest.raises(ProofError):
            check_exclusion(forged | {"complete": True, "clip_ids": order}, hidden, root, 4)
