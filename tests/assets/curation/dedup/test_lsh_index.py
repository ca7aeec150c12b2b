"""The compiled search and prefilter against the same in plain numpy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from assets.curation.dedup import lsh_index, prefilter
from assets.curation.dedup.lsh_codes import POOL, TURNED, WINDOWS, Codes, key_codes
from assets.curation.dedup.lsh_index import KINDS, Hits, Reported, Table, buckets_of, searched_entries, tried_codes
from assets.curation.dedup.prefilter import same_picture
from assets.curation.dedup.similarity import COARSE, FINE, FINE_TURNS, TURNS, ClipHashes
from assets.signals.phash import unpack
from tests.benchmarks.duplicates_scale import film_of, planted, walks
from tests.benchmarks.duplicates_scale import packed as hashed

CHOSEN = np.random.default_rng(3).permutation(POOL)[:16]
Find = tuple[int, int, int]  # key frame, turn, entry


@pytest.fixture(scope="module")
def film() -> ClipHashes:
    return planted(60, 28, walks(1), seed=4).film


@pytest.fixture(scope="module")
def codes(film: ClipHashes) -> Iterator[Codes]:
    with ThreadPoolExecutor(1) as pool:
        yield key_codes(film, pool)


def looked(codes: Codes, fresh: np.ndarray | None = None) -> tuple[Hits, np.ndarray]:
    """What all key frames hit among all entries, and which meet too many."""
    crowded = np.zeros((len(codes), KINDS), np.uint8)
    table = Table(codes, CHOSEN, np.arange(codes.of_windows.size, dtype=np.uint32))
    return table.search(np.arange(len(codes)), fresh, Reported(len(codes)), crowded), crowded


def listed(finds: Hits) -> list[Find]:
    return list(zip(finds.frame.tolist(), finds.turn.tolist(), finds.entry.tolist(), strict=True))


def by_hand(codes: Codes) -> set[Find]:
    """All that is close and in a bucket that a try in a turn searches, without a table and without regard to crowds."""
    seen, strong, clip = codes.of_windows.ravel(), codes.trusted.ravel(), np.repeat(codes.clip, WINDOWS)
    there = buckets_of(seen, CHOSEN, len(CHOSEN) + 1)
    hits = set()
    for frame in range(len(codes)):
        for turn, turned in enumerate(TURNED):
            for code in tried_codes(codes, frame, CHOSEN) ^ turned:
                apart = seen ^ code
                differ = np.bitwise_count(apart & codes.trusted[frame, 0])
                both = differ + np.bitwise_count(apart & strong)
                close = (
                    (differ <= lsh_index.SEEKER_APART) & (both <= lsh_index.BOTH_APART) & (clip != codes.clip[frame])
                )
                in_bucket = there == buckets_of(np.array([code]), CHOSEN, len(CHOSEN) + 1)
                hits |= {(frame, turn, int(entry)) for entry in np.flatnonzero(close & in_bucket)}
    return hits


def test_a_search_hits_what_is_close_in_the_buckets_that_it_searches_and_nothing_else(codes: Codes) -> None:
    finds, crowded = looked(codes)
    assert not crowded.any()
    assert len(finds.frame) > 50
    assert set(listed(finds)) == by_hand(codes)


def test_a_hit_is_reported_once(codes: Codes) -> None:
    reported, crowded = Reported(len(codes)), np.zeros((len(codes), KINDS), np.uint8)
    table = Table(codes, CHOSEN, np.arange(codes.of_windows.size, dtype=np.uint32))
    first = listed(table.search(np.arange(len(codes)), None, reported, crowded))
    again = listed(table.search(np.arange(len(codes)), None, reported, crowded))
    assert len(set(first)) == len(first)
    assert len(again) < 0.05 * len(first)  # what it forgot, where two hits have one slot


def test_only_pairs_with_a_fresh_clip_are_found_where_clips_are_fresh(codes: Codes) -> None:
    fresh = np.random.default_rng(0).random(codes.clip.max() + 1) < 0.2
    finds, _ = looked(codes, fresh)
    kept = {find for find in by_hand(codes) if fresh[codes.clip[[find[0], find[2] // WINDOWS]]].any()}
    assert set(listed(finds)) == kept


def test_all_hits_of_a_frame_are_among_the_searched_entries(codes: Codes) -> None:
    some = np.arange(0, len(codes), 5)
    entries = set(searched_entries(codes, some, CHOSEN).tolist())
    assert {entry for frame, _, entry in by_hand(codes) if frame % 5 == 0} <= entries
    assert len(entries) < 0.5 * codes.of_windows.size


def test_a_frame_that_meets_too_many_clips_is_marked_and_hits_nothing() -> None:
    rng = np.random.default_rng(0)
    shown = np.repeat(rng.standard_normal((1, 144)), 20, axis=0) + rng.normal(0, 0.02, (20, 144))
    with ThreadPoolExecutor(1) as pool:
        codes = key_codes(film_of(hashed(shown, np.zeros((20, 32))), np.ones(20, np.int64)), pool)
    finds, crowded = looked(codes)
    assert len(finds.frame) == 0
    assert crowded[:, 0].all()


def test_the_prefilter_agrees_with_the_similarity_of_two_frames(film: ClipHashes, codes: Codes) -> None:
    finds, _ = looked(codes)
    luma = unpack(film.frames[codes.frame])[0]
    expected = []
    for frame, turn, entry in listed(finds):
        other, window = divmod(entry, WINDOWS)
        coarse = COARSE.described(luma[frame]) * TURNS[turn] @ COARSE.described(luma[other], window)
        around = [at for at in prefilter.BANDS.around[window].tolist() if at >= 0]
        fine = [FINE.described(luma[frame]) * FINE_TURNS[turn] @ FINE.described(luma[other], at) for at in around]
        expected.append(
            coarse >= prefilter.COARSE_LEAST and fine[0] >= prefilter.FINE_MAYBE and max(fine) >= prefilter.FINE_LEAST
        )
    hits = same_picture(film, codes, finds)
    assert 0.1 < hits.mean() < 1
    assert (hits == expected).mean() > 0.99  # sums in another order may differ in the last digit


def test_the_windows_around_a_window_begin_with_the_same_one() -> None:
    for window, around in enumerate(prefilter.BANDS.around):
        np.testing.assert_allclose(FINE.places[around[0]], COARSE.places[window], atol=1e-6)


def test_a_film_without_key_frames_is_looked_through() -> None:
    with ThreadPoolExecutor(1) as pool:
        codes = key_codes(ClipHashes([b"", b""]), pool)
    finds, crowded = looked(codes)
    assert len(finds.frame) == len(crowded) == 0
    assert not same_picture(ClipHashes([b"", b""]), codes, finds).size
