"""The hash table of codes, and the search in it, compiled: a million clips search more than a billion times.

A bucket is chosen by a hash of the chosen bits of a code. A key frame searches with its whole in every turn, with its
code as it is and with weak ones of the chosen bits flipped, the likeliest patterns first (query-directed probing, Lv et
al., Multi-Probe LSH, VLDB 2007). An entry is a hit where few of the signs that both trust differ. Where one search meets
too many clips, no hits are told apart: the entries are marked for `candidate_pairs`. What another band reported already
is not reported again.

Unsigned numbers stay unsigned here: compiled code turns a mixture of uint64 and int64 into floating point.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numba import njit

from assets.curation.dedup.lsh_codes import TRIES, TURNED, WEIGHTS, WINDOWS, Codes

WEAK = 6  # weak bits of the chosen that may be flipped
BUCKET_MOST = 256  # codes that may stand in one bucket and still be told apart one by one
CLIPS_MOST = 8  # clips that one search, or a key frame in all its searches, may hit and still be compared with
SEEKER_APART = 5  # signs that differ, of those that the one that searches trusts
BOTH_APART = 6  # the same and those of the signs that the entry trusts, together
ROOM = 1 << 13  # hits of one key frame, and
BATCH = 1 << 16  # of so many together that they are handed on

# kinds of entries in a large bucket: windows (the whole first, which also searches), then the whole in the other turns
KINDS = WINDOWS + len(TURNED) - 1

# Patterns of weak bits, as sets of their ranks: those of the least sum of ranks first.
_SETS = sorted((p for size in range(4) for p in combinations(range(WEAK), size)), key=lambda p: sum(p) + len(p))
_U = np.uint64
_ODD, _OTHER, _HALF = _U(0x9E3779B97F4A7C15), _U(0xBF58476D1CE4E5B9), _U(29)


class Flips(NamedTuple):
    """Which bits of a code are flipped: `patterns` of weak ones, the `weights` of all, and those that each turn changes."""

    patterns: np.ndarray
    weights: np.ndarray
    turned: np.ndarray


FLIPS = Flips(np.array([sum(1 << rank for rank in ranks) for ranks in _SETS], np.uint8), WEIGHTS, TURNED)


class KeyFrames(NamedTuple):
    """The arrays of `Codes` that a search reads; those of all windows are flat, by entry."""

    clip: np.ndarray
    whole: np.ndarray
    weak: np.ndarray
    tries: np.ndarray
    trusted: np.ndarray

    @classmethod
    def of(cls, codes: Codes) -> KeyFrames:
        return cls(codes.clip, codes.whole, codes.weak, codes.tries, codes.trusted.ravel())


class Hashing(NamedTuple):
    """What decides on the bucket of a code: the chosen bits as a mask, and how many bits number a bucket."""

    mask: np.uint64
    bits: np.uint64

    @classmethod
    def by(cls, chosen: np.ndarray) -> Hashing:
        """One bit more than are `chosen`, so that few codes share a bucket by chance."""
        return cls(WEIGHTS[chosen].sum(), _U(len(chosen) + 1))


class Buckets(NamedTuple):
    """Entries (key frame times `WINDOWS` plus window) and their codes, sorted by bucket; `start` is where each begins."""

    hashing: Hashing
    start: np.ndarray
    entries: np.ndarray
    codes: np.ndarray


class Search(NamedTuple):
    """What is searched, and by whom: only pairs with a `fresh` clip (bool, one a clip), unless that is empty."""

    frames: KeyFrames
    buckets: Buckets
    flips: Flips
    fresh: np.ndarray


@njit(nogil=True, cache=True)
def _bucket(code, hashing):
    mixed = (code & hashing.mask) * _ODD
    mixed ^= mixed >> _HALF
    return np.int64((mixed * _OTHER) >> (_U(64) - hashing.bits))


@njit(nogil=True, cache=True)
def _count_ones(bits):
    bits -= (bits >> _U(1)) & _U(0x5555555555555555)
    bits = (bits & _U(0x3333333333333333)) + ((bits >> _U(2)) & _U(0x3333333333333333))
    bits = (bits + (bits >> _U(4))) & _U(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * _U(0x0101010101010101)) >> _U(56))


@njit(nogil=True, cache=True)
def _sorted_by_bucket(codes, entries, hashing):
    """A counting sort: where each bucket begins, the entries in order, and their codes."""
    start = np.zeros((1 << np.int64(hashing.bits)) + 2, np.uint32)
    for entry in entries:
        start[_bucket(codes[entry], hashing) + 2] += np.uint32(1)
    for bucket in range(1, len(start)):
        start[bucket] += start[bucket - 1]
    sorted_entries, sorted_codes = np.empty(len(entries), np.uint32), np.empty(len(entries), np.uint64)
    for entry in entries:
        bucket = _bucket(codes[entry], hashing) + 1
        at = start[bucket]
        start[bucket] = at + np.uint32(1)
        sorted_entries[at], sorted_codes[at] = entry, codes[entry]
    return start[:-1], sorted_entries, sorted_codes


@njit(nogil=True, cache=True)
def _try_codes(whole, weak, tries, mask, flips, out):
    """Write the codes that a key frame searches with into `out`, the unchanged one first; how many."""
    usable = np.zeros(WEAK, np.uint64)
    bits = 0
    for bit in weak:
        if bits < WEAK and flips.weights[bit] & mask:
            usable[bits] = flips.weights[bit]
            bits += 1
    count = 0
    for pattern in flips.patterns:
        if count == tries:
            break
        if pattern >> bits:  # of a bit that there is not
            continue
        code = whole
        for rank in range(bits):
            if pattern >> rank & 1:
                code ^= usable[rank]
        out[count] = code
        count += 1
    return count


@njit(nogil=True, cache=True)
def _searched_buckets(seekers, frames, hashing, flips):
    """bool, one a bucket: whether one of the key frames `seekers` searches it."""
    searched = np.zeros(1 << np.int64(hashing.bits), np.bool_)
    codes = np.empty(TRIES, np.uint64)
    for frame in seekers:
        tried = _try_codes(frames.whole[frame], frames.weak[frame], frames.tries[frame], hashing.mask, flips, codes)
        for number in range(tried):
            for turn in range(len(flips.turned)):
                searched[_bucket(codes[number] ^ flips.turned[turn], hashing)] = True
    return searched


@njit(nogil=True, cache=True)
def _entries_in(codes, searched, hashing):
    """The entries in buckets that are searched."""
    kept = np.empty(len(codes), np.uint32)
    count = 0
    for entry in range(len(codes)):
        if searched[_bucket(codes[entry], hashing)]:
            kept[count] = entry
            count += 1
    return kept[:count]


@njit(nogil=True, cache=True)
def _add_clip(clips, count, clip):
    """How many different clips are in `clips` with this one more; those beyond CLIPS_MOST are not kept."""
    for at in range(count):
        if clips[at] == clip:
            return count
    if count < CLIPS_MOST:
        clips[count] = clip
    return count + 1


@njit(nogil=True, cache=True)
def _mark(large, entry):
    large[np.int64(entry) // WINDOWS, np.int64(entry) % WINDOWS] = 1


@njit(nogil=True, cache=True)
def _search(first, seekers, search, large, reported, hits):
    """What `seekers` from number `first` on hit, into `hits`, until they are nearly full: the next number, and how many.

    A hit is one number: key frame, turn and entry. `large` [k, KINDS] marks those that meet too many. `reported` is a
    hash table of hits that were reported already, which forgets where two have one slot: they are reported again.
    """
    # arrays are taken out of their tuples once: taking them out in the loops counts references, which costs as much as
    # the search
    (clip, whole, weak, tries, trusted), (hashing, start, entries, codes), flips, fresh = search
    turned, shift = flips.turned, _U(64 - np.int64(np.log2(len(reported))))
    tried, low, high = np.empty(TRIES, np.uint64), np.empty(TRIES, np.int64), np.empty(TRIES, np.int64)
    kept_entries, kept_turns = np.empty(ROOM, np.uint32), np.empty(ROOM, np.uint8)
    turn_clips, all_clips = np.empty(CLIPS_MOST, np.int64), np.empty(CLIPS_MOST, np.int64)
    count = 0
    for number in range(first, len(seekers)):
        if count > len(hits) - ROOM:
            return number, count
        frame = seekers[number]
        own, own_trusted = clip[frame], trusted[frame * WINDOWS]
        searches = _try_codes(whole[frame], weak[frame], tries[frame], hashing.mask, flips, tried)
        kept, met = 0, 0
        for turn in range(len(turned)):
            kind = WINDOWS - 1 + turn if turn else 0
            # all buckets first: they are far apart in memory, and are fetched at the same time
            for at in range(searches):
                bucket = _bucket(tried[at] ^ turned[turn], hashing)
                low[at], high[at] = start[bucket], start[bucket + 1]
            kept_before, met_in_turn = kept, 0
            for at in range(searches):
                if high[at] - low[at] > BUCKET_MOST:
                    large[frame, kind] = 1
                    continue
                code = tried[at] ^ turned[turn]
                for place in range(low[at], high[at]):
                    apart = codes[place] ^ code
                    differ = _count_ones(apart & own_trusted)
                    if differ > SEEKER_APART:
                        continue
                    entry = entries[place]
                    other = clip[np.int64(entry) // WINDOWS]
                    if other == own or differ + _count_ones(apart & trusted[entry]) > BOTH_APART:
                        continue
                    if len(fresh) and not (fresh[own] or fresh[other]):
                        continue
                    met_in_turn = met_in_turn if met_in_turn > CLIPS_MOST else _add_clip(turn_clips, met_in_turn, other)
                    if met_in_turn > CLIPS_MOST or kept == ROOM:  # this turn keeps nothing
                        met_in_turn = CLIPS_MOST + 1
                        large[frame, kind] = 1
                        _mark(large, entry)
                        for late in range(kept_before, kept):
                            _mark(large, kept_entries[late])
                        kept = kept_before
                        continue
                    kept_entries[kept], kept_turns[kept] = entry, turn
                    kept += 1
            for at in range(kept_before, kept):
                if met <= CLIPS_MOST:
                    met = _add_clip(all_clips, met, clip[np.int64(kept_entries[at]) // WINDOWS])
        for at in range(kept):
            if met > CLIPS_MOST:
                large[frame, WINDOWS - 1 + kept_turns[at] if kept_turns[at] else 0] = 1
                _mark(large, kept_entries[at])
                continue
            hit = (_U(frame) << _U(34)) | (_U(kept_turns[at]) << _U(32)) | _U(kept_entries[at])
            slot = np.int64((hit * _ODD) >> shift)
            if reported[slot] != hit:
                reported[slot] = hits[count] = hit
                count += 1
    return len(seekers), count


@njit(nogil=True, cache=True)
def _mark_large(start, entries, large):
    for bucket in range(len(start) - 1):
        if start[bucket + 1] - start[bucket] > BUCKET_MOST:
            for at in range(start[bucket], start[bucket + 1]):
                _mark(large, entries[at])


@dataclass
class Hits:
    """What key frames hit: their numbers, the turns in which they search, and the entries of the table, all [n]."""

    frame: np.ndarray
    turn: np.ndarray
    entry: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray) -> Hits:
        return cls(
            (numbers >> _U(34)).astype(np.int64),
            (numbers >> _U(32) & _U(3)).astype(np.int64),
            (numbers & _U(0xFFFFFFFF)).astype(np.int64),
        )


class Reported:
    """Which hits were reported already, of all bands: exact where it remembers, and may be shared by threads."""

    def __init__(self, key_frames: int) -> None:
        size = min(24, max(16, key_frames.bit_length() + 2))
        self.hits = np.full(1 << size, np.iinfo(np.uint64).max, np.uint64)


class Table:
    """Entries by bucket. `chosen` are the numbers of the bits that decide."""

    def __init__(self, codes: Codes, chosen: np.ndarray, entries: np.ndarray) -> None:
        hashing = Hashing.by(chosen)
        self._frames = KeyFrames.of(codes)
        self._buckets = Buckets(hashing, *_sorted_by_bucket(codes.of_windows.ravel(), entries, hashing))

    def search(self, seekers: np.ndarray, fresh: np.ndarray | None, reported: Reported, large: np.ndarray) -> Hits:
        """What the key frames `seekers` hit; only pairs with a fresh clip, if `fresh` (bool, one a clip) is given.

        `large` uint8 [k, KINDS] gets a mark for each entry that meets too many.
        """
        _mark_large(self._buckets.start, self._buckets.entries, large)
        search = Search(self._frames, self._buckets, FLIPS, np.zeros(0, bool) if fresh is None else fresh)
        hits = np.empty(BATCH + ROOM, np.uint64)
        batches, number = [hits[:0]], 0
        while number < len(seekers):
            number, count = _search(number, seekers, search, large, reported.hits, hits)
            batches.append(hits[:count].copy())
        return Hits.of(np.concatenate(batches))


def searched_entries(codes: Codes, seekers: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The entries in the buckets that one of the key frames `seekers` searches."""
    hashing = Hashing.by(chosen)
    searched = _searched_buckets(seekers, KeyFrames.of(codes), hashing, FLIPS)
    return _entries_in(codes.of_windows.ravel(), searched, hashing)


def tried_codes(codes: Codes, frame: int, chosen: np.ndarray) -> np.ndarray:
    """uint64: the codes that a key frame searches with where the bits `chosen` decide, the unchanged one first."""
    out = np.empty(TRIES, np.uint64)
    mask = Hashing.by(chosen).mask
    return out[: _try_codes(codes.whole[frame], codes.weak[frame], codes.tries[frame], mask, FLIPS, out)]


def buckets_of(codes: np.ndarray, chosen: np.ndarray, size: int) -> np.ndarray:
    """The buckets of codes: `size` bits of a hash of their chosen bits, as `_bucket` has it."""
    mixed = (codes & WEIGHTS[chosen].sum()) * _ODD
    mixed ^= mixed >> _HALF
    return (mixed * _OTHER) >> _U(64 - size)
