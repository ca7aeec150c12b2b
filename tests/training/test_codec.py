"""The codec: an image is a first latent, the past never sees the future, and the start is already a codec."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.conftest import scene_clip
from training.data.steps import mirrored
from training.evaluate.heldout import psnr, reconstruct, seams
from training.model.codec import (
    Codec,
    aligned,
    build_codec,
    hadamard,
    levels,
    load_codec,
    save_codec,
    to_bytes,
    to_unit,
)
from training.model.config import CodecConfig, ConfigError, build
from training.model.critic import Critic
from training.model.flow import keyed
from training.model.patches import deblock
from training.model.pretrained import PretrainedCodec, PretrainedError, load_pretrained

CONFIG = CodecConfig(width=16, encoder_blocks=2, decoder_blocks=2, smoothing=4)


@pytest.fixture(scope="module")
def codec() -> Codec:
    """PCA start, and residual blocks that are no longer zero."""
    torch.manual_seed(0)
    codec = Codec(CONFIG)
    codec.initialise([to_unit(scene_clip(seed)) for seed in range(6)])
    for name, parameter in codec.named_parameters():
        if not name.startswith(("stem", "head")):
            torch.nn.init.normal_(parameter, std=0.05)
    codec.set_statistics([to_unit(scene_clip(seed)) for seed in range(6)])
    return codec.eval().requires_grad_(False)


def test_an_image_is_exactly_the_first_latent_of_every_video_that_starts_with_it(codec: Codec) -> None:
    x = to_unit(scene_clip(20))[None]
    torch.testing.assert_close(codec.encode(x[:, :, :1]), codec.encode(x)[:, :, :1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("changed_frame", [1, 4, 5, 8])
def test_a_latent_never_depends_on_later_frames(codec: Codec, changed_frame: int) -> None:
    x = to_unit(scene_clip(20))[None]
    other = x.clone()
    other[:, :, changed_frame:] = 0.3
    first = (changed_frame + 3) // 4  # the latent frame that holds the changed one
    a, b = codec.encode(x), codec.encode(other)
    torch.testing.assert_close(a[:, :, :first], b[:, :, :first], rtol=0, atol=1e-6)
    assert (a[:, :, first] - b[:, :, first]).abs().max() > 0.01


def test_a_decoded_frame_never_depends_on_later_latents(codec: Codec) -> None:
    z = codec.encode(to_unit(scene_clip(20))[None])
    torch.testing.assert_close(codec.decode(z[:, :, :2]), codec.decode(z)[:, :, :5], rtol=0, atol=1e-5)


def test_training_meets_every_reflection_of_a_clip_and_the_same_ones_again() -> None:
    x = to_unit(scene_clip(20))
    met = [mirrored(x, keyed("mirrored", step)) for step in range(60)]
    every = [x.flip(axes) for axes in ([], [1], [2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3])]
    assert [sum(torch.equal(clip, other) for other in every) >= 1 for clip in met] == [True] * 60
    assert all(any(torch.equal(clip, other) for clip in met) for other in every)
    assert torch.equal(met[7], mirrored(x, keyed("mirrored", 7)))


def test_latents_have_zero_mean_and_unit_deviation_over_the_clips_they_were_measured_on(codec: Codec) -> None:
    parts = [codec.encode(to_unit(scene_clip(seed))[None])[0] for seed in range(6)]
    for frames in (slice(0, 1), slice(1, None)):
        z_CN = torch.cat([z[:, frames].flatten(1) for z in parts], dim=1)
        assert z_CN.mean(1).abs().max() < 1e-4
        assert (z_CN.std(1) - 1).abs().max() < 1e-3


def test_the_pca_start_reconstructs_unseen_clips_well() -> None:
    codec = Codec(CONFIG)
    codec.initialise([to_unit(scene_clip(seed)) for seed in range(12)])
    scores = [psnr(scene_clip(seed), reconstruct(codec, scene_clip(seed))) for seed in range(30, 36)]
    assert sum(scores) / len(scores) > 22


def test_patches_of_pixels_come_back_to_their_places(codec: Codec) -> None:
    x = to_unit(scene_clip(3))[None]
    torch.testing.assert_close(codec.unpatchify(*codec.patchify(x)), x)
    assert torch.equal(to_bytes(x)[0], scene_clip(3))


@pytest.mark.parametrize("shape", [(4, 32, 32), (8, 32, 32), (9, 32, 36)])
def test_other_lengths_and_sides_are_refused(codec: Codec, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="4k"):
        codec.encode(torch.zeros(1, 3, *shape))


def test_a_saved_codec_loads_the_same(codec: Codec, tmp_path) -> None:
    save_codec(codec, tmp_path)
    x = to_unit(scene_clip(1))[None]
    assert torch.equal(load_codec(tmp_path).encode(x), codec.encode(x))


def test_the_rotation_is_orthonormal_and_even() -> None:
    matrix = hadamard(16)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(16))
    assert torch.allclose(matrix.abs(), torch.tensor(0.25))
    with pytest.raises(ValueError, match="power of two"):
        hadamard(12)


def test_beyond_the_knee_no_component_has_much_more_variance_and_below_it_each_keeps_its_own() -> None:
    variance = torch.tensor([100.0, 10.0, 0.01, 0.001])
    left = variance * levels(variance, knee=0.1).square()
    assert left.max() < 0.1 * variance.mean()
    torch.testing.assert_close(left[2:], variance[2:], rtol=0.01, atol=0)
    assert torch.equal(levels(variance, knee=0), torch.ones(4))


def test_a_knee_changes_the_latents_and_not_what_is_reconstructed() -> None:
    clips = [to_unit(scene_clip(seed)) for seed in range(6)]
    plain, level = Codec(CONFIG), Codec(replace(CONFIG, knee=0.3))
    for codec in (plain, level):
        codec.initialise(clips)
        codec.requires_grad_(False)
    x = to_unit(scene_clip(20))[None]
    torch.testing.assert_close(level.decode(level.encode(x)), plain.decode(plain.encode(x)), rtol=0, atol=1e-4)
    assert _largest_share(level, clips) < 0.5 * _largest_share(plain, clips)


def _largest_share(codec: Codec, clips: list[torch.Tensor]) -> float:
    """Of the latents' variance, that along their first principal direction."""
    z_CN = torch.cat([codec.encode(x[None])[0][:, 1:].flatten(1) for x in clips], dim=1)
    variance_C = torch.linalg.eigvalsh(torch.cov(z_CN))
    return float(variance_C.max() / variance_C.sum())


