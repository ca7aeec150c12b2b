"""What a GPU does with this project, in at most eight minutes: every figure that a machine without one leaves open.

    python -m tests.benchmarks gpu          on a GPU; elsewhere it says that there is none, and runs nothing
    python -m tests.benchmarks gpu --dry    the same code on the processor at tiny sizes: its figures mean nothing

Utilisation is of useful operations (`training.model.cost`) against the data sheet's dense peak and against a product that is
measured in the same run. What fails or finds no time left is "not measured" with the reason; the rest goes on.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.benchmarks.harness import wall_of
from training import device as devices
from training.data.packing import Batch, Sample, collate
from training.encode import encoded
from training.model import flow
from training.model.codec import build_codec
from training.model.conditioning import numbers
from training.model.config import LADDER, CodecConfig, TransformerConfig
from training.model.layers import Segments, attend
from training.model.transformer import Transformer, positions
from training.sampling.sampler import Options, Pipeline, Sampler
from training.trainer.learner import AdaptiveClip, compile_blocks
from training.trainer.metrics import matmul_flops, peak_flops, step_flops
from training.trainer.weights import Ema

NOT_MEASURED = "not measured"
LIMIT_S = 420.0  # no part begins later
WANTED = {"S": 0.30, "B": 0.42, "L": 0.48}  # shares of the peak
GRID, TOKENS = (5, 16, 16), 65_536  # 1280 tokens a clip
MIXED = ((5, 16, 16), (1, 16, 16), (9, 16, 16), (5, 12, 20), (3, 8, 8), (5, 24, 10))
LENGTHS = ((300, 1, 77, 1280, 129), (17, 1, 64, 33, 5))  # of queries, and of texts
TINY = TransformerConfig(width=32, layers=1, heads=2, channels=4)
TINY_CODEC = CodecConfig(channels=4, width=8, encoder_blocks=1, decoder_blocks=1)


def gpu(dry: bool = False) -> dict[str, Any]:
    if not dry and not torch.cuda.is_available():
        return {"state": NOT_MEASURED, "why": "there is no GPU", "parts": dict.fromkeys(PARTS, NOT_MEASURED)}
    place, started = devices.chosen("cpu" if dry else "cuda"), time.monotonic()
    name = "the processor, at tiny sizes" if dry else torch.cuda.get_device_name(place)
    result: dict[str, Any] = {"device": name, "torch": torch.__version__, "parts": {}}
    for part, measure in PARTS.items():
        if time.monotonic() - started > LIMIT_S:
            result["parts"][part] = {"value": NOT_MEASURED, "why": "no time was left"}
            continue
        try:
            result["parts"][part] = measure(place)
        except Exception as error:  # a figure that cannot be had must not cost the others
            result["parts"][part] = {"value": NOT_MEASURED, "why": f"{type(error).__name__}: {error}"[:500]}
        if place.type == "cuda":
            torch.cuda.empty_cache()
    return result | {"seconds": round(time.monotonic() - started, 1)}


def _sizes(place: torch.device) -> dict[str, tuple[TransformerConfig, CodecConfig]]:
    """The models that are measured."""
    if place.type != "cuda":
        return {"tiny": (TINY, TINY_CODEC)}
    return {name: (LADDER[name].transformer, LADDER[name].codec) for name in WANTED}


def _pack(place: torch.device) -> tuple[tuple[int, int, int], int]:
    """The shape of a clip in tokens, and how many are in a step."""
    return (GRID, TOKENS // 1280) if place.type == "cuda" else ((3, 2, 2), 2)


def utilisation(place: torch.device) -> dict[str, Any]:
    """Shares of the peak and of a measured product that training steps reach, and their memory."""
    cuda = place.type == "cuda"
    product = matmul_flops(8192, torch.bfloat16, place) if cuda else matmul_flops(256, torch.float32, place)
    (grid, clips), peak = _pack(place), peak_flops(place)
    result: dict[str, Any] = {"product_tflops": round(product / 1e12, 2), "peak_tflops": round(peak / 1e12, 2)}
    for name, (config, _) in _sizes(place).items():
        for checkpointing in (False, True):
            speed = ours(config, (grid,) * clips, place, checkpointing)
            of = {"mfu": speed["flops_per_s"] / peak, "of_product": speed["flops_per_s"] / product}
            wanted = {} if checkpointing else {"wanted_mfu": WANTED.get(name)}
            key = f"{name}, activation checkpointing" if checkpointing else name
            result[key] = speed | {what: round(share, 4) for what, share in of.items()} | wanted
    return result


def packing(place: torch.device) -> dict[str, Any]:
    """Tokens a second of clips of all sizes over those of one size, and over diffusers' LTX transformer of equal shape."""
    name = "B" if place.type == "cuda" else "tiny"
    config, (grid, clips) = _sizes(place)[name][0], _pack(place)
    bucketed = ours(config, (grid,) * clips, place)["tokens_per_s"]
    packed = ours(config, mixed(TOKENS) if place.type == "cuda" else [(3, 2, 2), (1, 2, 2)], place)["tokens_per_s"]
    peer = ltx(config, grid, clips, place)
    over = NOT_MEASURED if peer is None else round(bucketed / peer["tokens_per_s"], 3)
    return {
        "packed_over_bucketed": {"value": round(packed / bucketed, 3), "wanted": 0.85},
        "over_ltx_of_equal_shape": {"value": over, "ltx": peer, "wanted": 1.5},
    }


