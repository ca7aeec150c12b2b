"""The text encoder is deterministic, unit length, and near for near meanings."""

from pathlib import Path

import numpy as np
import pytest

from training.text import MAX_TOKENS, TextEncoder, TextEncoderError, text_key

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


def test_a_missing_encoder_says_what_to_run(tmp_path):
    with pytest.raises(TextEncoderError, match="make setup"):
        TextEncoder(tmp_path)


def test_the_cache_key_of_a_text_is_its_sha256():
    assert text_key("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
