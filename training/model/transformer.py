"""The video diffusion transformer: packed spacetime tokens in, their velocity out. Made to be read in one sitting.

    tokens    a latent patch of one frame, p x p cells             position  3-D RoPE in physical units + absolute sines
    block     x += g * SelfAttention(modulate(norm(x)))            modulation adaLN-single: one MLP for all blocks,
              x += CrossAttention(x, caption)                                 a learned table for each; adaLN-zero:
              x += g * MLP(modulate(norm(x)))                                 one zero-initialised map a block
                                                                   timestep  one for each latent frame, 0 where given

All samples of a pack lie end to end along N; only attention knows where one ends (layers.py). Positions are physical:
seconds in time and fractions of the picture's size in space, so clips of other sizes and frame rates share one pack and
one meaning.

Shape suffixes: N tokens, P values a token, D width, H heads, K head width, F latent frames of the pack, R = 2F rows of
modulation, S samples, M text tokens, T text width, Q numeric conditions, A rotation angles (K / 2).

References: Peebles & Xie, DiT, arXiv 2212.09748; Chen et al., PixArt-alpha, arXiv 2310.00426 (adaLN-single); Su et al.,
RoPE, arXiv 2104.09864; Dehghani et al., ViT-22B, arXiv 2302.05442 (QK norm); Wan, arXiv 2503.20314 (full attention,
cross-attended text); LTX-Video, arXiv 2501.00103 (RoPE in physical units, per-token timesteps).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.data.packing import Batch
from training.device import full_precision
from training.model.conditioning import NUMERIC
from training.model.config import SamplingConfig, TransformerConfig, build, read_sampling
from training.model.exposure import Exposure, header
from training.model.flow import GaussianVelocity
from training.model.layers import RmsNorm, Segments, attend

REFERENCE_FPS = 8.0  # one unit of time for RoPE is an eighth of a second
LEAST_TIME = 0.05  # where the clip is predicted, the velocity is that from no nearer to the clip than this
REFERENCE_SIDE = 32.0  # one unit of space is 1/32 of the square root of the picture's area


class Transformer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = c = config
        self.sampling = SamplingConfig()  # how it is sampled unless the caller says otherwise
        self.checkpointing = False  # whether a block's activations are computed anew for the backward pass
        self.embed_patch = nn.Linear(c.token_values, c.width)
        self.embed_place = nn.Linear(3 * 16, c.width, bias=False)
        self.embed_time = nn.Sequential(nn.Linear(128, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.embed_number = nn.Linear(len(NUMERIC) * 16, c.width)
        self.embed_caption = nn.Linear(c.text_width, c.width)
        self.embed_text = None
        if c.cross_attention:
            self.embed_text = nn.Sequential(RmsNorm(c.text_width), nn.Linear(c.text_width, c.width))
        self.null_text_T = nn.Parameter(torch.zeros(c.text_width))
        self.null_number_Q16 = nn.Parameter(torch.zeros(len(NUMERIC), 16))
        self.modulation = nn.Linear(c.width, 6 * c.width) if c.adaln == "single" else None
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.out_table_2D = nn.Parameter(torch.randn(2, c.width) / math.sqrt(c.width))
        self.out = nn.Linear(c.width, c.token_values)
        self.gaussian = GaussianVelocity(c.token_values) if c.predicts == "correction" else None
        self._initialise()

    def _initialise(self) -> None:
        """Normal(0.02) linear maps; zero where a branch joins the stream, so that the start is the identity and v = 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.embed_patch.weight)
        nn.init.zeros_(self.out.weight)
        nn.init.normal_(self.null_text_T, std=0.02)
        for block in self.blocks:
            assert isinstance(block, Block)
            if block.modulation is not None:
                nn.init.zeros_(block.modulation.weight)
            if block.cross is not None:
                nn.init.zeros_(block.cross.out.weight)

    def forward(self, x_NP: Tensor, t_F: Tensor, given_N: Tensor, batch: Batch) -> Tensor:
        """Velocity [N, P] of the noisy tokens `x_NP`, of which `given_N` are clean; `t_F` is each latent frame's time."""
        c = self.config
        text_MT = torch.where(
            batch.text_kept_S[batch.text_segments.index(x_NP.device)][:, None], batch.text_MT, self.null_text_T
        )
        text_MD = None if self.embed_text is None else self.embed_text(text_MT)
        # A frame has two rows of modulation: 2f at its own time for noisy tokens, 2f + 1 at time 0 for given ones.
        t_R = torch.stack([t_F, torch.zeros_like(t_F)], dim=1).flatten()
        row_N = 2 * batch.frame_N + given_N.long()
        with full_precision(x_NP.device):
            cond_SD = self.embed_caption(_segment_mean(text_MT, batch.text_segments)) + self._numbers(batch.numeric_SQ)
            cond_RD = cond_SD[batch.segment_F].repeat_interleave(2, dim=0)
            cond_RD = F.silu(self.embed_time(sines(t_R * 1000, 128)) + cond_RD)
            shared_R6D = None if self.modulation is None else self.modulation(cond_RD).unflatten(1, (6, c.width))

        x_ND = self.embed_patch(x_NP) + self.embed_place(absolute(batch.position_N3))
        rotation_NK = rotations(batch.position_N3, c.head_width, c.rope_theta)
        context = Context(cond_RD, shared_R6D, row_N, rotation_NK, text_MD, batch.segments, batch.text_segments)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x_ND = checkpoint(block, x_ND, context, use_reentrant=False, preserve_rng_state=False)
            else:
                x_ND = block(x_ND, context)

        shift_RD, scale_RD = (self.out_table_2D + cond_RD[:, None]).unbind(1)
        out_NP = self.out(modulate(x_ND, shift_RD.index_select(0, row_N), scale_RD.index_select(0, row_N)))
        if c.predicts == "velocity":
            return out_NP
        if self.gaussian is not None:
            return self.gaussian(x_NP, t_F.index_select(0, batch.frame_N)) + out_NP
        # The clip instead of the velocity (Li & He, arXiv 2511.13720): noise fills all values of a token, a clip only a
        # few directions, so a narrow model can say the one and not the other. The loss stays that of the velocity.
        t_N1 = t_F.index_select(0, batch.frame_N)[:, None].clamp_min(LEAST_TIME)
        return (x_NP - out_NP) / t_N1

    def _numbers(self, numeric_SQ: Tensor) -> Tensor:
        """[S, D] of the numeric conditions; an unknown one (nan) is a learned vector of its own."""
        known_SQ1 = ~numeric_SQ.isnan()[..., None]
        scaled_SQ = numeric_SQ.nan_to_num(0.0) / numeric_SQ.new_tensor(list(NUMERIC.values()))
        scaled_SQ = scaled_SQ.sign() * scaled_SQ.abs().log1p()
        encoded_SQ16 = sines(scaled_SQ.flatten() * 100, 16, period=1000).unflatten(0, scaled_SQ.shape)
        return self.embed_number(torch.where(known_SQ1, encoded_SQ16, self.null_number_Q16).flatten(1))