def parity(place: torch.device) -> dict[str, Any]:
    """The most by which a backend's output and gradients differ from the loop's, as a share of their largest value."""
    cuda = place.type == "cuda"
    cases = (
        [(b, t) for b in ("varlen", "flex") for t in (torch.bfloat16, torch.float32)]
        if cuda
        else [("mask", torch.float32)]
    )
    result: dict[str, Any] = {}
    for backend, dtype in cases:
        if backend == "varlen" and dtype == torch.float32:
            continue  # it has kernels for halves alone
        for keys, what in ((LENGTHS[0], "self"), (LENGTHS[1], "cross")):
            exact = _attended("loop", keys, dtype, place)
            apart = [_apart(a, b) for a, b in zip(_attended(backend, keys, dtype, place), exact, strict=True)]
            worst, wanted = max(apart), 2e-2 if dtype == torch.bfloat16 else 1e-3
            name = f"{backend}, {what}-attention, {str(dtype).removeprefix('torch.')}"
            result[name] = {"value": round(worst, 6), "wanted": wanted, "reached": worst <= wanted}
    return result


def _attended(backend: str, keys: tuple[int, ...], dtype: torch.dtype, place: torch.device) -> list[torch.Tensor]:
    """The output, and the gradients of queries, keys and values."""
    sizes = (sum(LENGTHS[0]), sum(keys), sum(keys))
    q, k, v = (
        torch.randn(n, 2, 64, generator=flow.keyed(i)).to(place, dtype).requires_grad_() for i, n in enumerate(sizes)
    )
    out = attend(q, k, v, Segments(LENGTHS[0]), Segments(keys), backend)
    weight = torch.randn(out.shape, generator=flow.keyed("weight")).to(place, dtype)
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), (q, k, v))]


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


def encoding(place: torch.device) -> dict[str, Any]:
    """Pictures that a size's codec encodes in a second, from the processor's memory to latents there."""
    shape = (17, 720, 1280, 3) if place.type == "cuda" else (9, 32, 32, 3)
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    result: dict[str, Any] = {}
    for name, (_, config) in _sizes(place).items():
        codec = build_codec(config).to(place).eval()

        def work(codec: Any = codec) -> None:
            encoded(codec, iter([pictures[:5], *pictures[5:].split(4)]), 16.0)

        work()
        result[name] = {"pictures_per_s": round(shape[0] / wall_of(work), 1), "size": f"{shape[2]}x{shape[1]}"}
    return result


class Words:
    """Captions of a fixed length in the text encoder's place, which is not what is measured."""

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.zeros((32, 384), np.float32) for _ in texts]


def sampling(place: torch.device) -> dict[str, Any]:
    """Seconds from a prompt to a video of the size's own shape, guided, in its own number of steps."""
    result: dict[str, Any] = {}
    for name, (config, codec) in _sizes(place).items():
        own = LADDER[name].sampling if name in LADDER else None
        frames, size = (own.frames, own.size) if own else (5, (32, 32))
        model = Transformer(config).to(place).eval().requires_grad_(False)
        pipeline = Pipeline(build_codec(codec).to(place).eval(), model, Words())  # type: ignore[arg-type]
        options = Options(Sampler(own.steps if own else 2, 3.0), frames, size)
        pipeline(["waves"], [0], Options(Sampler(1, 3.0), frames, size))
        seconds = wall_of(lambda p=pipeline, o=options: p(["waves"], [0], o))  # type: ignore[misc]
        result[name] = {"seconds": round(seconds, 2), "video": f"{frames} of {size[0]}x{size[1]}"}
    return result


PARTS: dict[str, Callable[[torch.device], dict[str, Any]]] = {
    "attention_parity": parity,
    "utilisation": utilisation,
    "packing": packing,
    "encoding": encoding,
    "sampling": sampling,
}


