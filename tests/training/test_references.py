"""What is given comes back: pictures and videos on the latent's frames, and through the whole way of `make`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.conftest import scene_clip
from training.config import GenerateConfig
from training.data.video import write_mp4
from training.evaluate.heldout import psnr
from training.model.codec import Codec, to_bytes, to_unit
from training.model.config import CodecConfig, ConfigError, TransformerConfig, build
from training.model.transformer import Transformer
from training.sampling.references import Reference, ReferenceLatents, ReferencesError, lay, read_reference
from training.sampling.sampler import Options, Pipeline, Sampler

SIZE = (32, 32)
FRAMES = 17  # 5 latent frames


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    """17 frames, 32x32: a scene and its way back."""
    scene = scene_clip(0)
    return torch.cat([scene, scene.flip(0)[1:]])


@pytest.fixture(scope="module")
def codec() -> Codec:
    codec = Codec(CodecConfig(width=8, encoder_blocks=1, decoder_blocks=1)).eval()
    codec.initialise([to_unit(scene_clip(seed)) for seed in range(6)])
    return codec.requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(width=32, layers=1, heads=2)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape) * 0.05)
    return model


class Words:
    """A text encoder's place: one random token sequence a text."""

    def tokens(self, texts: list[str]) -> list[np.ndarray]:
        return [np.random.default_rng(len(t)).normal(size=(3, 384)).astype(np.float32) for t in texts]


def laid(codec: Codec, *references: Reference, frames: int = FRAMES) -> ReferenceLatents:
    return lay(codec, references, frames, SIZE, 8.0)


def whole(codec: Codec, clip: torch.Tensor) -> torch.Tensor:
    return codec.encode(to_unit(clip)[None])[0]


def test_a_first_picture_is_the_first_latent_frame_of_any_video_that_starts_with_it(codec, clip) -> None:
    start = laid(codec, Reference("first", clip[:1], 8.0))
    assert start.given_t.tolist() == [True, False, False, False, False]
    torch.testing.assert_close(start.z_Cthw[:, 0], whole(codec, clip)[:, 0], rtol=0, atol=1e-5)


def test_a_videos_end_is_the_start_and_its_start_is_the_end(codec, clip) -> None:
    on = laid(codec, Reference("after", clip, 8.0))
    assert on.given_t.tolist() == [True, True, False, False, False]
    torch.testing.assert_close(on.z_Cthw[:, :2], whole(codec, clip[-5:]), rtol=0, atol=1e-5)
    up = laid(codec, Reference("before", clip, 8.0))
    assert up.given_t.tolist() == [False, False, False, True, True]
    torch.testing.assert_close(up.z_Cthw[:, 3:], whole(codec, clip[:9])[:, 1:], rtol=0, atol=1e-5)
    both = laid(codec, Reference("after", clip, 8.0), Reference("before", clip, 8.0))
    assert both.given_t.tolist() == [True, True, False, True, True]
    longer = laid(codec, Reference("after", clip, 8.0, seconds=1.0))
    assert longer.given_t.tolist() == [True, True, True, False, False]


def test_a_keyframe_lies_where_its_time_is_and_stands_still_there(codec, clip) -> None:
    for seconds, at in ((0.0, 0), (0.1, 1), (0.5, 1), (0.7, 2), (2.0, 4)):
        start = laid(codec, Reference("keyframe", clip[3:4], 8.0, seconds=seconds))
        assert start.given_t.nonzero().flatten().tolist() == [at]
    shown = to_bytes(codec.decode(start.z_Cthw[None])[0])
    still = to_bytes(codec.decode(whole(codec, clip[3:4].repeat(5, 1, 1, 1))[None])[0])
    assert psnr(shown[-1:], still[-1:]) > 30


def test_a_source_gives_nothing_and_is_whole(codec, clip) -> None:
    start = laid(codec, Reference("source", clip, 8.0), Reference("last", clip[:1], 8.0))
    assert start.sourced
    assert start.given_t.tolist() == [False] * 4 + [True]
    torch.testing.assert_close(start.z_Cthw[:, :4], whole(codec, clip)[:, :4], rtol=0, atol=1e-5)


def test_other_rates_and_sizes_are_fitted(codec, clip) -> None:
    fast = clip.repeat_interleave(3, dim=0)  # 24 frames a second
    slowed = laid(codec, Reference("source", fast, 24.0))
    torch.testing.assert_close(slowed.z_Cthw, whole(codec, clip), rtol=0, atol=1e-5)
    wide = clip.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)
    wide = torch.cat([torch.zeros_like(wide[:, :, :20]), wide, torch.zeros_like(wide[:, :, :20])], dim=2)
    cropped = laid(codec, Reference("first", wide[:1], 8.0)).z_Cthw[:, 0]
    assert (cropped - whole(codec, clip)[:, 0]).abs().mean() < 0.2


