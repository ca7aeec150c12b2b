"""Which of very many clips are near each other, without comparing all with all.

What belongs here: finding pairs. A few key frames of each clip are written as codes of sign bits, of the whole picture, of
its turns and of its windows; clips of which a whole meets a whole or a window in all chosen bits of the code are
compared in full, for each of `BANDS` choices of bits. More bits are chosen where there are more clips, so the work grows
with the clips and the pairs that are really alike. Where very many clips meet in one place (a title card, a colour card,
a sky) they are not compared with one another but with the first of them that they are near to, which is all that
deciding about copies needs; a clip is compared at most `PATIENCE` times in crowds, and what was then left undone is
counted, never dropped in silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from assets.curation.likeness import COARSE, TURNS, Film, compare
from assets.curation.phash import unpack

KEY_FRAMES = 6  # of a clip, evenly spaced, less those that look like the one before
SAME_LOOK = 0.97  # coarse likeness of two frames from which on the second is no key frame of its own
POOL = 40  # bits of a code that are chosen from, those of the lowest frequencies: they change least
LEAST_BITS, MOST_BITS, SPARE_BITS = 16, 24, 4  # so many more bits than would give every key frame a place of its own
BANDS = 20  # choices of bits
MORE_BITS = 14  # that a crowd is divided by
CROWD = 24  # frames that may meet in one place and still be compared all with all
ROUNDS = 4  # first clips of a crowd that the others are compared with, one after another
PATIENCE = 3  # full comparisons that a clip takes part in, as a follower, in all crowds together
CODES_APART = 9  # of the code's bits, in which frames that are worth a comparison differ at most
FRAMES_ALIKE = 0.75  # coarse likeness of two key frames that makes their clips worth a comparison
WORKERS = 2  # bands that are looked through at the same time; each holds about a kilobyte a clip
CHUNK = 1 << 17  # frames that are described at a time

WEAK = 1  # bits of the whole's code, those of the smallest coefficients, that are also tried the other way

# kinds of code: the whole, its windows, and what looks for others: the whole in every turn, with every weak bit or none
_WHOLE, _WINDOWS = 0, len(COARSE.windows)
_SEEKING = [(turn, weak) for turn in range(len(TURNS)) for weak in range(WEAK + 1)][1:]
KINDS = _WINDOWS + len(_SEEKING)
T = TypeVar("T")
_WEIGHTS = (1 << np.arange(64, dtype=np.uint64)).astype(np.uint64)


@dataclass
class Pairs:
    """Near pairs of clips, `first` below `second`, each once, in order. `unfinished` clips ran out of patience."""

    first: np.ndarray
    second: np.ndarray
    structure: np.ndarray
    compared: int = 0
    unfinished: int = 0


def near_pairs(film: Film, fresh: np.ndarray | None = None) -> Pairs:
    """The near pairs of the clips of `film`, which stand in the order in which they may own footage.

    With `fresh` (bool, one a clip), only pairs with at least one fresh clip: what a new day adds to what is known.
    """
    if fresh is not None and not fresh.any():
        return Pairs(*(np.zeros(0, np.int64),) * 2, np.zeros(0, np.float32))
    return _Search(film, fresh).run()


@dataclass
class _Search:
    film: Film
    fresh: np.ndarray | None
    tried: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # pairs compared so far, sorted
    found: list[np.ndarray] = field(default_factory=list)
    likeness: list[np.ndarray] = field(default_factory=list)

    def run(self) -> Pairs:
        self.clip, self.frame, codes = key_codes(self.film)
        self.codes = codes.ravel()
        count = len(self.film)
        self.follows = np.zeros(count, bool)  # near an earlier clip, as far as is known
        self.patience = np.full(count, PATIENCE, np.int8)
        unfinished = np.zeros(count, bool)
        with ThreadPoolExecutor(WORKERS) as pool:
            for met, crowded in _ahead(pool, self._met, _masks(len(codes))):
                self._compare(met)
                unfinished |= self._in_crowds(crowded)
        pairs = np.concatenate([*self.found, np.zeros(0, np.int64)])
        likeness = np.concatenate([*self.likeness, np.zeros(0, np.float32)])
        order = np.argsort(pairs)
        first, second = np.divmod(pairs[order], max(count, 1))
        return Pairs(first, second, likeness[order], len(self.tried), int((unfinished & ~self.follows).sum()))

    def _met(self, mask: np.uint64, more: np.uint64) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Pairs of clips worth a comparison, and the frames (place, entry) that stand in crowds."""
        places, entries, crowd = self._stand(np.arange(len(self.codes), dtype=np.uint32), mask)
        crowded = entries[crowd]
        met = [self._met_in(places[~crowd], entries[~crowd])]
        places, entries, crowd = self._stand(crowded, mask | more)
        met.append(self._met_in(places[~crowd], entries[~crowd]))
        return np.unique(np.concatenate(met)), (places[crowd], entries[crowd])

    def _stand(self, entries: np.ndarray, mask: np.uint64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The places in which several clips stand, the entries there, and whether it is a crowd."""
        places, entries = _sorted_places(self.codes, entries, mask)
        several, sizes = self._several(places, entries)
        kept = np.repeat(several, sizes)
        crowd = np.repeat(sizes[several] > CROWD, sizes[several])
        return places[kept], entries[kept], crowd

    def _several(self, places: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each place, whether several clips stand there, and how many entries."""
        starts = np.flatnonzero(np.r_[True, places[1:] != places[:-1]][: len(places)])
        sizes = np.diff(np.r_[starts, len(places)])
        one, last = (self.clip[entries[at] // KINDS] for at in (starts, starts + sizes - 1))
        return one != last, sizes  # entries are in the order of clips

    def _met_in(self, places: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """The pairs of clips, as numbers, of all entries that stand in one place and look alike."""
        codes = self.codes[entries]
        met = [np.zeros(0, np.int64)]
        at = np.flatnonzero(places[1:] == places[:-1])
        for step in range(1, CROWD):
            if not len(at):
                break
            close = at[np.bitwise_count(codes[at] ^ codes[at + step]) <= CODES_APART]
            met.append(self._worth(entries[close].astype(np.int64), entries[close + step].astype(np.int64)))
            at = at[: np.searchsorted(at, len(places) - step - 1)]
            at = at[places[at] == places[at + step + 1]]
        return np.unique(np.concatenate(met))

    def _worth(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The pairs of clips, as numbers, of those pairs of entries that may be compared and look alike."""
        kinds = one % KINDS, other % KINDS
        seeks = [(kind == _WHOLE) | (kind >= _WINDOWS) for kind in kinds]
        is_there = [kind < _WINDOWS for kind in kinds]
        clips = self.clip[one // KINDS], self.clip[other // KINDS]
        kept = (clips[0] != clips[1]) & ((seeks[0] & is_there[1]) | (seeks[1] & is_there[0]))
        if self.fresh is not None:
            kept &= self.fresh[clips[0]] | self.fresh[clips[1]]
        kept = np.flatnonzero(kept)
        kept = kept[self._look_alike(one[kept], other[kept])]
        low, high = (pick(clips[0][kept], clips[1][kept]) for pick in (np.minimum, np.maximum))
        return np.unique(low * len(self.film) + high)

    def _look_alike(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Whether what two entries stand for really looks alike: bits alone say it of much that does not."""
        alike = np.empty(len(one), bool)
        for start in range(0, len(one), CHUNK):
            part = slice(start, start + CHUNK)
            seen = (self._described(entries[part]) for entries in (one, other))
            alike[part] = np.multiply(*seen).sum(axis=1) >= FRAMES_ALIKE
        return alike

    def _described(self, entries: np.ndarray) -> np.ndarray:
        frames, kinds = np.divmod(entries, KINDS)
        luma = unpack(self.film.frames[self.frame[frames]])[0]
        seen = np.empty((len(entries), len(COARSE.frequencies)), np.float32)
        for kind in np.unique(kinds).tolist():
            at = np.flatnonzero(kinds == kind)
            seeks = kind >= _WINDOWS
            seen[at] = COARSE.described(luma[at], _WHOLE if seeks else kind)
            if seeks:
                seen[at] *= TURNS[_SEEKING[kind - _WINDOWS][0]]
        return seen

    def _compare(self, pairs: np.ndarray) -> np.ndarray:
        """Compare what was not compared before; of `pairs` (sorted), which are near as far as was found just now."""
        at = np.searchsorted(self.tried, pairs)
        known = np.zeros(len(pairs), bool)
        inside = at < len(self.tried)
        known[inside] = self.tried[at[inside]] == pairs[inside]
        new = pairs[~known]
        likeness = compare(self.film, *np.divmod(new, len(self.film)))
        self.tried = np.insert(self.tried, at[~known], new)
        near = new[likeness.near]
        self.found.append(near)
        self.likeness.append(likeness.structure[likeness.near])
        self.follows[near % max(len(self.film), 1)] = True
        return near

    def _in_crowds(self, crowded: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Compare every clip in a crowd with the first one of it, what is not near with the second, and so on.

        Returns, for every clip, whether it is left with others that it was not compared with.
        """
        places, entries = crowded
        for _ in range(ROUNDS if len(places) else 0):
            lead = np.flatnonzero(np.r_[True, places[1:] != places[:-1]][: len(places)])
            leaders = np.repeat(entries[lead], np.diff(np.r_[lead, len(places)]))
            clips = self.clip[entries // KINDS]
            asks = ~self.follows[clips] & (self.patience[clips] > 0)
            pairs = self._worth(leaders[asks].astype(np.int64), entries[asks].astype(np.int64))
            before = len(self.tried)
            self._compare(pairs)
            if len(self.tried) > before:
                np.subtract.at(self.patience, np.unique(pairs % max(len(self.film), 1)), 1)
            left = ~self.follows[clips] & (clips != self.clip[leaders // KINDS])
            places, entries = places[left], entries[left]
        unfinished = np.zeros(len(self.film), bool)
        several, sizes = self._several(places, entries)
        unfinished[self.clip[entries[np.repeat(several, sizes)] // KINDS]] = True
        return unfinished


def _ahead(pool: ThreadPoolExecutor, work: Callable[..., T], asked: Iterable[tuple[Any, ...]]) -> Iterator[T]:
    """The answers in order; only as many are worked out ahead as there are workers, since each is large."""
    waiting: deque[Future[T]] = deque()
    for arguments in asked:
        waiting.append(pool.submit(work, *arguments))
        if len(waiting) >= WORKERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def key_codes(film: Film) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The clip and the frame of every key frame [k], and its codes, uint64 [k, KINDS]: whole, windows, turned."""
    clips, frames = _key_frames(film)
    codes = np.empty((len(frames), KINDS), np.uint64)
    turns = [_packed(turn < 0) for turn in TURNS]
    for start in range(0, len(frames), CHUNK):
        part = slice(start, start + CHUNK)
        luma = unpack(film.frames[frames[part]])[0]
        for window in reversed(range(_WINDOWS)):
            seen = luma @ COARSE.windows[window]
            codes[part, window] = _packed(seen > 0)
        weakest = np.argpartition(np.abs(seen[:, :POOL]), range(WEAK), axis=1)[:, :WEAK]
        tried = [np.uint64(0), *_WEIGHTS[weakest].T]
        for number, (turn, weak) in enumerate(_SEEKING):
            codes[part, _WINDOWS + number] = codes[part, _WHOLE] ^ turns[turn] ^ tried[weak]
    return clips, frames, codes


def _key_frames(film: Film) -> tuple[np.ndarray, np.ndarray]:
    """(clip, frame) of the key frames, in that order."""
    chosen: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(film), CHUNK // KEY_FRAMES):
        clips = np.arange(start, min(len(film), start + CHUNK // KEY_FRAMES))
        clips = clips[film.counts[clips] > 0]
        at = film.starts[clips, None] + np.arange(KEY_FRAMES) * film.counts[clips, None] // KEY_FRAMES
        seen = COARSE.described(unpack(film.frames[at])[0]).reshape(*at.shape, len(COARSE.frequencies))
        kept = np.zeros(at.shape, bool)
        last = np.zeros_like(seen[:, 0])
        for step in range(KEY_FRAMES):
            kept[:, step] = (seen[:, step] * last).sum(axis=1) < SAME_LOOK
            last = np.where(kept[:, step, None], seen[:, step], last)
        chosen.append((np.repeat(clips, kept.sum(axis=1)), at[kept]))
    none = np.zeros(0, np.int64)
    clips, frames = (np.concatenate([none, *part]) for part in zip((none, none), *chosen, strict=True))
    return clips, frames


def _packed(bits: np.ndarray) -> np.ndarray:
    """bool [..., c] to uint64 [...]."""
    padded = np.zeros((*bits.shape[:-1], 64), bool)
    padded[..., : bits.shape[-1]] = bits
    return np.packbits(padded, axis=-1, bitorder="little").view(np.uint64)[..., 0]


def _masks(key_frames: int) -> Iterator[tuple[np.uint64, np.uint64]]:
    """For each band: the bits of a code that decide where it stands, and those that divide a crowd."""
    bits = min(MOST_BITS, max(LEAST_BITS, key_frames.bit_length() + SPARE_BITS))
    rng = np.random.default_rng(26)
    for _ in range(BANDS):
        chosen = rng.permutation(POOL)
        yield _WEIGHTS[chosen[:bits]].sum(), _WEIGHTS[chosen[bits : bits + MORE_BITS]].sum()


def _sorted_places(codes: np.ndarray, entries: np.ndarray, mask: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """Where the entries stand (32 bits of a hash of the masked code), in order of place and entry."""
    mixed = codes[entries] & mask
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed &= np.uint64(0xFFFFFFFF00000000)
    mixed |= entries
    mixed.sort()
    return (mixed >> np.uint64(32)).astype(np.uint32), mixed.astype(np.uint32)
