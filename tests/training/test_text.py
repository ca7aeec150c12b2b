"""The text encoder is deterministic, unit length, and near for near meanings."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.model.text import (
    MAX_TOKENS,
    ROLES,
    TextEncoder,
    TextEncoderError,
    signed_permutation,
    text_key,
    with_neighbours,
)

MINILM = Path(__file__).parents[2] / ".vendor" / "minilm"
needs_minilm = pytest.mark.skipif(not (MINILM / "model.safetensors").exists(), reason="run `make setup`")


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(MINILM)


@needs_minilm
def test_near_meanings_are_near_and_vectors_have_unit_length(encoder):
    a, b, c = encoder.embed(["a red ball bounces", "a red ball is bouncing", "quarterly tax report"])
    assert np.linalg.norm(a) == pytest.approx(1, abs=1e-5)
    assert a @ b > 0.8 > 0.4 > a @ c


@needs_minilm
def test_a_text_is_encoded_the_same_whatever_stands_beside_it(encoder):
    alone = encoder.tokens(["sunset over Paris"])[0]
    beside = encoder.tokens(["a much longer caption about a harbour at night", "sunset over Paris"])[1]
    np.testing.assert_array_equal(alone, beside)
    assert alone.shape == (len(alone), 384)


@needs_minilm
def test_empty_and_endless_texts_are_encoded_too(encoder):
    empty, endless = encoder.tokens(["", "waves " * 500])
    assert len(empty) == 2
    assert len(endless) == MAX_TOKENS


@needs_minilm
def test_a_token_says_which_words_stand_beside_it(encoder):
    left, right = (encoder.tokens([f"one red circle {side} of one blue square"])[0] for side in ("left", "right"))
    changed = [i for i, (a, b) in enumerate(zip(left, right, strict=True)) if not np.allclose(a, b, atol=0.05)]
    assert changed == [3, 4, 5], "the side and the words on both sides of it, and no other word"


def test_neighbours_are_told_from_each_other_and_from_the_word_itself():
    a, b, c = np.eye(3, 96, dtype=np.float32) * 10
    middle = {
        order: with_neighbours(np.stack(order_of))[1]
        for order, order_of in {"abc": (a, b, c), "cba": (c, b, a)}.items()
    }
    assert not np.allclose(middle["abc"], middle["cba"])
    assert np.square(
        with_neighbours(np.random.default_rng(0).normal(size=(50, 96)).astype(np.float32))
    ).mean() == pytest.approx(1, abs=0.1)


@given(st.sampled_from(ROLES), st.integers(2, 64), st.integers(0, 2**32 - 1))
def test_a_role_is_a_fixed_orthogonal_map(role, width, seed):
    order, sign = signed_permutation(role, width)
    assert sorted(order) == list(range(width))
    x, y = np.random.default_rng(seed).normal(size=(2, width))
    assert (x[order] * sign) @ (y[order] * sign) == pytest.approx(x @ y)


def test_the_roles_are_the_same_on_every_machine():
    order, sign = signed_permutation("before", 6)
    assert order.tolist() == [1, 0, 3, 5, 4, 2]
    assert sign.tolist() == [-1.0, -1.0, -1.0, 1.0, -1.0, -1.0]


def test_a_missing_encoder_says_what_to_run(tmp_path):
    with pytest.raises(TextEncoderError, match="make setup"):
        TextEncoder(tmp_path)


def test_the_cache_key_of_a_text_is_its_sha256():
    assert text_key("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