def test_alignment_undoes_a_shuffle_and_flipped_signs() -> None:
    target = torch.linalg.qr(torch.randn(10, 4, generator=torch.Generator().manual_seed(0))).Q
    shuffled = target[:, [2, 0, 3, 1]] * torch.tensor([1.0, -1.0, -1.0, 1.0])
    torch.testing.assert_close(aligned(shuffled, target), target)


HAAR = CodecConfig(kind="haar", patch=4, stride=4, channels=192)


def cuts(frames: int) -> st.SearchStrategy[list[int]]:
    """Places to cut this many latent frames into chunks, both ends included."""
    return st.sets(st.integers(1, frames - 1)).map(lambda inside: [0, *sorted(inside), frames])


@settings(deadline=None, max_examples=25)
@given(cuts(6), st.sampled_from(["learned", "haar"]))
def test_a_video_in_chunks_is_encoded_and_decoded_as_if_whole(codec: Codec, at: list[int], kind: str) -> None:
    coder = codec if kind == "learned" else build_codec(HAAR)
    x = torch.rand(2, 3, 21, 16, 24, generator=torch.Generator().manual_seed(len(at))) * 2 - 1
    frame = [0, *(4 * (i - 1) + 1 for i in at[1:])]
    with torch.no_grad():
        z = coder.encode(x)
        parts = list(coder.encode_stream(x[:, :, a:b] for a, b in pairwise(frame)))
        back = list(coder.decode_stream(z[:, :, a:b] for a, b in pairwise(at)))
        whole = coder.decode(z)
    assert [part.shape[2] for part in parts] == [b - a for a, b in pairwise(at)]
    torch.testing.assert_close(torch.cat(parts, dim=2), z, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.cat(back, dim=2), whole, rtol=0, atol=1e-5)


def test_a_chunk_that_forgot_what_came_before_would_differ(codec: Codec) -> None:
    z = codec.encode(to_unit(scene_clip(20))[None])
    x = to_unit(scene_clip(20))[None, :, :9]
    forgetful = codec.encode(torch.cat([x[:, :, 4:5], x[:, :, 5:9]], dim=2))
    assert (forgetful[:, :, 1] - z[:, :, 2]).abs().max() > 1e-4


