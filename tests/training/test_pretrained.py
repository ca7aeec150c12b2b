"""Autoencoders of others: tiny ones with random weights, saved as diffusers saves the real ones, behave as codecs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from training.model.codec import load_codec
from training.model.pretrained import PretrainedCodec, PretrainedError, load_pretrained

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