class Context(NamedTuple):
    """What all blocks share in one pass; `shared_R6D` where they share one map, `text_MD` where they attend to text."""

    cond_RD: Tensor
    shared_R6D: Tensor | None
    row_N: Tensor  # of modulation, for each token
    rotation_NK: tuple[Tensor, Tensor]
    text_MD: Tensor | None
    segments: Segments
    text_segments: Segments


class Block(nn.Module):
    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        single = c.adaln == "single"
        self.table_6D = nn.Parameter(torch.randn(6, c.width) / math.sqrt(c.width)) if single else None
        self.modulation = None if single else nn.Linear(c.width, 6 * c.width)
        self.attention = SelfAttention(c)
        self.cross = CrossAttention(c) if c.cross_attention else None
        self.mlp = nn.Sequential(
            nn.Linear(c.width, c.mlp_ratio * c.width), nn.GELU(), nn.Linear(c.mlp_ratio * c.width, c.width)
        )

    def forward(self, x_ND: Tensor, context: Context) -> Tensor:
        c = context
        # Rows first, then gather: there are a few rows a sample and hundreds of tokens.
        if self.modulation is not None:
            with full_precision(x_ND.device):
                rows_R6D = self.modulation(c.cond_RD).unflatten(1, (6, -1))
        else:
            assert self.table_6D is not None
            assert c.shared_R6D is not None
            rows_R6D = self.table_6D + c.shared_R6D
        shift1, scale1, gate1, shift2, scale2, gate2 = (r.index_select(0, c.row_N) for r in rows_R6D.unbind(1))
        x_ND = torch.addcmul(x_ND, gate1, self.attention(modulate(x_ND, shift1, scale1), c.rotation_NK, c.segments))
        if self.cross is not None and c.text_MD is not None:
            x_ND = x_ND + self.cross(x_ND, c.text_MD, c.segments, c.text_segments)
        return torch.addcmul(x_ND, gate2, self.mlp(modulate(x_ND, shift2, scale2)))