@settings(deadline=None, max_examples=15)
@given(st.sampled_from([(1, 1), (2, 2), (4, 4), (8, 4), (4, 1)]), st.integers(0, 3), st.integers(0, 99))
def test_the_haar_codec_loses_nothing_and_keeps_lengths(shape: tuple[int, int], k: int, seed: int) -> None:
    patch, stride = shape
    codec = build_codec(CodecConfig(kind="haar", patch=patch, stride=stride, channels=3 * stride * patch**2))
    assert not list(codec.parameters())
    x = torch.rand(1, 3, stride * k + 1, 16, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    z = codec.encode(x)
    assert z.shape == (1, codec.config.channels, k + 1, 16 // patch, 8 // patch)
    torch.testing.assert_close(codec.decode(z), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(z.square().sum((0, 1, 3, 4))[1:].sum(), x[:, :, 1:].square().sum(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(codec.encode(x[:, :, :1]), z[:, :, :1], rtol=0, atol=1e-6)


def test_a_haar_codec_with_statistics_saves_and_loads_the_same(tmp_path) -> None:
    codec = build_codec(HAAR)
    clips = [to_unit(scene_clip(seed)) for seed in range(3)]
    codec.set_statistics(clips)
    save_codec(codec, tmp_path)
    z = codec.encode(clips[0][None])
    assert (z.std() - 1).abs() < 0.5
    assert torch.equal(load_codec(tmp_path).encode(clips[0][None]), z)
    torch.testing.assert_close(codec.decode(z), clips[0][None], rtol=0, atol=1e-4)


def test_a_haar_codec_of_other_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 192 channels"):
        build(CodecConfig, {"kind": "haar", "patch": 4, "stride": 4})
    with pytest.raises(ValueError, match="powers of two, got 3"):
        build_codec(CodecConfig(kind="haar", patch=3, stride=4, channels=108))


def test_small_pictures_can_have_small_patches() -> None:
    codec = Codec(CodecConfig(patch=4, width=8, encoder_blocks=1, decoder_blocks=1))
    assert codec.encode(torch.zeros(1, 3, 13, 32, 32)).shape == (1, 16, 4, 8, 8)


def test_small_steps_between_cells_are_evened_out_and_edges_stay() -> None:
    flat = torch.zeros(3, 2, 32, 32)
    tiled = flat.clone()
    tiled[..., 16:, :] += 0.1
    tiled[..., 16:] -= 0.08
    smooth = deblock(tiled, 16)
    assert float((smooth[..., 1:] - smooth[..., :-1]).abs().max()) < 0.02
    assert float((smooth[..., 1:, :] - smooth[..., :-1, :]).abs().max()) < 0.02
    edge = flat.clone()
    edge[..., 16:] = 0.9
    torch.testing.assert_close(deblock(edge, 16), edge)


def test_a_ramp_across_cells_is_left_as_it_is() -> None:
    ramp = torch.linspace(-0.8, 0.8, 48).expand(3, 2, 32, 48).contiguous()
    torch.testing.assert_close(deblock(ramp, 16), ramp, atol=1e-5, rtol=0)


TINY: dict[str, dict[str, Any]] = {
    "AutoencoderKLLTXVideo": {
        "latent_channels": 8,
        "block_out_channels": (8, 8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8, 8),
        "layers_per_block": (1, 1, 1, 1, 1),
        "decoder_layers_per_block": (1, 1, 1, 1, 1),
        "decoder_causal": True,
    },
    "AutoencoderKLWan": {
        "base_dim": 4,
        "z_dim": 4,
        "num_res_blocks": 1,
        "latents_mean": [0.1, -0.2, 0.3, 0.0],
        "latents_std": [2.0, 1.0, 0.5, 3.0],
    },
    "AutoencoderKLCosmos": {
        "latent_channels": 4,
        "encoder_block_out_channels": (8, 8, 8, 8),
        "decode_block_out_channels": (8, 8, 8, 8),
        "attention_resolutions": (8,),
        "resolution": 64,
        "num_layers": 1,
        "latents_mean": [0.1 * i for i in range(8)],
        "latents_std": [1.0 + 0.1 * i for i in range(8)],
    },
    "AutoencoderKLCogVideoX": {
        "latent_channels": 4,
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "scaling_factor": 0.7,
    },
}


def test_what_is_no_known_autoencoder_in_a_safe_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=r"no config\.json"):
        load_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(PretrainedError, match="holds a AutoencoderKL; known are AutoencoderKLLTXVideo"):
        load_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKLWan"}))
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(PretrainedError, match="no weights as safetensors"):
        load_pretrained(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_saved_autoencoder_is_a_codec_with_its_own_normalisation(name: str, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    original = getattr(diffusers, name)(**TINY[name]).eval()
    if name == "AutoencoderKLLTXVideo":
        original.latents_mean.copy_(torch.linspace(-1, 1, 8))
        original.latents_std.copy_(torch.linspace(0.5, 2, 8))
    original.save_pretrained(tmp_path, safe_serialization=True)
    codec = load_codec(tmp_path)
    assert isinstance(codec, PretrainedCodec)
    p, s = codec.config.patch, codec.config.stride
    k = codec.pairs  # later latent frames
    x = torch.rand(1, 3, s * k + 1, 2 * p, 3 * p, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        z, image = codec.encode(x), codec.encode(x[:, :, :1])
        raw = original.encode(x).latent_dist.mode()
        back, whole = codec.decode(z), original.decode(raw, return_dict=False)[0]
    assert z.shape == (1, codec.config.channels, k + 1, 2, 3)
    assert back.shape == x.shape
    if name != "AutoencoderKLCogVideoX":  # its group norms look at later frames too
        torch.testing.assert_close(image, z[:, :, :1], rtol=0, atol=1e-4)
    assert image.shape == z[:, :, :1].shape
    torch.testing.assert_close(back, whole, rtol=0, atol=1e-4)
    torch.testing.assert_close(z[0, :, 1], expected(original, raw)[0, :, 1], rtol=0, atol=1e-5)
    if k > 1:
        with pytest.raises(ValueError, match=f"takes {s * k}k [+] 1 frames"):
            codec.decode(z[:, :, :2])
    with pytest.raises(ValueError, match="codec takes"):
        codec.encode(x[:, :, :, 1:])


def expected(original: Any, raw: torch.Tensor) -> torch.Tensor:
    """Latents as each model's own pipeline normalises them, of the second latent frame."""
    c, name = original.config, type(original).__name__
    if name == "AutoencoderKLCogVideoX":
        return raw * c.scaling_factor
    if name == "AutoencoderKLLTXVideo":
        mean, std = original.latents_mean, original.latents_std
    else:
        mean, std = (torch.tensor(x).view(raw.shape[1], -1)[:, -1] for x in (c.latents_mean, c.latents_std))
    return (raw - mean.view(1, -1, 1, 1, 1)) / std.view(1, -1, 1, 1, 1)


# -- borders of patches, and what a codec is trained for ---------------------------------------------------------------


def seamed(frames_THWC: torch.Tensor, cell: int, step: int = 6) -> torch.Tensor:
    """The clip with every second cell a little lighter, as a decoder that knows no neighbours leaves it."""
    rows, columns = (torch.arange(size) // cell for size in frames_THWC.shape[1:3])
    lighter = (rows[:, None] + columns[None, :]) % 2 * step
    return (frames_THWC.int() + lighter[None, :, :, None]).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_seams_are_seen_where_they_are_and_nowhere_else(seed: int) -> None:
    clip = scene_clip(seed)
    assert seams(clip, clip, 8) == 1
    assert seams(clip, seamed(clip, 8), 8) > 1.05
    moved = seamed(clip.roll((3, 3), (1, 2)), 8).roll((-3, -3), (1, 2))  # the same steps, inside the cells
    assert seams(clip, moved, 8) < 1


def test_a_smoother_begins_as_nothing_and_leaves_the_latents_alone() -> None:
    plain, smoothed = (Codec(replace(CONFIG, smoothing=width)) for width in (0, 8))
    smoothed.load_state_dict(plain.state_dict(), strict=False)
    x = to_unit(scene_clip(20))[None]
    torch.testing.assert_close(smoothed.decode(smoothed.encode(x)), plain.decode(plain.encode(x)))
    assert smoothed.smoother is not None
    torch.nn.init.normal_(smoothed.smoother.convs[-1].weight)
    assert torch.equal(smoothed.encode(x), plain.encode(x))
    assert not torch.equal(smoothed.decode(smoothed.encode(x)), plain.decode(plain.encode(x)))


def test_a_critic_and_the_codec_never_move_each_others_weights() -> None:
    torch.manual_seed(0)
    critic, remade = Critic(width=8), torch.rand(2, 3, 5, 32, 32, requires_grad=True)
    fooled, judged = critic.judge(torch.rand(2, 3, 5, 32, 32), remade)
    assert fooled.shape == judged.shape == (2,)
    judged.sum().backward(retain_graph=True)
    assert remade.grad is None
    before = [p.grad.clone() for p in critic.parameters() if p.grad is not None]
    fooled.sum().backward()
    assert remade.grad is not None
    assert all(torch.equal(p.grad, old) for p, old in zip(critic.parameters(), before, strict=True))
