"""What models cost, before anything runs: operations of matrix products, two for each multiplication and addition.

The transformer, exact for packed segments:

    forward of a layer   8 N D^2                    queries, keys, values and output of self-attention
                       + 4 D sum(n_i^2)             its two products, within each segment and in both directions
                       + 4 N D^2 + 4 M D^2          cross-attention: queries and output, keys and values of the text
                       + 4 D sum(n_i m_i)           its two products
                       + 4 r N D^2                  MLP of ratio r
                       + 12 R D^2                   modulation, where each layer has its own (adaLN-Zero)
    once                 4 N P D + 96 N D           patches in and out, absolute places
                       + 2 M T D + 2 S T D          text tokens, captions
                       + 32 S Q D                   numeric conditions
                       + 2 R (128 D + D^2)          timesteps
                       + 12 R D^2                   modulation, where the layers share it (adaLN-single)
                       + 4 N P^2                    what the covariance decides, where it does; not backward
    a training step      3 times the forward pass   (the backward pass computes two products for each, but
                                                    one for the patches in, which need no gradient)

for N tokens in segments of n_i, M text tokens in segments of m_i, S samples, R rows of modulation (two for each latent
frame), D width, P values a token, T text width, Q numeric conditions. Norms, softmax, rotations, the optimiser and what
activation checkpointing repeats are not counted: utilisation is of useful work. PaLM's 12 L H Q T (arXiv 2204.02311) is this
one's attention; torchtitan's FLUX counts half of it, as if it were causal.

The codec, for each latent cell of a tube (P values, C channels, D width): 2 P (C + D) + 2 D C for the maps on either side, and
38 D^2 for each block (a convolution of 2 x 3 x 3 and one of 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.model.config import CodecConfig, TransformerConfig

NUMBERS = 6  # numeric conditions, see conditioning.NUMERIC


@dataclass(frozen=True)
class Load:
    """What a pass computes over: lengths of the segments and of their texts, and latent frames of all."""

    tokens: Sequence[int]
    texts: Sequence[int]
    frames: int


def learned_flops(c: TransformerConfig, load: Load) -> int:
    """Operations of a forward pass through everything that is learned."""
    d, n, m, s, r = c.width, sum(load.tokens), sum(load.texts), len(load.tokens), 2 * load.frames
    pairs = sum(length**2 for length in load.tokens)
    text_pairs = sum(a * b for a, b in zip(load.tokens, load.texts, strict=True))
    layer = (8 + 4 * c.mlp_ratio) * n * d**2 + 4 * d * pairs
    if c.cross_attention:
        layer += 4 * (n + m) * d**2 + 4 * d * text_pairs
    modulation = 12 * r * d**2 * (c.layers if c.adaln == "zero" else 1)
    text = (m if c.cross_attention else 0) + s
    once = 4 * n * c.token_values * d + 96 * n * d + 2 * text * c.text_width * d
    once += 32 * s * NUMBERS * d + 2 * r * (128 * d + d**2)
    return c.layers * layer + modulation + once


def gaussian_flops(c: TransformerConfig, load: Load) -> int:
    return 4 * sum(load.tokens) * c.token_values**2 if c.predicts == "correction" else 0


def training_flops(c: TransformerConfig, load: Load) -> int:
    """Operations of a training step: forward, and twice as many backward through what is learned."""
    patches_in = 2 * sum(load.tokens) * c.token_values * c.width
    return 3 * learned_flops(c, load) - patches_in + gaussian_flops(c, load)


def encoding_flops(c: CodecConfig, cells: int) -> int:
    """Operations of encoding so many latent cells."""
    return cells * _codec(c, c.encoder_blocks)


def codec_training_flops(c: CodecConfig, cells: int) -> int:
    """Operations of training steps on so many latent cells: encoded, decoded, and back."""
    patches_in = 2 * c.tube_values * (c.channels + c.width)
    return cells * (3 * (_codec(c, c.encoder_blocks) + _codec(c, c.decoder_blocks)) - patches_in)


def _codec(c: CodecConfig, blocks: int) -> int:
    return 2 * c.tube_values * (c.channels + c.width) + 2 * c.width * c.channels + 38 * c.width**2 * blocks
