"""Trials as training clips: the same samples every time, from memory or from the cache, and never a held-out seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.codec import Codec, to_unit
from training.config import CodecConfig
from training.simulate.supply import HELDOUT, TrialClips, pictures
from training.simulate.trial import random_trial
from training.transformer import from_tokens

CODEC = CodecConfig(channels=16, patch=8, stride=4, width=8, encoder_blocks=0, decoder_blocks=0)


@pytest.fixture(scope="module")
def codec() -> Codec:
    codec = Codec(CODEC)
    codec.initialise([to_unit(pictures(random_trial(seed), (32, 24), 5)) for seed in range(8)])
    return codec.eval().requires_grad_(False)


def supply(codec: Codec, **changes) -> TrialClips:
    texts = {random_trial(seed, seconds=0.5).caption(): torch.full((3 + seed, 12), seed) for seed in range(4)}
    return TrialClips(codec, texts, **{"count": 4, "size": (32, 24), "frames": 5, **changes})


def test_a_sample_is_the_encoded_trial_with_its_caption(codec: Codec) -> None:
    sample = supply(codec).read("trial-2")
    z_Cthw = codec.encode(to_unit(pictures(random_trial(2, seconds=0.5), (32, 24), 5))[None])[0]
    assert sample.grid == (2, 3, 4)
    torch.testing.assert_close(from_tokens(sample.x_NP, sample.grid, 1), z_Cthw, rtol=0, atol=1e-5)
    assert sample.text_MT.shape == (5, 12)
    assert sample.numeric[0] == 8.0


def test_cached_latents_are_those_that_were_made_and_are_not_made_again(
    codec: Codec, tmp_path: Path, monkeypatch
) -> None:
    made = supply(codec, cache=tmp_path / "latents.safetensors")
    monkeypatch.setattr(codec, "encode", lambda x: pytest.fail("encoded again"))
    kept = supply(codec, cache=tmp_path / "latents.safetensors")
    assert kept.items() == made.items()
    assert all(torch.equal(kept.read(item.clip_id).x_NP, made.read(item.clip_id).x_NP) for item in made.items())


def test_training_clips_never_reach_held_out_seeds(codec: Codec) -> None:
    with pytest.raises(ValueError, match="held-out"):
        supply(codec, first=HELDOUT - 2)
