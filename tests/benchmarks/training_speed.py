"""How much of the machine a training step uses: on the processor against its own fp32 product, on a GPU against its peak.

Every ratio is of one run. On the processor steps and products take turns on one thread and are counted in that thread's
CPU seconds; the least of each is what they take when no other process is in the way, the median is beside it. Data come
from files, through the trainer, and what a step waits for them is in wall seconds. GPU cells say "not measured" where
there is no GPU; what they run is tested on the processor at a tiny size.

OMP_NUM_THREADS=1 python -m tests.benchmarks training_speed
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from safetensors.torch import save_file

from training.config import TrainConfig
from training.data.clips import Encoded, LatentClips
from training.data.packing import Batch, Cursor, Sample, collate
from training.data.steps import FlowStep, ahead, flow_steps
from training.model import flow
from training.model.conditioning import numbers
from training.model.config import LADDER, TransformerConfig
from training.model.text import text_key
from training.model.transformer import Transformer, positions
from training.process import keep_freed_memory
from training.trainer.ema import Ema
from training.trainer.learner import AdaptiveClip, TransformerLearner, compile_blocks
from training.trainer.throughput import PEAKS, Meter, step_flops

NOT_MEASURED = "not measured"
TARGETS_CPU = {"nano": 0.50, "micro": 0.60}
TARGETS_GPU = {"S": 0.30, "B": 0.42, "L": 0.48}
PROCESSOR = {"nano": (2560, 24), "micro": (1280, 12)}  # tokens a step, and steps
GRID = (5, 4, 4)  # 17 frames at 64 px: 80 tokens
GPU_GRID, GPU_TOKENS = (5, 16, 16), 65_536  # 1280 tokens a clip
MIXED = ((5, 16, 16), (1, 16, 16), (9, 16, 16), (5, 12, 20), (3, 8, 8), (5, 24, 10))
CAPTIONS = ("a red ball rolls to the right", "two blue cubes fall beside a green ball in the evening", "waves")


def training_speed() -> dict[str, Any]:
    torch.set_num_threads(1)
    keep_freed_memory()  # as `training.fit` does
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        processor = {name: on_processor(name, *given) for name, given in PROCESSOR.items()}
    return {"processor": processor, "gpu": on_gpu()}


# the processor


class Turns(Callback):
    """Measures each step, and after each step a product."""

    def __init__(self, learner: TransformerLearner, budget: int) -> None:
        self.a, self.b = torch.randn(2, 1024, 1024).unbind()
        self.meter = Meter(torch.device("cpu"), budget)
        self.learner, self.steps, self.products, self.flops = learner, [], [], []  # type: ignore[var-annotated]

    def on_train_batch_start(self, *_: Any) -> None:
        self.meter.begins()
        self.began = time.thread_time()

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps.append(time.thread_time() - self.began)
        self.meter.ends(self.learner.last.tokens, 0)
        self.flops.append(step_flops(self.learner.model.config, self.learner.last.batch))
        began = time.thread_time()
        for _ in range(4):
            self.a @ self.b
        self.products.append((time.thread_time() - began) / 4)
        self.meter.pause()


def on_processor(name: str, tokens: int, steps: int) -> dict[str, Any]:
    """A run of the real trainer on cached latents of this size of model."""
    with tempfile.TemporaryDirectory() as folder:
        config, clips = cached(Path(folder), name, tokens, steps, clips=4 * tokens // 80)
        turns = trained(config, clips, ahead)
        alone = trained(replace(config, steps=max(4, steps // 4)), clips, iter)
    rates = [flops / seconds for flops, seconds in zip(turns.flops[2:], turns.steps[2:], strict=True)]
    products = [2 * 1024**3 / seconds for seconds in turns.products[2:]]
    figures = turns.meter.read()
    best, median = (round(f(rates) / f(products), 3) for f in (max, statistics.median))
    return {
        "tokens_a_step": tokens,
        "steps": steps,
        "gflop_a_step": round(turns.flops[-1] / 1e9, 2),
        "step_gflop_per_cpu_s": {"best": round(max(rates) / 1e9, 1), "median": _median(rates)},
        "product_gflop_per_cpu_s": {"best": round(max(products) / 1e9, 1), "median": _median(products)},
        "share_of_product_rate": {"best": best, "median": median},
        "wanted": TARGETS_CPU[name],
        "reached": best >= TARGETS_CPU[name],
        "waiting_share": {
            "ahead": round(figures["train/waiting"], 4),
            "when_asked": round(alone.meter.read()["train/waiting"], 4),
        },
        "padding": round(figures["train/padding"], 4),
        "peak_memory_gb": round(figures["train/memory_gb"], 2),
    }


def _median(rates: Sequence[float]) -> float:
    return round(statistics.median(rates) / 1e9, 1)


def cached(folder: Path, name: str, tokens: int, steps: int, clips: int) -> tuple[TrainConfig, LatentClips]:
    """Latents and caption tokens as `training.encode` leaves them, of noise, and a configuration of their run."""
    shape, members = LADDER[name].transformer, []
    t, h, w = GRID
    for i in range(clips):
        latent = torch.randn(shape.channels, t, h * shape.patch, w * shape.patch, generator=flow.keyed("latent", i))
        save_file({"latent": latent}, folder / f"{i:04}.safetensors", {"fps": "8", "motion": "20"})
        members.append({"clip_id": f"{i:04}", "caption": CAPTIONS[i % len(CAPTIONS)]})
    for caption in CAPTIONS:
        words = torch.randn(2 + len(caption.split()), shape.text_width, generator=flow.keyed(caption))
        save_file({"tokens": words}, folder / f"{text_key(caption)}.safetensors")
    places = dict.fromkeys(("run_dir", "latents_dir", "codec_dir", "text_dir"), str(folder))
    config = TrainConfig(
        "transformer",
        manifest="",
        snapshot_root="",
        database_url="",
        size=name,
        steps=steps,
        batch_tokens=tokens,
        **places,
    )
    return config, LatentClips(Encoded(folder, folder, shape.patch, 4), members)


def trained(
    config: TrainConfig, clips: LatentClips, reading: Callable[[Iterator[FlowStep]], Iterator[FlowStep]]
) -> Turns:
    """The steps of a run, read this way, through Lightning."""
    learner = TransformerLearner(config, LADDER[config.size].transformer, [])
    turns = Turns(learner, config.batch_tokens)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[turns],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(learner, train_dataloaders=reading(flow_steps(config, clips, Cursor(), 1)))
    return turns


# a GPU


def on_gpu() -> dict[str, Any]:
    """Utilisation of S, B and L, packed against bucketed, and a peer of equal shape, in one run."""
    targets = {name: {"mfu": NOT_MEASURED, "wanted": wanted} for name, wanted in TARGETS_GPU.items()}
    if not torch.cuda.is_available():
        missing = {"value": NOT_MEASURED}
        others = {
            "packed_over_bucketed": missing | {"wanted": 0.85},
            "over_ltx_of_equal_shape": missing | {"wanted": 1.5},
        }
        return {"state": NOT_MEASURED, "why": "there was no GPU", "mfu": targets, **others}
    device = torch.device("cuda")
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "peak_flops": PEAKS["H200"], "mfu": {}}
    for name, wanted in TARGETS_GPU.items():
        config = LADDER[name].transformer
        speed = ours(config, (GPU_GRID,) * (GPU_TOKENS // 1280), device)
        found["mfu"][name] = speed | {"mfu": round(speed["flops_per_s"] / PEAKS["H200"], 4), "wanted": wanted}
    config = LADDER["B"].transformer
    bucketed, packed = found["mfu"]["B"]["tokens_per_s"], ours(config, mixed(GPU_TOKENS), device)["tokens_per_s"]
    found["packed_over_bucketed"] = {"value": round(packed / bucketed, 3), "wanted": 0.85}
    other = ltx(config, GPU_GRID, GPU_TOKENS // 1280, device)
    value = NOT_MEASURED if other is None else round(bucketed / other["tokens_per_s"], 3)
    return found | {"over_ltx_of_equal_shape": {"value": value, "ltx": other, "wanted": 1.5}}


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
        samples.append(
            Sample(f"{i}", x_NP, grid, positions(grid, 0.5), torch.randn(text, config.text_width), numbers({}))
        )
    return collate(samples)


def ours(
    config: TransformerConfig, grids: Sequence[tuple[int, int, int]], device: torch.device, backend: str = "inductor"
) -> dict[str, float]:
    """Whole training steps of the transformer, its blocks compiled, on one pack that is on the device already."""
    model, batch = Transformer(config).to(device), pack_of(config, grids).to(device)
    compile_blocks(model, backend)
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

    for _ in range(5 if device.type == "cuda" else 1):
        step()
    _wait(device)
    started = time.perf_counter()
    for _ in range(steps if device.type == "cuda" else 2):
        step()
    _wait(device)
    return (time.perf_counter() - started) / (steps if device.type == "cuda" else 2)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
