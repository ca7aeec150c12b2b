"""Which of very many clips are near each other, without comparing all with all.

Key frames are hashed into a table by `BANDS` choices of the bits of their codes (`lsh_codes`): those of their wholes and
of their windows. The wholes, in every turn and with weak bits flipped, are searched there (`lsh_index`). Hits pass a
cheap test (`prefilter`), and only what shows the same picture is compared in full. More bits are chosen where there are
more clips, so the work grows with the clips and the pairs that are really alike. What a new day adds is found without a
table of everything: only of the buckets that the new clips search, and of the new clips themselves.

Where very many clips meet in one bucket (a title card, a colour card, a sky), it is divided by more bits. Where few still
meet they are compared each with each. Others are not compared with one another but with the first clip of the bucket
that they are near to, which is all that deciding about copies needs. A clip is compared at most `PATIENCE` times in large
buckets; what was then left undone is counted.

Importing this module loads a compiler: it is for those who search.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from assets.curation.dedup.lsh_codes import POOL, TURNED, WINDOWS, Codes, key_codes
from assets.curation.dedup.lsh_index import CLIPS_MOST, KINDS, Hits, Reported, Table, buckets_of, searched_entries
from assets.curation.dedup.prefilter import same_picture
from assets.curation.dedup.similarity import ClipHashes, compare

LEAST_BITS, MOST_BITS, SPARE_BITS = 16, 24, 4  # so many more bits than would give every key frame a bucket of its own
BANDS = 20  # choices of bits
WORKERS = 2  # bands that are searched at the same time; each holds about a kilobyte a clip
MORE_BITS = 14  # that large buckets are divided by
HASH_BITS = 32  # of what divides them
ROUNDS = 4  # first clips of a large bucket that the others are compared with, one after another
PATIENCE = 3  # full comparisons that a clip takes part in, as a follower, in all large buckets together
CODES_APART = 9  # of all bits, in a large bucket

T = TypeVar("T")
Grouped = tuple[np.ndarray, np.ndarray]  # buckets, in order, and the entries in them
Compare = Callable[[np.ndarray], int]  # compares pairs that were not compared yet; returns how many those were


@dataclass
class Pairs:
    """Near pairs of clips, `first` below `second`, each once, in order. `unfinished` clips ran out of patience."""

    first: np.ndarray
    second: np.ndarray
    structure: np.ndarray
    compared: int = 0
    unfinished: int = 0


def near_pairs(hashes: ClipHashes, fresh: np.ndarray | None = None) -> Pairs:
    """The near pairs of clips, which stand in the order in which they may own footage.

    With `fresh` (bool, one a clip), only pairs with at least one fresh clip: what a new day adds.
    """
    if fresh is not None and not fresh.any():
        return Pairs(*(np.zeros(0, np.int64),) * 2, np.zeros(0, np.float32))
    return _Search(hashes, fresh).run()


@dataclass
class _Search:
    hashes: ClipHashes
    fresh: np.ndarray | None
    tried: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # pairs compared so far, sorted
    near: list[np.ndarray] = field(default_factory=list)
    similarity: list[np.ndarray] = field(default_factory=list)

    def run(self) -> Pairs:
        count = len(self.hashes)
        self.follows = np.zeros(count, bool)  # near an earlier clip, as far as is known
        unfinished = np.zeros(count, bool)
        with ThreadPoolExecutor(WORKERS) as pool:
            self.codes = key_codes(self.hashes, pool)
            self.reported = Reported(len(self.codes))
            self.large = _LargeBuckets(self.codes, count, self._candidates)
            for candidates, large in _ahead(pool, self._search_band, _bands(len(self.codes))):
                self._compare(candidates)
                unfinished |= self.large.compare(large, self.follows, self._compare)
        pairs = np.concatenate([*self.near, np.zeros(0, np.int64)])
        similarity = np.concatenate([*self.similarity, np.zeros(0, np.float32)])
        order = np.argsort(pairs)
        first, second = np.divmod(pairs[order], max(count, 1))
        return Pairs(first, second, similarity[order], len(self.tried), int((unfinished & ~self.follows).sum()))

    def _search_band(self, chosen: np.ndarray, more: np.ndarray) -> tuple[np.ndarray, Grouped]:
        """Pairs of clips worth a comparison, and the entries of large buckets."""
        frames = np.arange(len(self.codes))
        large = np.zeros((len(frames), KINDS), np.uint8)
        candidates = [np.zeros(0, np.int64)]
        for entries, seekers in self._tables(frames, chosen):
            table = Table(self.codes, chosen, entries)
            candidates.append(self._candidates(table.search(seekers, self.fresh, self.reported, large)))
        few, many = self.large.divide(np.flatnonzero(large), np.r_[chosen, more])
        return np.unique(np.concatenate([*candidates, few])), many

    def _tables(self, frames: np.ndarray, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The entries of each table that is needed, and the key frames that search it."""
        if self.fresh is None:
            yield np.arange(self.codes.of_windows.size, dtype=np.uint32), frames
            return
        new = self.fresh[self.codes.clip]
        yield searched_entries(self.codes, frames[new], chosen), frames[new]
        yield np.flatnonzero(np.repeat(new, WINDOWS)).astype(np.uint32), frames[~new]

    def _candidates(self, hits: Hits) -> np.ndarray:
        """The pairs of two clips, as numbers, that show the same picture."""
        first, second = self.codes.clip[hits.frame], self.codes.clip[hits.entry // WINDOWS]
        kept = first != second
        if self.fresh is not None:
            kept &= self.fresh[first] | self.fresh[second]
        kept[kept] = same_picture(self.hashes, self.codes, Hits(hits.frame[kept], hits.turn[kept], hits.entry[kept]))
        first, second = first[kept], second[kept]
        return np.unique(np.minimum(first, second) * len(self.hashes) + np.maximum(first, second))

    def _compare(self, pairs: np.ndarray) -> int:
        """Compare what was not compared before, and keep what is near; how many of `pairs` (sorted) were new."""
        at = np.searchsorted(self.tried, pairs)
        before = np.zeros(len(pairs), bool)
        inside = at < len(self.tried)
        before[inside] = self.tried[at[inside]] == pairs[inside]
        new = pairs[~before]
        similarity = compare(self.hashes, *np.divmod(new, max(len(self.hashes), 1)))
        self.tried = np.insert(self.tried, at[~before], new)
        near = new[similarity.near]
        self.near.append(near)
        self.similarity.append(similarity.structure[similarity.near])
        self.follows[near % max(len(self.hashes), 1)] = True
        return len(new)


@dataclass
class _LargeBuckets:
    """An entry here is a key frame times `KINDS` plus its kind: a window, or the whole in another turn."""

    codes: Codes
    clips: int
    candidates: Callable[[Hits], np.ndarray]  # the pairs of clips, as numbers, that are worth a comparison

    def __post_init__(self) -> None:
        self.patience = np.full(self.clips, PATIENCE, np.int8)

    def divide(self, entries: np.ndarray, deciding: np.ndarray) -> tuple[np.ndarray, Grouped]:
        """By the bits `deciding`: the pairs of clips of small buckets that are worth a comparison, and the large ones."""
        hashed = buckets_of(self._code_of(entries), deciding, HASH_BITS)
        order = np.lexsort((entries, hashed))
        buckets, entries = hashed[order], entries[order]
        several, sizes = self._several(buckets, entries)
        kept, large = np.repeat(several, sizes), np.repeat(sizes > CLIPS_MOST, sizes)
        pairs = self._pairs_within(buckets[kept & ~large], entries[kept & ~large])
        return pairs, (buckets[kept & large], entries[kept & large])

    def compare(self, grouped: Grouped, follows: np.ndarray, compare: Compare) -> np.ndarray:
        """Compare every clip of a bucket with the first one of it, what is not near with the second, and so on.

        `follows` (bool, one a clip) says who is near an earlier one; `compare` keeps it. Returns, for every clip, whether
        it is left with others that it was not compared with.
        """
        buckets, entries = grouped
        for _ in range(ROUNDS if len(buckets) else 0):
            starts, sizes = _runs(buckets)
            leaders = np.repeat(entries[starts], sizes)
            clips = self.codes.clip[entries // KINDS]
            patient = ~follows[clips] & (self.patience[clips] > 0)
            pairs = self._pairs_of(leaders[patient], entries[patient])
            if compare(pairs):
                np.subtract.at(self.patience, np.unique(pairs % max(self.clips, 1)), 1)
            left = ~follows[clips] & (clips != self.codes.clip[leaders // KINDS])
            buckets, entries = buckets[left], entries[left]
        unfinished = np.zeros(self.clips, bool)
        several, sizes = self._several(buckets, entries)
        unfinished[self.codes.clip[entries[np.repeat(several, sizes)] // KINDS]] = True
        return unfinished

    def _code_of(self, entries: np.ndarray) -> np.ndarray:
        frames, kinds = np.divmod(entries, KINDS)
        turned = kinds >= WINDOWS
        return (
            self.codes.of_windows[frames, np.where(turned, 0, kinds)] ^ TURNED[np.where(turned, kinds - WINDOWS + 1, 0)]
        )

    def _several(self, buckets: np.ndarray, entries: np.ndarray) -> Grouped:
        """For each bucket, whether it has several clips, and how many entries."""
        starts, sizes = _runs(buckets)
        first, last = (self.codes.clip[entries[at] // KINDS] for at in (starts, starts + sizes - 1))
        return first != last, sizes  # entries are in the order of clips

    def _pairs_within(self, buckets: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """The pairs of clips, as numbers, of all entries that share a bucket and look alike."""
        codes = self._code_of(entries)
        pairs = [np.zeros(0, np.int64)]
        at = np.flatnonzero(buckets[1:] == buckets[:-1])
        for step in range(1, CLIPS_MOST):
            if not len(at):
                break
            close = at[np.bitwise_count(codes[at] ^ codes[at + step]) <= CODES_APART]
            pairs.append(self._pairs_of(entries[close], entries[close + step]))
            at = at[: np.searchsorted(at, len(buckets) - step - 1)]
            at = at[buckets[at] == buckets[at + step + 1]]
        return np.unique(np.concatenate(pairs))

    def _pairs_of(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The pairs of clips worth a comparison, of entries of which one may search and the other is in the table."""
        searches = [(entries % KINDS == 0) | (entries % KINDS >= WINDOWS) for entries in (first, second)]
        stored = [entries % KINDS < WINDOWS for entries in (first, second)]
        forth = searches[0] & stored[1]
        kept = np.flatnonzero(forth | (searches[1] & stored[0]))
        seeker, entry = (np.where(forth, *pair)[kept] for pair in ((first, second), (second, first)))
        frame, kind = np.divmod(seeker, KINDS)
        turn = np.where(kind >= WINDOWS, kind - WINDOWS + 1, 0)
        return self.candidates(Hits(frame, turn, entry // KINDS * WINDOWS + entry % KINDS))


def _runs(values: np.ndarray) -> Grouped:
    """Where each run of equal values starts, and how long it is."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]][: len(values)])
    return starts, np.diff(np.r_[starts, len(values)])


def _ahead(pool: ThreadPoolExecutor, work: Callable[..., T], calls: Iterable[tuple[Any, ...]]) -> Iterator[T]:
    """The answers in order; only as many are worked out ahead as there are workers, since each is large."""
    waiting: deque[Future[T]] = deque()
    for arguments in calls:
        waiting.append(pool.submit(work, *arguments))
        if len(waiting) >= WORKERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _bands(key_frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each band: the bits of a code that choose its bucket, and those that divide large buckets."""
    bits = min(MOST_BITS, max(LEAST_BITS, key_frames.bit_length() + SPARE_BITS))
    rng = np.random.default_rng(26)
    for _ in range(BANDS):
        chosen = rng.permutation(POOL)
        yield chosen[:bits], chosen[bits : bits + MORE_BITS]
