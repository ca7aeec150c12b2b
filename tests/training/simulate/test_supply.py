"""Rendered scenes as training clips: the same samples every time, of several sizes, and never a held-out seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from training.model.codec import Codec, to_unit
from training.model.config import CodecConfig, SamplingConfig
from training.model.transformer import from_tokens
from training.simulate import Scene, Trial
from training.simulate.supply import HELDOUT, KINDS, LANDSCAPE, RenderedClips, RenderedFrames, pictures, rendered_clip

CODEC = CodecConfig(channels=16, patch=8, stride=4, width=8, encoder_blocks=0, decoder_blocks=0)
SAMPLING = SamplingConfig(width=32, height=32, frames=5)


class Words:
    """An encoder whose tokens are the text's bytes."""

    def tokens(self, texts: list[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode(), np.uint8).astype(np.float32)[:, None] for text in texts]


def frames(count: int = 12, first: int = 0) -> RenderedFrames:
    return RenderedFrames(SAMPLING, CODEC, count, first)


@pytest.fixture(scope="module")
def codec() -> Codec:
    codec, source = Codec(CODEC), frames()
    codec.initialise([to_unit(source.read(clip_id)[0]) for clip_id in source.clip_ids])
    return codec.eval().requires_grad_(False)


def test_a_sample_is_the_encoded_picture_with_its_caption(codec: Codec) -> None:
    source = frames()
    clips = RenderedClips(source, codec, Words(), patch=1)  # type: ignore[arg-type]
    for clip_id in source.clip_ids:
        sample, clip = clips.read(clip_id), source.clips[clip_id]
        z_Cthw = codec.encode(to_unit(pictures(clip.shown, clip.size, 5))[None])[0]
        assert sample.grid == (2, clip.size[1] // 8, clip.size[0] // 8)
        torch.testing.assert_close(from_tokens(sample.x_NP, sample.grid, 1), z_Cthw, rtol=0, atol=1e-5)
        assert bytes(sample.text_MT[:, 0].to(torch.uint8).tolist()).decode() == clip.shown.caption()
        assert sample.numeric[0] == 8.0
    assert {item.clip_id: item.tokens for item in clips.items()} == {
        i: len(clips.read(i).x_NP) for i in source.clip_ids
    }


def test_a_clip_that_was_encoded_is_not_encoded_again(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = RenderedClips(frames(2), codec, Words(), patch=1)  # type: ignore[arg-type]
    first = [clips.read(clip_id).x_NP for clip_id in clips.captions]
    monkeypatch.setattr(codec, "encode", lambda x: pytest.fail("encoded again"))
    again = [clips.read(clip_id).x_NP for clip_id in clips.captions]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


def test_a_clip_can_be_drawn_in_the_shape_of_footage() -> None:
    source = frames(3)
    assert source.read_at(source.clip_ids[0], (9, 48, 64)).shape == (9, 48, 64, 3)


def test_all_kinds_come_as_often_as_they_are_listed_in_sizes_that_tiles_divide() -> None:
    clips = [rendered_clip(seed, SamplingConfig(), 16) for seed in range(1100)]
    kinds = Counter(clip.shown.kind if isinstance(clip.shown, Trial) else LANDSCAPE for clip in clips)
    for kind, times in Counter(KINDS).items():
        assert kinds[kind] == pytest.approx(1100 * times / len(KINDS), rel=0.35), kind
    assert {side % 16 for clip in clips for side in clip.size} == {0}
    assert {clip.size for clip in clips if isinstance(clip.shown, Trial)} == {(64, 64), (64, 48)}
    assert {clip.size for clip in clips if isinstance(clip.shown, Scene)} > {(64, 64), (80, 48), (48, 80), (96, 48)}


def test_training_clips_never_reach_held_out_seeds() -> None:
    with pytest.raises(ValueError, match="held-out"):
        frames(4, HELDOUT - 2)
