"""Which of very many clips are near each other, without comparing all with all.

What belongs here: finding pairs. Key frames stand in a table by `BANDS` choices of the bits of their codes (`codes`),
those of their wholes and of their windows; the wholes, in every turn and with their weak bits tried both ways, are
looked up there. What is found in one place is told apart by the signs that both trust, then by the pictures
themselves, and only what looks alike is compared in full. More bits are chosen where there are more clips, so the
work grows with the clips and the pairs that are really alike. Where very many clips meet in one place (a title card,
a colour card, a sky) they are not compared with one another but with the first of them that they are near to, which
is all that deciding about copies needs; a clip is compared at most `PATIENCE` times in crowds, and what was then left
undone is counted, never dropped in silence. What a new day adds is found without a table of all that is known: only
of what stands where the new looks, and of the new itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from assets.curation.codes import CHUNK, POOL, TURNED, WEIGHTS, WINDOWS, Codes, key_codes
from assets.curation.likeness import COARSE, TURNS, Film, compare
from assets.curation.phash import unpack

LEAST_BITS, MOST_BITS, SPARE_BITS = 16, 24, 4  # so many more bits than would give every key frame a place of its own
BANDS = 20  # choices of bits
MORE_BITS = 14  # that a crowd is divided by
BUSY = 256  # codes that may stand in one place and still be told apart one by one
CROWD = 8  # clips that one look may find, or entries that may meet, and still be compared each with each
ROUNDS = 4  # first clips of a crowd that the others are compared with, one after another
PATIENCE = 3  # full comparisons that a clip takes part in, as a follower, in all crowds together
SEEKER_APART = 5  # signs that differ, of those that the one that looks trusts
BOTH_APART = 6  # the same and those of the signs that the one that stands there trusts, together
CODES_APART = 9  # of all bits, in a crowd
FRAMES_ALIKE = 0.75  # coarse likeness of two key frames that makes their clips worth a comparison
WORKERS = 2  # bands that are looked through at the same time; each holds about 1.5 kilobytes a clip

# kinds of entries in a crowd: windows (the whole first, which also looks for others), then the whole in the other turns
KINDS = WINDOWS + len(TURNS) - 1
T = TypeVar("T")
Places = tuple[np.ndarray, np.ndarray]  # where, in order, and the entry that stands there
Met = tuple[np.ndarray, np.ndarray, np.ndarray]  # key frame, turn in which it looks, entry of the table


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
        count = len(self.film)
        self.follows = np.zeros(count, bool)  # near an earlier clip, as far as is known
        self.patience = np.full(count, PATIENCE, np.int8)
        unfinished = np.zeros(count, bool)
        with ThreadPoolExecutor(WORKERS) as pool:
            self.codes = key_codes(self.film, pool)
            for met, crowded in _ahead(pool, self._met, _bands(len(self.codes))):
                self._compare(met)
                unfinished |= self._in_crowds(crowded)
        pairs = np.concatenate([*self.found, np.zeros(0, np.int64)])
        likeness = np.concatenate([*self.likeness, np.zeros(0, np.float32)])
        order = np.argsort(pairs)
        first, second = np.divmod(pairs[order], max(count, 1))
        return Pairs(first, second, likeness[order], len(self.tried), int((unfinished & ~self.follows).sum()))

    def _met(self, chosen: np.ndarray, more: np.ndarray) -> tuple[np.ndarray, Places]:
        """Pairs of clips worth a comparison, and the entries that stand in crowds."""
        entries = np.arange(self.codes.seen.size, dtype=np.uint32)
        frames = np.arange(len(self.codes))
        if self.fresh is None:
            joins = [self._join(_Table(self.codes, entries, chosen), frames, chosen)]
        else:
            new = self.fresh[self.codes.clip]
            sought = _sought(self.codes, frames[new], chosen)
            there = _Table(self.codes, entries[sought], chosen)
            joins = [self._join(there, frames[new], chosen)]
            there = _Table(self.codes, entries[np.repeat(new, WINDOWS)], chosen)
            joins.append(self._join(there, frames[~new], chosen))
        crowded = np.unique(np.concatenate([crowd for _, crowd in joins]))
        places, entries = _sorted_places(self._code_of(crowded), crowded, np.r_[chosen, more], 32)
        several, sizes = self._several(places, entries)
        kept, crowd = np.repeat(several, sizes), np.repeat(sizes > CROWD, sizes)
        met = self._met_in(places[kept & ~crowd], entries[kept & ~crowd])
        return np.unique(np.concatenate([met, *(pairs for pairs, _ in joins)])), (
            places[kept & crowd],
            entries[kept & crowd],
        )

    def _join(self, table: _Table, frames: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of clips, as numbers, that `frames` find in `table`, and the entries that meet in its busy places."""
        found: list[Met] = []
        crowded = [table.crowded()]
        for seekers, codes in self.codes.seeking(frames, chosen):
            places = table.place(codes)
            counts = table.count[places]
            busy = counts > BUSY
            counts[busy] = 0
            turn, who = np.nonzero(busy)
            crowded.append(_in_crowd(seekers[who], turn))
            close = self._close(table, seekers, codes.ravel(), places.ravel(), counts.ravel())
            close, many = self._few(close, close[0] * len(TURNS) + close[1])
            found.append(close)
            crowded.append(many)
        none = np.zeros(0, np.int64)
        frame, turn, entry = (np.concatenate([none, *part]) for part in zip((none,) * 3, *found, strict=True))
        close, many = self._few((frame, turn, entry), frame)
        return self._worth(*close), np.concatenate([*crowded, many])

    def _few(self, close: Met, looks: np.ndarray) -> tuple[Met, np.ndarray]:
        """What is close where a look has found few clips, and where they are too many to compare, their entries.

        `looks` numbers the looks: of every turn and pattern for itself, or of a key frame all together.
        """
        frame, turn, entry = close
        clips = np.unique(looks * len(self.film) + self.codes.clip[entry // WINDOWS]) // len(self.film)
        seekers, sizes = np.unique(clips, return_counts=True)
        many = np.isin(looks, seekers[sizes > CROWD])
        crowd = np.concatenate([_in_crowd(frame[many], turn[many]), _as_in_crowd(entry[many])])
        return (frame[~many], turn[~many], entry[~many]), crowd

    def _close(
        self, table: _Table, seekers: np.ndarray, codes: np.ndarray, places: np.ndarray, counts: np.ndarray
    ) -> Met:
        """What looks and what it finds, where few of the trusted signs differ."""
        ends = np.cumsum(counts, dtype=np.int64)
        at = np.repeat(table.start[places] - (ends - counts), counts)
        at += np.arange(len(at))
        apart = table.seen[at]
        apart ^= np.repeat(codes, counts)
        trusted = np.repeat(np.tile(self.codes.strong[seekers, 0], len(TURNS)), counts)
        trusted &= apart
        differ = np.bitwise_count(trusted)
        close = np.flatnonzero(differ <= SEEKER_APART)
        entry = table.entries[at[close]].astype(np.int64)
        both = differ[close] + np.bitwise_count(apart[close] & self.codes.strong.ravel()[entry])
        close, entry = close[both <= BOTH_APART], entry[both <= BOTH_APART]
        turn, who = np.divmod(np.searchsorted(ends, close, side="right"), len(seekers))
        frame = seekers[who]
        kept = self._may_meet(frame, entry)
        return frame[kept], turn[kept], entry[kept]

    def _may_meet(self, frame: np.ndarray, entry: np.ndarray) -> np.ndarray:
        """Whether they are of two clips, and one of them is to be searched for."""
        one, other = self.codes.clip[frame], self.codes.clip[entry // WINDOWS]
        return (one != other) if self.fresh is None else (one != other) & (self.fresh[one] | self.fresh[other])

    def _worth(self, frame: np.ndarray, turn: np.ndarray, entry: np.ndarray) -> np.ndarray:
        """The pairs of clips, as numbers, of those key frames and entries that look alike."""
        alike = self._look_alike(frame, turn, entry)
        one, other = self.codes.clip[frame[alike]], self.codes.clip[entry[alike] // WINDOWS]
        return np.unique(np.minimum(one, other) * len(self.film) + np.maximum(one, other))

    def _look_alike(self, frame: np.ndarray, turn: np.ndarray, entry: np.ndarray) -> np.ndarray:
        """Whether the pictures really look alike: signs alone say it of much that does not."""
        alike = np.empty(len(frame), bool)
        for start in range(0, len(frame), CHUNK):
            part = slice(start, start + CHUNK)
            seen = self._described(frame[part] * WINDOWS) * TURNS[turn[part]]
            alike[part] = np.multiply(seen, self._described(entry[part])).sum(axis=1) >= FRAMES_ALIKE
        return alike

    def _described(self, entries: np.ndarray) -> np.ndarray:
        frames, windows = np.divmod(entries, WINDOWS)
        luma = unpack(self.film.frames[self.codes.frame[frames]])[0]
        seen = np.empty((len(entries), len(COARSE.frequencies)), np.float32)
        for window in np.unique(windows).tolist():
            at = np.flatnonzero(windows == window)
            seen[at] = COARSE.described(luma[at], window)
        return seen

    def _code_of(self, crowded: np.ndarray) -> np.ndarray:
        frames, kinds = np.divmod(crowded, KINDS)
        turned = kinds >= WINDOWS
        return self.codes.seen[frames, np.where(turned, 0, kinds)] ^ TURNED[np.where(turned, kinds - WINDOWS + 1, 0)]

    def _several(self, places: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each place, whether several clips stand there, and how many entries."""
        starts = np.flatnonzero(np.r_[True, places[1:] != places[:-1]][: len(places)])
        sizes = np.diff(np.r_[starts, len(places)])
        one, last = (self.codes.clip[entries[at] // KINDS] for at in (starts, starts + sizes - 1))
        return one != last, sizes  # entries are in the order of clips

    def _met_in(self, places: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """The pairs of clips, as numbers, of all entries of a crowd that stand in one place and look alike."""
        codes = self._code_of(entries)
        met = [np.zeros(0, np.int64)]
        at = np.flatnonzero(places[1:] == places[:-1])
        for step in range(1, CROWD):
            if not len(at):
                break
            close = at[np.bitwise_count(codes[at] ^ codes[at + step]) <= CODES_APART]
            met.append(self._worth_in_crowd(entries[close], entries[close + step]))
            at = at[: np.searchsorted(at, len(places) - step - 1)]
            at = at[places[at] == places[at + step + 1]]
        return np.unique(np.concatenate(met))

    def _worth_in_crowd(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """As `_worth`, of entries of which one looks for others and the other one stands there."""
        looks = [(entries % KINDS == 0) | (entries % KINDS >= WINDOWS) for entries in (one, other)]
        stands = [entries % KINDS < WINDOWS for entries in (one, other)]
        forth = looks[0] & stands[1]
        kept = np.flatnonzero(forth | (looks[1] & stands[0]))
        seeker, there = (np.where(forth, *pair)[kept] for pair in ((one, other), (other, one)))
        frame, kind = np.divmod(seeker, KINDS)
        turn = np.where(kind >= WINDOWS, kind - WINDOWS + 1, 0)
        entry = there // KINDS * WINDOWS + there % KINDS
        kept = self._may_meet(frame, entry)
        return self._worth(frame[kept], turn[kept], entry[kept])

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

    def _in_crowds(self, crowded: Places) -> np.ndarray:
        """Compare every clip in a crowd with the first one of it, what is not near with the second, and so on.

        Returns, for every clip, whether it is left with others that it was not compared with.
        """
        places, entries = crowded
        for _ in range(ROUNDS if len(places) else 0):
            lead = np.flatnonzero(np.r_[True, places[1:] != places[:-1]][: len(places)])
            leaders = np.repeat(entries[lead], np.diff(np.r_[lead, len(places)]))
            clips = self.codes.clip[entries // KINDS]
            asks = ~self.follows[clips] & (self.patience[clips] > 0)
            pairs = self._worth_in_crowd(leaders[asks], entries[asks])
            before = len(self.tried)
            self._compare(pairs)
            if len(self.tried) > before:
                np.subtract.at(self.patience, np.unique(pairs % max(len(self.film), 1)), 1)
            left = ~self.follows[clips] & (clips != self.codes.clip[leaders // KINDS])
            places, entries = places[left], entries[left]
        unfinished = np.zeros(len(self.film), bool)
        several, sizes = self._several(places, entries)
        unfinished[self.codes.clip[entries[np.repeat(several, sizes)] // KINDS]] = True
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


class _Table:
    """Entries (key frame times `WINDOWS` plus window) in the order of their places by `chosen` bits."""

    def __init__(self, codes: Codes, entries: np.ndarray, chosen: np.ndarray) -> None:
        self.chosen = chosen
        seen = codes.seen.ravel()
        places, self.entries = _sorted_places(seen[entries], entries, chosen, _size(chosen))
        self.seen = seen[self.entries]
        self.count = np.bincount(places, minlength=1 << _size(chosen)).astype(np.uint32)
        self.start = np.cumsum(self.count, dtype=np.int64) - self.count

    def place(self, codes: np.ndarray) -> np.ndarray:
        return _places(codes, self.chosen, _size(self.chosen))

    def crowded(self) -> np.ndarray:
        """The entries in busy places, numbered as crowds number them."""
        return _as_in_crowd(self.entries[np.repeat(self.count > BUSY, self.count)].astype(np.int64))


def _as_in_crowd(entries: np.ndarray) -> np.ndarray:
    """Entries of a table, numbered as crowds number them, each once."""
    return np.unique(entries // WINDOWS * KINDS + entries % WINDOWS)


def _in_crowd(frame: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """What looks for others, numbered as crowds number it, each once."""
    return np.unique(frame * KINDS + np.where(turn, WINDOWS - 1 + turn, 0))


def _sought(codes: Codes, frames: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """bool, one an entry: whether it stands where one of `frames` looks."""
    asked = np.zeros(1 << _size(chosen), bool)
    for _, sought in codes.seeking(frames, chosen):
        asked[_places(sought, chosen, _size(chosen))] = True
    seen = codes.seen.ravel()
    parts = (seen[start : start + CHUNK] for start in range(0, len(seen), CHUNK))
    return np.concatenate([asked[:0], *(asked[_places(part, chosen, _size(chosen))] for part in parts)])


def _bands(key_frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each band: the bits of a code that decide where it stands, and those that divide a crowd."""
    bits = min(MOST_BITS, max(LEAST_BITS, key_frames.bit_length() + SPARE_BITS))
    rng = np.random.default_rng(26)
    for _ in range(BANDS):
        chosen = rng.permutation(POOL)
        yield chosen[:bits], chosen[bits : bits + MORE_BITS]


def _size(chosen: np.ndarray) -> int:
    """Bits of a place: one more than are chosen, so that few codes share a place by chance."""
    return len(chosen) + 1


def _places(codes: np.ndarray, chosen: np.ndarray, size: int) -> np.ndarray:
    """Where codes stand: `size` bits of a hash of their chosen bits."""
    mixed = codes & WEIGHTS[chosen].sum()
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed >>= np.uint64(64 - size)
    return mixed


def _sorted_places(codes: np.ndarray, entries: np.ndarray, chosen: np.ndarray, size: int) -> Places:
    """Where the entries stand, in order of place and entry."""
    mixed = _places(codes, chosen, size)
    mixed <<= np.uint64(32)
    mixed |= entries.astype(np.uint64)
    mixed.sort()
    return (mixed >> np.uint64(32)).astype(np.int64), (mixed & np.uint64(0xFFFFFFFF)).astype(entries.dtype)