@pytest.mark.parametrize(
    ("references", "why"),
    [
        ([("middle", 1, None)], "none of first"),
        ([("first", 2, None)], "takes a picture"),
        ([("keyframe", 1, None)], "needs its time"),
        ([("keyframe", 1, 9.0)], "outside the video's 0 to 2 s"),
        ([("first", 1, None), ("after", 9, None)], "given already"),
        ([("before", 3, None)], "takes 5 frames"),
        ([("source", 9, None)], "of source for"),
        ([("source", 17, None), ("source", 17, None)], "one source"),
    ],
)
def test_what_cannot_be_given_says_why(codec, clip, references: list[tuple], why: str) -> None:
    with pytest.raises(ReferencesError, match=why):
        laid(codec, *(Reference(role, clip[:n], 8.0, "x.mp4", seconds) for role, n, seconds in references))


def test_a_video_of_one_frame_has_no_room_for_a_picture(codec, clip) -> None:
    with pytest.raises(ReferencesError, match="nothing is left to make"):
        laid(codec, Reference("first", clip[:1], 8.0), frames=1)


def test_files_are_read_by_their_role(tmp_path, clip) -> None:
    path = write_mp4(tmp_path / "clip.mp4", clip.numpy(), 8.0)
    first, last = (read_reference({"role": role, "path": str(path)}) for role in ("first", "last"))
    assert (len(first.frames_THWC), len(last.frames_THWC)) == (1, 1)
    assert psnr(first.frames_THWC, clip[-1:]) > 25
    assert psnr(last.frames_THWC, clip[:1]) > 25
    assert len(read_reference({"role": "after", "path": str(path)}).frames_THWC) == FRAMES


def generated(codec, model, *references: Reference, **more) -> torch.Tensor:
    asked = {"sampler": Sampler(3), "frames": FRAMES, "size": SIZE, "references": references} | more
    (video,) = Pipeline(codec, model, Words())(["a red circle"], [1], Options(**asked))
    return video


def test_given_pictures_come_back_as_the_codec_makes_them_and_the_rest_is_made(codec, model, clip) -> None:
    remade = to_bytes(codec.decode(whole(codec, clip)[None])[0])
    alone = generated(codec, model)
    first = generated(codec, model, Reference("first", clip[:1], 8.0))
    assert psnr(first[:1], remade[:1]) > 45
    assert psnr(alone[:1], remade[:1]) < 20
    on = generated(codec, model, Reference("after", clip, 8.0))
    assert psnr(on[:5], to_bytes(codec.decode(whole(codec, clip[-5:])[None])[0])) > 45
    assert not torch.equal(first[5:], alone[5:])  # the rest attends to what is given


def test_a_source_is_changed_the_more_the_greater_the_strength(codec, model, clip) -> None:
    remade = to_bytes(codec.decode(whole(codec, clip)[None])[0])
    near, middle, far = (
        psnr(generated(codec, model, Reference("source", clip, 8.0), strength=s), remade) for s in (0.1, 0.5, 0.95)
    )
    assert near > middle > far


def test_what_the_model_is_told_changes_what_it_makes(codec, model) -> None:
    base = generated(codec, model)
    assert torch.equal(base, generated(codec, model, numbers={"fps": 8}))
    for change in (
        {"numbers": {"motion": 400.0}},
        {"negative_prompt": "blue"},
        {"sampler": Sampler(3, interval=(0, 0.5))},
    ):
        assert not torch.equal(base, generated(codec, model, **change))
    with pytest.raises(ValueError, match="there are fps"):
        generated(codec, model, numbers={"speed": 1.0})
    with pytest.raises(ValueError, match="1 to 120"):
        generated(codec, model, numbers={"fps": 0.0})


def test_a_configuration_that_cannot_act_is_refused() -> None:
    base = {"model_dir": "m", "text_encoder": "t", "prompts": ["p"], "out": "o"}
    for bad, why in (
        ({"size": [64]}, "size List should have at least 2 items"),
        ({"guidance_interval": [0.5]}, "guidance_interval List should have at least 2 items"),
        ({"references": [{"role": "first"}]}, "role"),
    ):
        with pytest.raises(ConfigError, match=why):
            build(GenerateConfig, base | bad)