class SelfAttention(nn.Module):
    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.heads = c.heads
        self.qkv = nn.Linear(c.width, 3 * c.width)
        self.norm_q, self.norm_k = RmsNorm(c.head_width), RmsNorm(c.head_width)
        self.out = nn.Linear(c.width, c.width)

    def forward(self, x_ND: Tensor, rotation_NK: tuple[Tensor, Tensor], segments: Segments) -> Tensor:
        q_NHK, k_NHK, v_NHK = self.qkv(x_ND).unflatten(1, (3, self.heads, -1)).unbind(1)
        q_NHK, k_NHK = rotate(self.norm_q(q_NHK), rotation_NK), rotate(self.norm_k(k_NHK), rotation_NK)
        return self.out(attend(q_NHK, k_NHK, v_NHK, segments, segments).flatten(1))


class CrossAttention(nn.Module):
    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.heads = c.heads
        self.norm = RmsNorm(c.width)
        self.q = nn.Linear(c.width, c.width)
        self.kv = nn.Linear(c.width, 2 * c.width)
        self.norm_q, self.norm_k = RmsNorm(c.head_width), RmsNorm(c.head_width)
        self.out = nn.Linear(c.width, c.width)

    def forward(self, x_ND: Tensor, text_MD: Tensor, segments: Segments, text_segments: Segments) -> Tensor:
        q_NHK = self.norm_q(self.q(self.norm(x_ND)).unflatten(1, (self.heads, -1)))
        k_MHK, v_MHK = self.kv(text_MD).unflatten(1, (2, self.heads, -1)).unbind(1)
        return self.out(attend(q_NHK, self.norm_k(k_MHK), v_MHK, segments, text_segments).flatten(1))


def modulate(x_ND: Tensor, shift_ND: Tensor, scale_ND: Tensor) -> Tensor:
    """Layer norm without parameters, in fp32, then the condition's scale and shift."""
    return torch.addcmul(shift_ND, F.layer_norm(x_ND.float(), x_ND.shape[-1:]).to(x_ND.dtype), 1 + scale_ND)


def positions(grid: tuple[int, int, int], seconds_per_frame: float) -> Tensor:
    """Physical place of each token's centre, [N, 3]: time in units of 1/8 s, then down and across from the picture's
    centre in 1/32 of the square root of its area. Twice the pixels of the same picture: the same places."""
    t, h, w = grid
    # Latent frame 0 is one picture; latent frame i stands for four, whose last is picture 4i.
    time_t = torch.arange(t, dtype=torch.float32) * seconds_per_frame * REFERENCE_FPS
    unit = REFERENCE_SIDE / math.sqrt(h * w)
    down_h = (torch.arange(h, dtype=torch.float32) + 0.5 - h / 2) * unit
    across_w = (torch.arange(w, dtype=torch.float32) + 0.5 - w / 2) * unit
    return torch.stack(torch.meshgrid(time_t, down_h, across_w, indexing="ij"), dim=-1).flatten(0, 2)


def grid_of(frames: int, size: tuple[int, int], stride: int, cell: int) -> tuple[int, int, int]:
    """Tokens in time, down and across, where one has `stride` frames and `cell` pixels a side. ValueError where none fit."""
    width, height = size
    if frames < 1 or (frames - 1) % stride or width < cell or height < cell or width % cell or height % cell:
        raise ValueError(
            f"a video has {stride}k + 1 frames and sides that are multiples of {cell}, got {frames} x {width}x{height}"
        )
    return (frames - 1) // stride + 1, height // cell, width // cell


