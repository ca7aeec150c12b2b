"""Merkle trees as RFC 9162 (Certificate Transparency 2.0), section 2.1, defines them over SHA-256.

A tree is a sequence of leaf hashes (32 bytes each). The nodes of a proof are given as ranges of leaves, so that a
proof can be put together from a list of leaves or from hashes kept in a database. Nothing here knows what a leaf commits
to, or where hashes are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()

Range = tuple[int, int]  # leaves from the first up to, not including, the second


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data): the prefix keeps a leaf from being passed off as an inner node (2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


# -- roots -----------------------------------------------------------------------------------------------------------


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH over leaf hashes (2.1.1); SHA-256 of nothing for an empty tree."""
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    while len(level) > 1:  # an odd last node is carried up, which is RFC 9162's split at the largest power of two
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def bag(peaks: Sequence[bytes]) -> bytes:
    """The root over complete subtrees of falling size, given by their hashes from left to right."""
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for left in reversed(peaks[:-1]):
        node = node_hash(left, node)
    return node


def complete_subtrees(first: int, last: int) -> list[Range]:
    """The largest complete subtrees that make up [first, last) from left to right, which `bag` joins to its root.

    `first` is 0 or a multiple of the smallest power of two not below the range's length, as in every range of a proof.
    """
    ranges = []
    while first < last:
        size = 1 << ((last - first).bit_length() - 1)
        ranges.append((first, first + size))
        first += size
    return ranges


class GrowingTree:
    """The root of a tree that only grows, leaf by leaf, in memory that grows with the logarithm of its size."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        node, size = leaf, self.size
        while size & 1:  # two complete subtrees of one size are one of twice that size
            node, size = node_hash(self._peaks.pop(), node), size >> 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        return bag(self._peaks)


# -- inclusion -------------------------------------------------------------------------------------------------------


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The subtrees whose roots are PATH(index, D_size), from the leaf up (2.1.3.1); raises IndexError."""
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of {size}")
    first, last, down = 0, size, list[Range]()
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            down.append((middle, last))
            last = middle
        else:
            down.append((first, middle))
            first = middle
    return down[::-1]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, leaves), from the leaf up; raises IndexError."""
    return [root(leaves[first:last]) for first, last in inclusion_ranges(index, len(leaves))]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    fn, sn, node = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and node == expected_root


# -- consistency -----------------------------------------------------------------------------------------------------


def consistency_ranges(first_size: int, second_size: int) -> list[Range]:
    """The subtrees whose roots are PROOF(first_size, D_second_size), in its order (2.1.4.1); raises IndexError."""
    if not 0 < first_size <= second_size:
        raise IndexError(f"a prefix of {first_size} in a tree of {second_size}")
    first, last, down = 0, second_size, list[Range]()
    while first_size < last:
        middle = first + _split(last - first)
        if first_size <= middle:
            down.append((middle, last))
            last = middle
        else:
            down.append((first, middle))
            first = middle
    own_root = [(first, last)] if first > 0 else []  # from 0 on it is the first tree's own root, which is known
    return own_root + down[::-1]


def consistency_proof(leaves: Sequence[bytes], first_size: int) -> list[bytes]:
    """PROOF(first_size, leaves): that the tree of the first leaves is a prefix; raises IndexError."""
    return [root(leaves[first:last]) for first, last in consistency_ranges(first_size, len(leaves))]


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162, 2.1.4.2. The empty tree is a prefix of every tree, by an empty proof."""
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    if not 0 < first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not path:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = path[0]
    for node in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node_hash(node, old), node_hash(node, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node_hash(new, node)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old == first_root and new == second_root
