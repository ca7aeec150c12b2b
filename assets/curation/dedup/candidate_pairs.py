"""Which of very many clips are near each other, without comparing all with all.

What belongs here: the search. Key frames stand in a table by `BANDS` choices of the bits of their codes (`codes`), those
of their wholes and of their windows; the wholes, in every turn and with their weak bits tried both ways, are looked up
there (`lookup`). What is found is looked at (`glance`), and only what shows the same picture is compared in full. More
bits are chosen where there are more clips, so the work grows with the clips and the pairs that are really alike. Where
very many clips meet in one place, `crowds` takes over. What a new day adds is found without a table of all that is
known: only of what stands where the new looks, and of the new itself.

Loading this module loads the compiler of `lookup` and `glance`: it is for those who search.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from assets.curation.dedup.large_buckets import Crowds, Places
from assets.curation.dedup.lsh_codes import POOL, WINDOWS, key_codes
from assets.curation.dedup.lsh_index import KINDS, Finds, Table, Told, sought
from assets.curation.dedup.prefilter import look_alike
from assets.curation.dedup.similarity import Film, compare

LEAST_BITS, MOST_BITS, SPARE_BITS = 16, 24, 4  # so many more bits than would give every key frame a place of its own
BANDS = 20  # choices of bits
MORE_BITS = 14  # that a crowd is divided by
WORKERS = 2  # bands that are looked through at the same time; each holds about a kilobyte a clip

T = TypeVar("T")


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
        unfinished = np.zeros(count, bool)
        with ThreadPoolExecutor(WORKERS) as pool:
            self.codes = key_codes(self.film, pool)
            self.told = Told(len(self.codes))
            self.crowds = Crowds(self.codes, count, self._worth)
            for met, crowded in _ahead(pool, self._met, _bands(len(self.codes))):
                self._compare(met)
                unfinished |= self.crowds.compare(crowded, self.follows, self._compare)
        pairs = np.concatenate([*self.found, np.zeros(0, np.int64)])
        likeness = np.concatenate([*self.likeness, np.zeros(0, np.float32)])
        order = np.argsort(pairs)
        first, second = np.divmod(pairs[order], max(count, 1))
        return Pairs(first, second, likeness[order], len(self.tried), int((unfinished & ~self.follows).sum()))

    def _met(self, chosen: np.ndarray, more: np.ndarray) -> tuple[np.ndarray, Places]:
        """Pairs of clips worth a comparison, and the entries that stand in crowds."""
        frames = np.arange(len(self.codes))
        crowded = np.zeros((len(frames), KINDS), np.uint8)
        met = [np.zeros(0, np.int64)]
        for entries, seekers in self._tables(frames, chosen):
            table = Table(self.codes, chosen, entries)
            met.append(self._worth(table.look(seekers, self.fresh, self.told, crowded)))
        few, many = self.crowds.divide(np.flatnonzero(crowded), np.r_[chosen, more])
        return np.unique(np.concatenate([*met, few])), many

    def _tables(self, frames: np.ndarray, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The entries of each table that is needed, and the key frames that look there."""
        if self.fresh is None:
            yield np.arange(self.codes.seen.size, dtype=np.uint32), frames
            return
        new = self.fresh[self.codes.clip]
        yield sought(self.codes, frames[new], chosen), frames[new]
        yield np.flatnonzero(np.repeat(new, WINDOWS)).astype(np.uint32), frames[~new]

    def _worth(self, finds: Finds) -> np.ndarray:
        """The pairs of two clips, as numbers, that may meet and look alike."""
        one, other = self.codes.clip[finds.frame], self.codes.clip[finds.entry // WINDOWS]
        kept = one != other
        if self.fresh is not None:
            kept &= self.fresh[one] | self.fresh[other]
        kept[kept] = look_alike(self.film, self.codes, Finds(finds.frame[kept], finds.turn[kept], finds.entry[kept]))
        one, other = one[kept], other[kept]
        return np.unique(np.minimum(one, other) * len(self.film) + np.maximum(one, other))

    def _compare(self, pairs: np.ndarray) -> int:
        """Compare what was not compared before, and keep what is near; how many of `pairs` (sorted) were new."""
        at = np.searchsorted(self.tried, pairs)
        known = np.zeros(len(pairs), bool)
        inside = at < len(self.tried)
        known[inside] = self.tried[at[inside]] == pairs[inside]
        new = pairs[~known]
        likeness = compare(self.film, *np.divmod(new, max(len(self.film), 1)))
        self.tried = np.insert(self.tried, at[~known], new)
        near = new[likeness.near]
        self.found.append(near)
        self.likeness.append(likeness.structure[likeness.near])
        self.follows[near % max(len(self.film), 1)] = True
        return len(new)


def _ahead(pool: ThreadPoolExecutor, work: Callable[..., T], asked: Iterable[tuple[Any, ...]]) -> Iterator[T]:
    """The answers in order; only as many are worked out ahead as there are workers, since each is large."""
    waiting: deque[Future[T]] = deque()
    for arguments in asked:
        waiting.append(pool.submit(work, *arguments))
        if len(waiting) >= WORKERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _bands(key_frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each band: the bits of a code that decide where it stands, and those that divide a crowd."""
    bits = min(MOST_BITS, max(LEAST_BITS, key_frames.bit_length() + SPARE_BITS))
    rng = np.random.default_rng(26)
    for _ in range(BANDS):
        chosen = rng.permutation(POOL)
        yield chosen[:bits], chosen[bits : bits + MORE_BITS]