def mixed(tokens: int) -> list[tuple[int, int, int]]:
    """Clips of several sizes, like beside like, that fill so many tokens."""
    grids: list[tuple[int, int, int]] = []
    room, i = tokens, 0
    while (size := MIXED[i % len(MIXED)][0] * MIXED[i % len(MIXED)][1] * MIXED[i % len(MIXED)][2]) <= room:
        grids.append(MIXED[i % len(MIXED)])
        room, i = room - size, i + 1
    return sorted(grids)


def pack_of(config: TransformerConfig, grids: Sequence[tuple[int, int, int]], text: int = 32) -> Batch:
    samples = []
    for i, grid in enumerate(grids):
        x_NP = torch.randn(grid[0] * grid[1] * grid[2], config.token_values)
        text_MT = torch.randn(text, config.text_width)
        samples.append(Sample(f"{i}", x_NP, grid, positions(grid, 0.5), text_MT, numbers({})))
    return collate(samples)


def ours(
    config: TransformerConfig,
    grids: Sequence[tuple[int, int, int]],
    device: torch.device,
    checkpointing: bool = False,
) -> dict[str, float]:
    """Whole training steps of the transformer, its blocks compiled on a GPU, on one pack that is on the device already."""
    model, batch = Transformer(config).to(device), pack_of(config, grids).to(device)
    model.checkpointing = checkpointing
    if device.type == "cuda":
        compile_blocks(model)
        torch.cuda.reset_peak_memory_stats(device)
    t_F = torch.rand(len(batch.segment_F), device=device)
    given_N = torch.zeros(len(batch.x_NP), dtype=torch.bool, device=device)
    e_NP = torch.randn_like(batch.x_NP)

    def loss() -> torch.Tensor:
        v_NP = model(flow.interpolate(batch.x_NP, e_NP, t_F[batch.frame_N]), t_F, given_N, batch)
        return flow.loss_per_sample(v_NP, flow.velocity(batch.x_NP, e_NP), given_N, batch.segments).mean()

    seconds = timed(model, loss, device)
    return {
        "tokens_a_step": len(batch.x_NP),
        "tokens_per_s": len(batch.x_NP) / seconds,
        "flops_per_s": step_flops(config, batch) / seconds,
        "memory_gb": torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0,
    }


def ltx(
    config: TransformerConfig, grid: tuple[int, int, int], clips: int, device: torch.device
) -> dict[str, float] | None:
    """The same steps of diffusers' LTX transformer with as many layers, heads and values; None without diffusers."""
    if importlib.util.find_spec("diffusers") is None:
        return None
    from diffusers import LTXVideoTransformer3DModel

    model = LTXVideoTransformer3DModel(
        in_channels=config.token_values,
        out_channels=config.token_values,
        num_attention_heads=config.heads,
        attention_head_dim=config.head_width,
        cross_attention_dim=config.width,
        num_layers=config.layers,
        caption_channels=config.text_width,
    ).to(device)
    for block in model.transformer_blocks:
        if device.type == "cuda":
            block.compile()
    (t, h, w), n = grid, grid[0] * grid[1] * grid[2]
    x_BNP = torch.randn(clips, n, config.token_values, device=device)
    e_BNP = torch.randn_like(x_BNP)
    text_BMT = torch.randn(clips, 32, config.text_width, device=device)
    kept_BM = torch.ones(clips, 32, device=device)
    t_B = torch.rand(clips, device=device)

    def loss() -> torch.Tensor:
        noisy = (1 - t_B)[:, None, None] * x_BNP + t_B[:, None, None] * e_BNP
        (v_BNP,) = model(noisy, text_BMT, t_B * 1000, kept_BM, num_frames=t, height=h, width=w, return_dict=False)
        return (v_BNP.float() - (e_BNP - x_BNP)).square().mean()

    seconds = timed(model, loss, device)
    return {"parameters": sum(p.numel() for p in model.parameters()), "tokens_per_s": clips * n / seconds}


def timed(model: torch.nn.Module, loss: Callable[[], torch.Tensor], device: torch.device, steps: int = 20) -> float:
    """Seconds a training step takes: forward, backward, clipping, AdamW and the average. bf16 on a GPU."""
    average, clip, parameters = Ema(model, 0.999), AdaptiveClip(), list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.99), fused=True)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            value = loss()
        value.backward()
        clip(parameters)
        optimizer.step()
        optimizer.zero_grad()
        average.update()

    def take(count: int) -> None:
        for _ in range(count):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    count = steps if device.type == "cuda" else 2
    take(5 if device.type == "cuda" else 1)
    return wall_of(lambda: take(count)) / count
