"""The table in which codes stand, and the looks into it, compiled: a million clips look more than a billion times.

What belongs here: where codes stand and what a key frame finds there by its code alone. A place is a hash of the chosen
bits of a code. A key frame looks with its whole in every turn, as it is and with the weak ones of the chosen bits the
other way, the likeliest patterns first (query-directed probing, Lv et al., Multi-Probe LSH, VLDB 2007); what it finds
is close where few of the signs differ that both trust. Where one look meets too many clips, nothing of it is told
apart: it is marked as a crowd. What was told in another band is not told again.

Unsigned numbers stay unsigned in here: compiled code turns a mixture of uint64 and int64 into floating point.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numba import njit

from assets.curation.dedup.lsh_codes import TRIES, TURNED, WEIGHTS, WINDOWS, Codes

WEAK = 6  # weak bits of the chosen that may be tried the other way
BUSY = 256  # codes that may stand in one place and still be told apart one by one
CROWD = 8  # clips that one look, or a key frame in all its looks, may find and still be compared with
SEEKER_APART = 5  # signs that differ, of those that the one that looks trusts
BOTH_APART = 6  # the same and those of the signs that the one that stands there trusts, together
ROOM = 1 << 13  # finds of one key frame, and
BATCH = 1 << 16  # of so many together that they are handed on

# kinds of entries in a crowd: windows (the whole first, which also looks for others), then the whole in the other turns
KINDS = WINDOWS + len(TURNED) - 1

# Patterns of weak bits, as sets of their ranks: those of the least sum of ranks first.
_SETS = sorted((p for size in range(4) for p in combinations(range(WEAK), size)), key=lambda p: sum(p) + len(p))
_PATTERNS = np.array([sum(1 << rank for rank in ranks) for ranks in _SETS], np.uint8)
_U = np.uint64
_ODD, _OTHER, _HALF = _U(0x9E3779B97F4A7C15), _U(0xBF58476D1CE4E5B9), _U(29)


@njit(nogil=True, cache=True)
def _place(code, mask, size):
    mixed = (code & mask) * _ODD
    mixed ^= mixed >> _HALF
    return np.int64((mixed * _OTHER) >> (_U(64) - size))


@njit(nogil=True, cache=True)
def _ones(bits):
    """How many bits are set."""
    bits -= (bits >> _U(1)) & _U(0x5555555555555555)
    bits = (bits & _U(0x3333333333333333)) + ((bits >> _U(2)) & _U(0x3333333333333333))
    bits = (bits + (bits >> _U(4))) & _U(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * _U(0x0101010101010101)) >> _U(56))


@njit(nogil=True, cache=True)
def _filled(seen, entries, mask, size):
    """Entries in the order of their places (a counting sort): where each place begins, the entries, their codes."""
    start = np.zeros((1 << np.int64(size)) + 2, np.uint32)
    for entry in entries:
        start[_place(seen[entry], mask, size) + 2] += np.uint32(1)
    for place in range(1, len(start)):
        start[place] += start[place - 1]
    sorted_entries, sorted_seen = np.empty(len(entries), np.uint32), np.empty(len(entries), np.uint64)
    for entry in entries:
        place = _place(seen[entry], mask, size) + 1
        at = start[place]
        start[place] = at + np.uint32(1)
        sorted_entries[at], sorted_seen[at] = entry, seen[entry]
    return start[:-1], sorted_entries, sorted_seen


@njit(nogil=True, cache=True)
def _tried(whole, weak, tries, chosen, patterns, weights, out):
    """Write the codes that a key frame tries into `out`, the unchanged one first; how many. `chosen` is a mask."""
    usable = np.zeros(WEAK, np.uint64)
    found = 0
    for bit in weak:
        if found < WEAK and weights[bit] & chosen:
            usable[found] = weights[bit]
            found += 1
    count = 0
    for pattern in patterns:
        if count == tries:
            break
        if pattern >> found:  # of a bit that there is not
            continue
        code = whole
        for rank in range(found):
            if pattern >> rank & 1:
                code ^= usable[rank]
        out[count] = code
        count += 1
    return count


@njit(nogil=True, cache=True)
def _asked(whole, weak, tries, frames, mask, size, patterns, weights, turned):
    """bool, one a place: whether one of `frames` looks there."""
    asked = np.zeros(1 << np.int64(size), np.bool_)
    codes = np.empty(TRIES, np.uint64)
    for frame in frames:
        for number in range(_tried(whole[frame], weak[frame], tries[frame], mask, patterns, weights, codes)):
            for turn in range(len(turned)):
                asked[_place(codes[number] ^ turned[turn], mask, size)] = True
    return asked


@njit(nogil=True, cache=True)
def _standing(seen, asked, mask, size):
    """The entries that stand in a place that is asked for."""
    kept = np.empty(len(seen), np.uint32)
    count = 0
    for entry in range(len(seen)):
        if asked[_place(seen[entry], mask, size)]:
            kept[count] = entry
            count += 1
    return kept[:count]


@njit(nogil=True, cache=True)
def _many(clips, count, clip):
    """How many different clips stand in `clips` with this one more; those beyond CROWD are not kept."""
    for at in range(count):
        if clips[at] == clip:
            return count
    if count < CROWD:
        clips[count] = clip
    return count + 1


@njit(nogil=True, cache=True)
def _look(
    first,
    frames,
    whole,
    strong,
    weak,
    tries,
    clip,
    fresh,
    mask,
    size,
    patterns,
    weights,
    turned,
    start,
    entries,
    seen,
    told,
    crowded,
    found,
):
    """What `frames` from number `first` on find, into `found`, until it is nearly full: the next number, and how many.

    A find is one number: key frame, turn and entry. `crowded` [k, KINDS] marks those that meet too many. `told` is a
    hash table of finds that were told already, which forgets where two have one place: they are told again.
    """
    shift = _U(64 - np.int64(np.log2(len(told))))
    codes = np.empty(TRIES, np.uint64)
    low, high = np.empty(TRIES, np.int64), np.empty(TRIES, np.int64)
    held, held_turn = np.empty(ROOM, np.uint32), np.empty(ROOM, np.uint8)
    here, all_clips = np.empty(CROWD, np.int64), np.empty(CROWD, np.int64)
    count = 0
    for number in range(first, len(frames)):
        if count > len(found) - ROOM:
            return number, count
        frame = frames[number]
        own, trusted = clip[frame], strong[frame * WINDOWS]
        tries_here = _tried(whole[frame], weak[frame], tries[frame], mask, patterns, weights, codes)
        kept, of_all = 0, 0
        for turn in range(len(turned)):
            # all places first: they are far apart in memory, and are fetched at the same time
            for at in range(tries_here):
                place = _place(codes[at] ^ turned[turn], mask, size)
                low[at], high[at] = start[place], start[place + 1]
            kept_before, of_turn = kept, 0
            for at in range(tries_here):
                if high[at] - low[at] > BUSY:
                    crowded[frame, WINDOWS - 1 + turn if turn else 0] = 1
                    continue
                code = codes[at] ^ turned[turn]
                for there in range(low[at], high[at]):
                    apart = seen[there] ^ code
                    differ = _ones(apart & trusted)
                    if differ > SEEKER_APART:
                        continue
                    entry = entries[there]
                    other_frame = np.int64(entry) // WINDOWS
                    other = clip[other_frame]
                    if other == own or differ + _ones(apart & strong[entry]) > BOTH_APART:
                        continue
                    if len(fresh) and not (fresh[own] or fresh[other]):
                        continue
                    of_turn = of_turn if of_turn > CROWD else _many(here, of_turn, other)
                    if of_turn > CROWD or kept == ROOM:
                        of_turn = CROWD + 1
                        crowded[frame, WINDOWS - 1 + turn if turn else 0] = 1
                        crowded[other_frame, np.int64(entry) % WINDOWS] = 1
                        for late in range(kept_before, kept):
                            crowded[np.int64(held[late]) // WINDOWS, np.int64(held[late]) % WINDOWS] = 1
                        kept = kept_before
                        continue
                    held[kept], held_turn[kept] = entry, turn
                    kept += 1
            for late in range(kept_before, kept):
                if of_all <= CROWD:
                    of_all = _many(all_clips, of_all, clip[np.int64(held[late]) // WINDOWS])
        for at in range(kept):
            if of_all > CROWD:
                crowded[frame, WINDOWS - 1 + held_turn[at] if held_turn[at] else 0] = 1
                crowded[np.int64(held[at]) // WINDOWS, np.int64(held[at]) % WINDOWS] = 1
                continue
            find = (_U(frame) << _U(34)) | (_U(held_turn[at]) << _U(32)) | _U(held[at])
            slot = np.int64((find * _ODD) >> shift)
            if told[slot] != find:
                told[slot] = found[count] = find
                count += 1
    return len(frames), count


@njit(nogil=True, cache=True)
def _mark_busy(start, entries, crowded):
    for place in range(len(start) - 1):
        if start[place + 1] - start[place] > BUSY:
            for at in range(start[place], start[place + 1]):
                crowded[np.int64(entries[at]) // WINDOWS, np.int64(entries[at]) % WINDOWS] = 1


@dataclass
class Finds:
    """What key frames found: their numbers, the turns in which they look, and the entries of the table, all [n]."""

    frame: np.ndarray
    turn: np.ndarray
    entry: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray) -> Finds:
        return cls(
            (numbers >> _U(34)).astype(np.int64),
            (numbers >> _U(32) & _U(3)).astype(np.int64),
            (numbers & _U(0xFFFFFFFF)).astype(np.int64),
        )


class Told:
    """Which finds were told already, of all bands: exact where it remembers, and may be shared by threads."""

    def __init__(self, key_frames: int) -> None:
        size = min(24, max(16, key_frames.bit_length() + 2))
        self.finds = np.full(1 << size, np.iinfo(np.uint64).max, np.uint64)


class Table:
    """Entries (key frame times `WINDOWS` plus window) by place. `chosen` are the numbers of the bits that decide."""

    def __init__(self, codes: Codes, chosen: np.ndarray, entries: np.ndarray) -> None:
        self.codes, self.mask, self.size = codes, *_mask(chosen)
        self.start, self.entries, self.seen = _filled(codes.seen.ravel(), entries, self.mask, self.size)

    def look(self, frames: np.ndarray, fresh: np.ndarray | None, told: Told, crowded: np.ndarray) -> Finds:
        """What `frames` find that is close; only pairs with a fresh clip, if `fresh` (bool, one a clip) is given.

        `crowded` uint8 [k, KINDS] gets a mark for each entry that meets too many.
        """
        _mark_busy(self.start, self.entries, crowded)
        c, found = self.codes, np.empty(BATCH + ROOM, np.uint64)
        asks = np.zeros(0, bool) if fresh is None else fresh
        parts, number = [found[:0]], 0
        while number < len(frames):
            number, count = _look(
                number,
                frames,
                c.whole,
                c.strong.ravel(),
                c.weak,
                c.tries,
                c.clip,
                asks,
                self.mask,
                self.size,
                _PATTERNS,
                WEIGHTS,
                TURNED,
                self.start,
                self.entries,
                self.seen,
                told.finds,
                crowded,
                found,
            )
            parts.append(found[:count].copy())
        return Finds.of(np.concatenate(parts))


def sought(codes: Codes, frames: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The entries that stand where one of `frames` looks."""
    mask, size = _mask(chosen)
    asked = _asked(codes.whole, codes.weak, codes.tries, frames, mask, size, _PATTERNS, WEIGHTS, TURNED)
    return _standing(codes.seen.ravel(), asked, mask, size)


def tried_codes(codes: Codes, frame: int, chosen: np.ndarray) -> np.ndarray:
    """uint64: the codes that a key frame tries where the bits `chosen` decide, the unchanged one first."""
    out = np.empty(TRIES, np.uint64)
    mask, _ = _mask(chosen)
    return out[: _tried(codes.whole[frame], codes.weak[frame], codes.tries[frame], mask, _PATTERNS, WEIGHTS, out)]


def places(codes: np.ndarray, chosen: np.ndarray, size: int) -> np.ndarray:
    """Where codes stand: `size` bits of a hash of their chosen bits, as `_place` has it."""
    mixed = (codes & WEIGHTS[chosen].sum()) * _ODD
    mixed ^= mixed >> _HALF
    return (mixed * _OTHER) >> _U(64 - size)


def _mask(chosen: np.ndarray) -> tuple[np.uint64, np.uint64]:
    """The chosen bits, and the bits of a place: one more, so that few codes share a place by chance."""
    return WEIGHTS[chosen].sum(), _U(len(chosen) + 1)
