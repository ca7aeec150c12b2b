"""Tiny pretrained bases: pipelines of the real classes with random weights, as diffusers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 40, "dropout_rate": 0.0}
LTX_VAE: dict[str, Any] = {
    "latent_channels": 8,
    "block_out_channels": (8, 8),
    "decoder_block_out_channels": (8, 8),
    "down_block_types": ("LTXVideoDownBlock3D",) * 2,
    "layers_per_block": (1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1),
    "spatio_temporal_scaling": (True, False),
    "decoder_spatio_temporal_scaling": (True, False),
    "decoder_inject_noise": (False,) * 3,
    "downsample_type": ("conv",) * 2,
    "upsample_residual": (False,) * 2,
    "upsample_factor": (1, 1),
    "decoder_causal": True,
}
WAN_VAE: dict[str, Any] = {
    "base_dim": 4,
    "z_dim": 4,
    "num_res_blocks": 1,
    "latents_mean": [0.1, -0.2, 0.3, 0.0],
    "latents_std": [2.0, 1.0, 0.5, 3.0],
}


def tokenizer() -> Any:
    """A T5 tokenizer whose pieces are letters."""
    from transformers import T5Tokenizer

    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((letter, -3.0) for letter in "▁abcdefghijklmnopqrstuvwxyz,."),
    ]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def make_base(folder: Path, family: str = "LTX", licence: str = "apache-2.0") -> Path:
    """A whole pipeline in `folder`, with a README that names its licence unless that is empty."""
    import diffusers
    import transformers

    torch.manual_seed(0)
    if family == "LTX":
        transformer = diffusers.LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=16,
            cross_attention_dim=32,
            num_layers=2,
            caption_channels=16,
        )
        parts = {
            "vae": diffusers.AutoencoderKLLTXVideo(**LTX_VAE),
            "text_encoder": transformers.T5EncoderModel(transformers.T5Config(**T5)),
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        }
        kind = diffusers.LTXPipeline
    else:
        transformer = diffusers.WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=16,
            freq_dim=32,
            ffn_dim=48,
            num_layers=2,
        )
        parts = {
            "vae": diffusers.AutoencoderKLWan(**WAN_VAE),
            "text_encoder": transformers.UMT5EncoderModel(transformers.UMT5Config(**T5)),
            "scheduler": diffusers.UniPCMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
            ),
        }
        kind = diffusers.WanPipeline
    kind(transformer=transformer, tokenizer=tokenizer(), **parts).save_pretrained(str(folder), safe_serialization=True)
    if licence:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A tiny base\n")
    return folder
