"""Where very many clips meet in one place: a title card, a colour card, a sky.

What belongs here: dividing crowds, and comparing few of many. Entries of a crowd are told apart by more bits; where few
still meet they are compared each with each. Others are not compared with one another but with the first of them that
they are near to, which is all that deciding about copies needs; a clip is compared at most `PATIENCE` times in crowds,
and what was then left undone is counted, never dropped in silence.

An entry of a crowd is a key frame times `lookup.KINDS` plus its kind: a window, or the whole in another turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from assets.curation.dedup.lsh_codes import TURNED, WINDOWS, Codes
from assets.curation.dedup.lsh_index import CROWD, KINDS, Finds, places

PLACE_BITS = 32  # of what divides a crowd
ROUNDS = 4  # first clips of a crowd that the others are compared with, one after another
PATIENCE = 3  # full comparisons that a clip takes part in, as a follower, in all crowds together
CODES_APART = 9  # of all bits, in a crowd

Places = tuple[np.ndarray, np.ndarray]  # where, in order, and the entry that stands there
Worth = Callable[[Finds], np.ndarray]  # the pairs of clips, as numbers, that are worth a comparison
Compare = Callable[[np.ndarray], int]  # compare pairs that were not compared yet; how many those were


@dataclass
class Crowds:
    codes: Codes
    clips: int
    worth: Worth

    def __post_init__(self) -> None:
        self.patience = np.full(self.clips, PATIENCE, np.int8)

    def divide(self, crowded: np.ndarray, deciding: np.ndarray) -> tuple[np.ndarray, Places]:
        """The pairs of clips of small places that are worth a comparison, and what stands in large ones."""
        places_, entries = _sorted_places(self._code_of(crowded), crowded, deciding)
        several, sizes = self._several(places_, entries)
        kept, large = np.repeat(several, sizes), np.repeat(sizes > CROWD, sizes)
        met = self._met(places_[kept & ~large], entries[kept & ~large])
        return met, (places_[kept & large], entries[kept & large])

    def compare(self, crowded: Places, follows: np.ndarray, compare: Compare) -> np.ndarray:
        """Compare every clip in a crowd with the first one of it, what is not near with the second, and so on.

        `follows` (bool, one a clip) says who is near an earlier one; `compare` keeps it. Returns, for every clip, whether
        it is left with others that it was not compared with.
        """
        places_, entries = crowded
        for _ in range(ROUNDS if len(places_) else 0):
            lead = np.flatnonzero(np.r_[True, places_[1:] != places_[:-1]][: len(places_)])
            leaders = np.repeat(entries[lead], np.diff(np.r_[lead, len(places_)]))
            clips = self.codes.clip[entries // KINDS]
            asks = ~follows[clips] & (self.patience[clips] > 0)
            pairs = self._worth_of(leaders[asks], entries[asks])
            if compare(pairs):
                np.subtract.at(self.patience, np.unique(pairs % max(self.clips, 1)), 1)
            left = ~follows[clips] & (clips != self.codes.clip[leaders // KINDS])
            places_, entries = places_[left], entries[left]
        unfinished = np.zeros(self.clips, bool)
        several, sizes = self._several(places_, entries)
        unfinished[self.codes.clip[entries[np.repeat(several, sizes)] // KINDS]] = True
        return unfinished

    def _code_of(self, crowded: np.ndarray) -> np.ndarray:
        frames, kinds = np.divmod(crowded, KINDS)
        turned = kinds >= WINDOWS
        return self.codes.seen[frames, np.where(turned, 0, kinds)] ^ TURNED[np.where(turned, kinds - WINDOWS + 1, 0)]

    def _several(self, places_: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each place, whether several clips stand there, and how many entries."""
        starts = np.flatnonzero(np.r_[True, places_[1:] != places_[:-1]][: len(places_)])
        sizes = np.diff(np.r_[starts, len(places_)])
        one, last = (self.codes.clip[entries[at] // KINDS] for at in (starts, starts + sizes - 1))
        return one != last, sizes  # entries are in the order of clips

    def _met(self, places_: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """The pairs of clips, as numbers, of all entries that stand in one place and look alike."""
        codes = self._code_of(entries)
        met = [np.zeros(0, np.int64)]
        at = np.flatnonzero(places_[1:] == places_[:-1])
        for step in range(1, CROWD):
            if not len(at):
                break
            close = at[np.bitwise_count(codes[at] ^ codes[at + step]) <= CODES_APART]
            met.append(self._worth_of(entries[close], entries[close + step]))
            at = at[: np.searchsorted(at, len(places_) - step - 1)]
            at = at[places_[at] == places_[at + step + 1]]
        return np.unique(np.concatenate(met))

    def _worth_of(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The pairs of clips worth a comparison, of entries of which one looks for others and the other stands there."""
        looks = [(entries % KINDS == 0) | (entries % KINDS >= WINDOWS) for entries in (one, other)]
        stands = [entries % KINDS < WINDOWS for entries in (one, other)]
        forth = looks[0] & stands[1]
        kept = np.flatnonzero(forth | (looks[1] & stands[0]))
        seeker, there = (np.where(forth, *pair)[kept] for pair in ((one, other), (other, one)))
        frame, kind = np.divmod(seeker, KINDS)
        turn = np.where(kind >= WINDOWS, kind - WINDOWS + 1, 0)
        return self.worth(Finds(frame, turn, there // KINDS * WINDOWS + there % KINDS))


def _sorted_places(codes: np.ndarray, entries: np.ndarray, deciding: np.ndarray) -> Places:
    """Where the entries stand by the bits `deciding`, in order of place and entry."""
    mixed = places(codes, deciding, PLACE_BITS)
    order = np.lexsort((entries, mixed))
    return mixed[order], entries[order]