def rotations(position_N3: Tensor, head_width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Factors [N, 1, K] of a head's values and of their partners, see `rotate`: cos twice, and -sin and sin, of the
    rotary angles. A third of the pairs for each axis, what is over goes to time."""
    pairs = head_width // 2
    space = pairs // 3
    angles = []
    for axis, count in enumerate((pairs - 2 * space, space, space)):
        frequency = theta ** (-torch.arange(count, device=position_N3.device, dtype=torch.float32) / count)
        angles.append(position_N3[:, axis, None].float() * frequency)
    angle_NA = torch.cat(angles, dim=1)[:, None]
    cos, sin = angle_NA.cos(), angle_NA.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x_NHK: Tensor, rotation_NK: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the pairs (i, i + K/2) of each head by the token's angles."""
    own, partner = rotation_NK
    x = x_NHK.float()
    return (x * own + x.roll(x.shape[-1] // 2, dims=-1) * partner).to(x_NHK.dtype)


def absolute(position_N3: Tensor) -> Tensor:
    """Sines of the absolute place, [N, 48]. RoPE only tells tokens apart from each other; a horizon must know up."""
    return torch.cat([sines(position_N3[:, axis], 16, period=64) for axis in range(3)], dim=1)


def sines(x_N: Tensor, width: int, period: float = 10_000) -> Tensor:
    """Sinusoidal features [N, width] with wavelengths from 2 pi to 2 pi * period."""
    half = width // 2
    frequency = period ** (-torch.arange(half, device=x_N.device, dtype=torch.float32) / half)
    angle = x_N[:, None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def to_tokens(z_Cthw: Tensor, patch: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Latent [C, t, h, w] to tokens [N, P], frame by frame and row by row, and their grid."""
    c, t, h, w = z_Cthw.shape
    if h % patch or w % patch:
        raise ValueError(f"latent of {h}x{w} cells does not divide into patches of {patch}")
    x = z_Cthw.reshape(c, t, h // patch, patch, w // patch, patch).permute(1, 2, 4, 0, 3, 5)
    return x.flatten(3).flatten(0, 2), (t, h // patch, w // patch)


def from_tokens(x_NP: Tensor, grid: tuple[int, int, int], patch: int) -> Tensor:
    """The inverse of `to_tokens`."""
    t, h, w = grid
    x = x_NP.reshape(t, h, w, -1, patch, patch).permute(3, 0, 1, 4, 2, 5)
    return x.reshape(-1, t, h * patch, w * patch)


def _segment_mean(x_MT: Tensor, segments: Segments) -> Tensor:
    """Mean over each segment, [S, T]."""
    total_ST = x_MT.new_zeros(len(segments.lengths), x_MT.shape[1]).index_add(0, segments.index(x_MT.device), x_MT)
    return total_ST / x_MT.new_tensor(segments.lengths)[:, None]


def save_transformer(
    weights: dict[str, Tensor],
    config: TransformerConfig,
    folder: Path,
    exposure: Exposure | None = None,
    sampling: SamplingConfig | None = None,
) -> None:
    """Write transformer.safetensors, with what the weights saw, and transformer.json, with how they are sampled."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(plain, folder / "transformer.safetensors", header(exposure))
    described = {**asdict(config), "sampling": asdict(sampling or SamplingConfig())}
    (folder / "transformer.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")


def load_transformer(folder: str | Path) -> Transformer:
    """Read what `save_transformer` wrote; in evaluation mode, without gradients."""
    folder = Path(folder)
    described = json.loads((folder / "transformer.json").read_text())
    described.pop("sampling", None)
    model = Transformer(build(TransformerConfig, described))
    model.sampling = read_sampling(folder)
    model.load_state_dict(with_all_numbers(load_file(folder / "transformer.safetensors")))
    return model.eval().requires_grad_(False)


def with_all_numbers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights from when there were fewer numeric conditions, with the later ones added at zero: the same function."""
    missing = len(NUMERIC) - len(weights["null_number_Q16"])
    if missing <= 0:
        return weights
    later = {
        "null_number_Q16": F.pad(weights["null_number_Q16"], (0, 0, 0, missing)),
        "embed_number.weight": F.pad(weights["embed_number.weight"], (0, 16 * missing)),
    }
    return weights | later
