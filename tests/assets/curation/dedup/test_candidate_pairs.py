"""That the search finds among many clips what comparing all with all finds, and does not tire in crowds."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import comb

import numpy as np
import pytest

from assets.curation.dedup import candidate_pairs
from assets.curation.dedup.candidate_pairs import near_pairs
from assets.curation.dedup.lsh_codes import POOL, TRIES, TURNED, WEIGHTS, Codes, key_codes, packed
from assets.curation.dedup.lsh_index import WEAK, tried_codes
from assets.curation.dedup.similarity import COARSE, TURNS, ClipHashes, compare
from assets.signals.phash import HASH_BYTES, unpack
from tests.benchmarks.duplicates_scale import Planted, clips, film_of, planted, walks
from tests.benchmarks.duplicates_scale import packed as hashed


@pytest.fixture(scope="module")
def made() -> Planted:
    """240 clips, 70 of them copies of as many others, ten of a kind."""
    return planted(240, 70, walks(1), seed=4)


def numbered(first: np.ndarray, second: np.ndarray) -> set[tuple[int, int]]:
    return {(min(pair), max(pair)) for pair in zip(first.tolist(), second.tolist(), strict=True)}


def test_the_search_finds_nearly_all_that_comparing_all_with_all_finds(made: Planted) -> None:
    left, other = np.triu_indices(len(made.film), 1)
    near = compare(made.film, left, other).near
    truly = numbered(left[near], other[near])
    pairs = near_pairs(made.film)
    matched = numbered(pairs.first, pairs.second)
    assert matched <= truly
    assert len(matched) >= 0.95 * len(truly)
    assert pairs.compared < 0.01 * len(left)
    assert truly <= numbered(made.originals, made.copies)  # nothing else is near


def test_a_search_for_the_new_finds_the_pairs_of_the_new(made: Planted) -> None:
    fresh = np.zeros(len(made.film), bool)
    fresh[made.copies[:35]] = True
    new, everything = near_pairs(made.film, fresh), near_pairs(made.film)
    assert len(new.first) > 25
    wanted = {pair for pair in numbered(everything.first, everything.second) if fresh[list(pair)].any()}
    assert numbered(new.first, new.second) == wanted
    assert len(near_pairs(made.film, np.zeros(len(made.film), bool)).first) == 0


@pytest.fixture(scope="module")
def codes(made: Planted) -> Iterator[Codes]:
    with ThreadPoolExecutor(2) as pool:
        yield key_codes(made.film, pool)


def test_every_clip_has_about_as_many_tries(codes: Codes) -> None:
    """One before a fixed camera has one key frame, and would else be looked for once where others are six times."""
    spent = np.bincount(codes.clip, codes.tries)
    frames = np.bincount(codes.clip)
    assert frames.min() == 1
    assert frames.max() > 3
    assert (spent <= TRIES).all()
    assert (spent > TRIES - frames).all()


def test_a_key_frame_looks_with_chosen_bits_the_other_way_and_the_smallest_first(codes: Codes, made: Planted) -> None:
    chosen = np.random.default_rng(1).permutation(POOL)[:20]
    alone = np.flatnonzero(codes.tries == TRIES)[:1]
    looked = [code ^ codes.whole[alone[0]] for code in tried_codes(codes, alone[0], chosen)]
    size = np.abs(unpack(made.film.frames[codes.frame[alone]])[0] @ COARSE.windows[0])[0]
    smallest = chosen[np.argsort(size[chosen])]
    usable = min(WEAK, int(np.isin(codes.weak[alone[0]], chosen).sum()))
    patterns = sum(comb(usable, changed) for changed in range(4))  # at most three bits together, none of them twice
    assert len(set(looked)) == len(looked) == min(TRIES, patterns)
    assert looked[:3] == [0, *WEIGHTS[smallest[:2]]]
    assert set(looked[3:5]) == {WEIGHTS[smallest[2]], WEIGHTS[smallest[:2]].sum()}
    assert not any(bits & ~WEIGHTS[chosen].sum() for bits in looked)


def test_the_turned_code_is_the_code_of_the_turned_picture(codes: Codes, made: Planted) -> None:
    frames = np.arange(10)
    luma = unpack(made.film.frames[codes.frame[frames]])[0].reshape(-1, 12, 12)
    mirrored = np.ascontiguousarray(luma[:, :, ::-1]).reshape(10, -1)
    there = packed(mirrored @ COARSE.windows[0] > 0)
    assert (
        np.bitwise_count(codes.whole[frames] ^ TURNED[1] ^ there) <= 1
    ).all()  # a coefficient may be as good as none


@pytest.mark.slow
def test_copies_are_found_with_as_many_chosen_bits_as_a_million_clips_have(
    made: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_pairs, "LEAST_BITS", candidate_pairs.MOST_BITS)
    pairs = near_pairs(made.film)
    wanted = numbered(made.originals, made.copies)
    assert len(wanted & numbered(pairs.first, pairs.second)) >= 0.95 * len(wanted)


def test_comparing_is_symmetric(made: Planted) -> None:
    left, other = made.originals[:40], made.copies[:40]
    there, back = compare(made.film, left, other), compare(made.film, other, left)
    np.testing.assert_allclose(there.structure, back.structure)
    np.testing.assert_allclose(there.chroma, back.chroma)


def test_a_turned_picture_has_the_turned_description() -> None:
    luma = np.random.default_rng(0).standard_normal((5, 12, 12)).astype(np.float32)
    for turn, view in zip(TURNS, (luma, luma[:, :, ::-1], luma[:, ::-1], luma[:, ::-1, ::-1]), strict=True):
        turned = COARSE.described(np.ascontiguousarray(view).reshape(5, -1))
        np.testing.assert_allclose(turned, COARSE.described(luma.reshape(5, -1)) * turn, atol=1e-5)


def card(count: int, frames: int, seed: int = 0) -> np.ndarray:
    """uint8 [clips, frames, 88]: one title card, coded each time anew."""
    rng = np.random.default_rng(seed)
    shown = np.repeat(rng.standard_normal((1, 144)), count * frames, axis=0)
    noisy = shown + rng.normal(0, 0.06, shown.shape)
    return hashed(noisy, np.zeros((len(noisy), 32))).reshape(count, frames, HASH_BYTES)


@pytest.mark.slow
def test_a_crowd_before_one_title_card_costs_a_few_comparisons_a_clip_and_loses_nobody() -> None:
    frames = card(2000, 8)
    pairs = near_pairs(film_of(frames.reshape(-1, HASH_BYTES), np.full(2000, 8)))
    assert set(pairs.second.tolist()) == set(range(1, 2000))  # each is near an earlier one
    assert pairs.compared < 40 * 2000
    assert pairs.unfinished == 0


def test_a_copy_is_found_although_all_clips_begin_with_one_card(made: Planted) -> None:
    cards = card(len(made.film), 3)
    own = np.split(made.film.frames, made.film.starts[1:])
    film = ClipHashes([np.concatenate([cards[clip], frames]).tobytes() for clip, frames in enumerate(own)])
    pairs = near_pairs(film)
    wanted = numbered(made.originals[0::7], made.copies[0::7])  # coded again
    assert len(wanted & numbered(pairs.first, pairs.second)) >= 0.95 * len(wanted)


def test_clips_that_run_out_of_patience_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd in which nobody is near anybody: one code for all, and no comparison that says yes."""
    frames = card(80, 4)
    film = film_of(frames.reshape(-1, HASH_BYTES), np.full(80, 4))
    monkeypatch.setattr(candidate_pairs, "compare", _never_near)
    assert near_pairs(film).unfinished > 0


def _never_near(film: ClipHashes, ones: np.ndarray, others: np.ndarray) -> object:
    matched = compare(film, ones, others)
    matched.structure[:] = 0
    return matched


def test_synthetic_clips_are_as_different_as_real_ones() -> None:
    rng = np.random.default_rng(2)
    real = hashed(rng.standard_normal((300, 144)).cumsum(axis=1), np.zeros((300, 32)))
    film = clips(50, real, rng)
    seen = COARSE.described(unpack(film.frames[film.starts])[0])
    cosines = (seen @ seen.T)[np.triu_indices(50, 1)]
    assert np.abs(cosines.mean()) < 0.3
    assert 0.1 < cosines.std() < 0.4
