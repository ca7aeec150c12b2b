"""Whether a clip is in a committed set: proofs of presence and of absence over the sorted Merkle tree of clip ids.

A set is known by `ids_root` and `n`, which come from elsewhere (a model's commitment) and never from the proof. Proving
needs all clip ids of the set; checking needs the proof alone. The absence of a clip is shown by the two members around it
at consecutive indexes, which is sound if the leaves are sorted; a small set is listed whole so that this can be seen too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from assets.consent.proofs.statements import digest, nodes, require, require_fields, whole_number
from training.consent import merkle
from training.consent.snapshot import id_leaf, ids_root

COMPLETE_UP_TO = 4096  # members; a longer list would make the file larger than the footage that it speaks of

Proof = dict[str, Any]


class ClipTree:
    """A set of clip ids in ascending order and every level of its tree, so that any number of proofs cost one hashing."""

    def __init__(self, clip_ids: Iterable[str]) -> None:
        self.clip_ids = sorted(clip_ids)
        self._levels = [[id_leaf(clip_id) for clip_id in self.clip_ids]]
        while len(level := self._levels[-1]) > 1:  # an odd last node is carried up, as in RFC 9162
            paired = [merkle.node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            self._levels.append(paired + ([level[-1]] if len(level) % 2 else []))

    def __contains__(self, clip_id: str) -> bool:
        at = bisect_left(self.clip_ids, clip_id)
        return at < len(self.clip_ids) and self.clip_ids[at] == clip_id

    def inclusion(self, clip_id: str) -> Proof:
        """{index, path} of a member; raises ValueError for a clip that is not in the set."""
        if clip_id not in self:
            raise ValueError(f"clip {clip_id} is not in the set")
        return self._place(bisect_left(self.clip_ids, clip_id))

    def exclusion(self, clip_id: str) -> Proof:
        """{complete, clip_ids, left, right}: `clip_ids` is null unless `complete`; a neighbour {clip_id, index, path} is
        null at the end where there is none. Raises ValueError for a member, which has no such proof.
        """
        if clip_id in self:
            raise ValueError(f"clip {clip_id} is in the set")
        at, n = bisect_left(self.clip_ids, clip_id), len(self.clip_ids)
        complete = n <= COMPLETE_UP_TO
        left, right = (
            {"clip_id": self.clip_ids[index], **self._place(index)} if 0 <= index < n else None
            for index in (at - 1, at)
        )
        return {
            "complete": complete,
            "clip_ids": self.clip_ids if complete else None,
            "left": left,
            "right": right,
        }

    def _place(self, index: int) -> Proof:
        path, position = [], index
        for level in self._levels[:-1]:
            if position ^ 1 < len(level):
                path.append(level[position ^ 1].hex())
            position >>= 1
        return {"index": index, "path": path}


def check_inclusion(proof: Any, clip_id: str, root: str, n: int) -> None:
    """Raise ProofError unless the proof shows that the clip is in the set of this root and size."""
    require_fields(proof, {"index", "path"}, "a proof that a clip is in a set")
    index, leaf = whole_number(proof["index"], "an index"), merkle.leaf_hash(digest(clip_id))
    holds = merkle.verify_inclusion(leaf, index, n, nodes(proof["path"]), digest(root))
    require(holds, f"clip {clip_id} is not shown to be in the set {root}")


def check_exclusion(proof: Any, clip_id: str, root: str, n: int) -> None:
    """Raise ProofError unless the proof shows that the clip is not in the set of this root and size."""
    require_fields(proof, {"complete", "clip_ids", "left", "right"}, "a proof that a clip is not in a set")
    digest(clip_id)
    for side in ("left", "right"):
        _check_neighbour(proof[side], side, clip_id, root, n)
    left, right = (proof[side]["index"] if proof[side] else None for side in ("left", "right"))
    if left is None and right is None:
        require(n == 0 and digest(root) == merkle.EMPTY_ROOT, "no neighbour is given, but the set is not empty")
    elif left is None:
        require(right == 0, f"the right neighbour is at {right}, so there are members before it")
    elif right is None:
        require(left == n - 1, f"the left neighbour is at {left} of {n}, so there are members behind it")
    else:
        require(right == left + 1, f"the neighbours are at {left} and {right}: there is room for a member between them")
    _check_list(proof, clip_id, root, n)


def _check_neighbour(neighbour: Any, side: str, clip_id: str, root: str, n: int) -> None:
    if neighbour is None:
        return
    require_fields(neighbour, {"clip_id", "index", "path"}, f"the {side} neighbour")
    place = {"index": neighbour["index"], "path": neighbour["path"]}
    check_inclusion(place, neighbour["clip_id"], root, n)
    beside = neighbour["clip_id"] < clip_id if side == "left" else neighbour["clip_id"] > clip_id
    require(beside, f"the {side} neighbour {neighbour['clip_id']} is not to the {side} of clip {clip_id}")


def _check_list(proof: Proof, clip_id: str, root: str, n: int) -> None:
    """Where the whole set is listed: it is sorted, it is the one that was committed to, and the clip is not on it."""
    listed = proof["clip_ids"]
    require(proof["complete"] is (listed is not None), "`complete` does not say whether the whole set is listed")
    if listed is None:
        return
    require(isinstance(listed, list) and len(listed) == n, f"the list is not of {n} clips")
    for member in listed:
        digest(member)
    require(all(first < other for first, other in pairwise(listed)), "the list is not sorted")
    require(ids_root(listed) == root, "the list is not the set that was committed to")
    require(clip_id not in listed, f"clip {clip_id} is on the list")
