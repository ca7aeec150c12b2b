"""The codec: an image is a first latent, the past never sees the future, and the start is already a codec."""

from __future__ import annotations

import pytest
import torch

from tests.training.conftest import scene_clip
from training.codec import Codec, aligned, hadamard, load_codec, save_codec, to_bytes, to_unit
from training.config import CodecConfig
from training.evaluate.reconstruction import psnr, reconstruct

CONFIG = CodecConfig(width=16, encoder_blocks=2, decoder_blocks=2)


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


def test_alignment_undoes_a_shuffle_and_flipped_signs() -> None:
    target = torch.linalg.qr(torch.randn(10, 4, generator=torch.Generator().manual_seed(0))).Q
    shuffled = target[:, [2, 0, 3, 1]] * torch.tensor([1.0, -1.0, -1.0, 1.0])
    torch.testing.assert_close(aligned(shuffled, target), target)
